/* SPDX-License-Identifier: BSD-3-Clause */
/* A large file that a subcommand writes: whole under its name, or not there. */
#ifndef STASIS_CLI_OUTFILE_H
#define STASIS_CLI_OUTFILE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/io.h"

struct outfile {
	int fd;
	char path[IO_PATH_MAX];
	char temp[IO_PATH_MAX]; /* its name until the commit; empty: written in place */
};

/*
 * Open for writing. NULL or "-" is the standard output; what is no regular file (a named pipe,
 * a device) is written in place; a regular one is replaced by the commit, readable by its owner
 * only. A terminal is refused unless `force`. SIGINT, SIGTERM and SIGHUP remove what has been
 * written; one such file at a time.
 */
int outfile_open(const char *path, bool force, struct outfile *ret_file, struct err *err);
/* Make durable and give it its name; the file is closed whatever the result. */
int outfile_commit(struct outfile *file, struct err *err);
void outfile_abort(struct outfile *file);

#endif
