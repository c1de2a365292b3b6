/* SPDX-License-Identifier: BSD-3-Clause */
/* What a job's directory says: where it is, how the job is, which process group it has. */
#ifndef STASIS_AGENT_JOB_DIR_H
#define STASIS_AGENT_JOB_DIR_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/io.h"

#define JOB_DIR_NEW ".new-" /* a directory in the making */
#define JOB_DIR_OLD ".old-" /* a directory being removed */

struct agent;
struct reply;

struct job_state {
	bool running;
	bool lost; /* ended without leaving a status */
	int code;
	int signal;
};

/* The path of the job's directory, or of a file in it when `file` is not NULL. */
int job_dir_path(const struct agent *agent, const char *id, const char *file,
		 char ret_path[IO_PATH_MAX], struct err *err);

/* Does a shim live that holds the lock of the directory `path`? */
bool job_dir_locked(const char *path);

/* -ENOENT: there is no such job. */
int job_state_read(const struct agent *agent, const char *id, struct job_state *ret_state,
		   struct err *err);
int job_group_read(const struct agent *agent, const char *id, pid_t *ret_group,
		   struct err *err);

/* Set the members state, code, signal and, for a lost job, message. */
void job_state_reply(struct reply *reply, const struct job_state *state);

/* For qsort(): struct dirent pointers by name, in byte order whatever the locale. */
int job_dir_compare(const void *left, const void *right);

#endif
