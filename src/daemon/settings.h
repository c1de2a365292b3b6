/* SPDX-License-Identifier: BSD-3-Clause */
/* The store's settings, from stasisd's options and environment. */
#ifndef STASIS_DAEMON_SETTINGS_H
#define STASIS_DAEMON_SETTINGS_H

#include "base/err.h"
#include "store/store.h"

/* What the options say; NULL where they say nothing. */
struct settings {
	const char *key_file, *key_command, *compression;
};

/*
 * Fill in key_file, key_command and level. Options come before STASIS_STORE_KEY_FILE,
 * STASIS_STORE_KEY_COMMAND and STASIS_STORE_COMPRESSION; an option for the key before both of
 * its variables. -EINVAL names the setting and its value. Texts are borrowed.
 */
int settings_store(const struct settings *options, struct store_config *config,
		   struct err *err);

#endif
