/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying files and directories between this host and guests through the agents' fs.*
 * operations. */
#ifndef STASIS_CLI_COPY_H
#define STASIS_CLI_COPY_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/agents.h"
#include "cli/cli.h"
#include "cli/progress.h"

struct copy {
	const struct cli *cli;
	struct agents *agents;
	struct progress *progress;
	uint64_t files, bytes, bytes_total, skipped;
};

/* Host → all VMs of copy->agents. Symbolic links are copied as links; sockets, pipes and
 * devices are skipped with a warning. */
int copy_in(struct copy *copy, const char *host_path, const char *guest_path, struct err *err);

/* Which files copy_out() takes. */
struct copy_filter {
	int64_t since_ns; /* changed at or after this time of the guest's clock */
	json_t *seen; /* object whose keys are relative paths that are left out; each file found
			 is added */
};

/*
 * Guest (copy->agents, number `vm`) → host, as `name` below the directory `host_dir`; an empty
 * name puts the content of a guest's directory into host_dir itself. What a guest says is not
 * trusted: no symbolic link below host_dir is followed, names with '/' and
 * '.', '..' are refused, links that lead out of the copied tree are skipped with a warning.
 * Each file is written under a temporary name, synced and renamed. filter may be NULL:
 * everything, with empty directories.
 */
int copy_out(struct copy *copy, size_t vm, const char *guest_path, const char *host_dir,
	     const char *name, const struct copy_filter *filter, struct err *err);

/* fs.stat: "file", "dir", "link", "other", or "" when there is nothing. mtime may be NULL. */
int copy_guest_kind(struct agents *agents, size_t vm, const char *path, char ret_kind[8],
		    int64_t *ret_mtime_ns, struct err *err);

#endif
