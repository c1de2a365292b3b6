/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands run for the host; each is a directory and a shim, so it outlives the agent. */
#ifndef STASIS_AGENT_JOB_H
#define STASIS_AGENT_JOB_H

#include "agent/session.h"

/* Make the directory of jobs and remove what an agent before this one left half-made or
 * half-removed. */
int job_init(struct agent *agent, struct err *err);

/* Try again to remove directories of removed jobs whose processes are still ending. */
void job_sweep(struct agent *agent);

/* Have inotify tell when the job has news; the watch descriptor or -errno. */
int job_watch(const struct agent *agent, const char *id, int inotify_fd);

/* The operations of the host's table. With wait_ms, job_poll() returns REPLY_WAIT while there
 * is nothing new, REPLY_GATHER while the job runs and there is less than a reply holds. */
int job_start(struct agent *agent, const struct request *request, struct reply *reply,
	      struct err *err);
int job_poll(struct agent *agent, const struct request *request, struct reply *reply,
	     struct err *err);
int job_stdin(struct agent *agent, const struct request *request, struct reply *reply,
	      struct err *err);
int job_signal(struct agent *agent, const struct request *request, struct reply *reply,
	       struct err *err);
int job_list(struct agent *agent, const struct request *request, struct reply *reply,
	     struct err *err);
int job_remove(struct agent *agent, const struct request *request, struct reply *reply,
	       struct err *err);

#endif
