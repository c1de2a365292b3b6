/* SPDX-License-Identifier: BSD-3-Clause */
/* Naming VMs and paths in them: [CLUSTER:]VM and [CLUSTER:]VM:/path. */
#ifndef STASIS_CLI_TARGET_H
#define STASIS_CLI_TARGET_H

#include <stdbool.h>

#include "base/err.h"
#include "base/io.h"
#include "base/spec.h"

struct target {
	bool guest;                  /* false: a path on this host, in `path` */
	char cluster[SPEC_NAME_MAX]; /* empty: the only cluster */
	char vm[64];                 /* a VM's name, or "all" */
	char path[IO_PATH_MAX];
};

/* [CLUSTER:]VM */
int target_parse_vm(const char *text, struct target *ret_target, struct err *err);

/* [CLUSTER:]VM:/path, or a path on this host: anything without a colon before its first slash.
 */
int target_parse_path(const char *text, struct target *ret_target, struct err *err);

/* The part of a path after its last slash, without trailing slashes; "" for "/" or one that
 * ends in "." or "..". */
void target_basename(const char *path, char ret_name[256]);

#endif
