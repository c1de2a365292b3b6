/* SPDX-License-Identifier: BSD-3-Clause */
/* Settings: one table (settings.def), read from the environment once. */
#ifndef STASIS_ARMCI_CORE_SETTINGS_H
#define STASIS_ARMCI_CORE_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SETTINGS_PREFIX    "STASIS_ARMCI_"

#define SETTING_TYPE_BYTES int64_t
#define SETTING_TYPE_INT   int64_t
#define SETTING_TYPE_TEXT  const char *

struct settings {
#define SETTING(kind, member, name, def, least, most, doc) SETTING_TYPE_##kind member;
#include "armci/core/settings.def"
#undef SETTING
};

/* The process's settings: defaults until settings_read(). Text belongs to this table. */
extern struct settings settings;

/*
 * Read all settings from the environment. A value that cannot be read or is out of bounds is
 * -EINVAL with a sentence naming variable, value and what is allowed; an unknown STASIS_ARMCI_
 * variable too, naming the nearest one.
 */
int settings_read(struct err *err);

/* For armci_info: the i-th setting's environment name, present value, default and doc; 0 past
 * the end. */
struct setting_view {
	char name[64];
	char value[256];
	char def[64];
	const char *doc;
};
int settings_view(size_t i, struct setting_view *ret_view);

#endif
