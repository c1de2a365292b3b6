/* SPDX-License-Identifier: BSD-3-Clause */
/* The process beside each job: starts its command, feeds its input, and records its end. */
#ifndef STASIS_AGENT_SHIM_H
#define STASIS_AGENT_SHIM_H

#include <stdbool.h>

#include "base/err.h"

/* Files in a job's directory. */
#define JOB_SPEC   "spec.json" /* {argv, env, cwd, stdin} */
#define JOB_LOCK   "lock"      /* flock'ed by the shim as long as it lives */
#define JOB_PID    "pid"       /* the command's process group, in decimal */
#define JOB_OUT    "out"       /* what the command wrote, appended */
#define JOB_ERR    "err"
#define JOB_IN     "in"     /* its input so far, appended by the agent */
#define JOB_IN_EOF "in.eof" /* exists when the input is complete */
#define JOB_IN_TAKEN                                                            \
	"in.taken" /* int64: bytes of the input passed on, or SHIM_INPUT_CLOSED \
		    */
#define JOB_STATUS        "status" /* {code, signal}; exists when the command has ended */

#define SHIM_INPUT_CLOSED INT64_MAX

struct shim_spec {
	char **argv;
	char **envp;
	const char *cwd;
	bool with_stdin;
};

/*
 * Start a shim for the job whose directory is at `new_dir` and becomes `dir` when the command's
 * process exists; returns when that is so. -EEXIST: `dir` exists.
 */
int shim_start(const char *new_dir, const char *dir, const struct shim_spec *spec,
	       struct err *err);

#endif
