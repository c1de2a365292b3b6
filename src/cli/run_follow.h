/* SPDX-License-Identifier: BSD-3-Clause */
/* The second half of a run, shared by run and attach: follow the job, fetch its results, end
 * the run. */
#ifndef STASIS_CLI_RUN_FOLLOW_H
#define STASIS_CLI_RUN_FOLLOW_H

#include "base/io.h"
#include "base/spec.h"
#include "cli/cli.h"
#include "cli/client.h"

struct run {
	char cluster[SPEC_NAME_MAX];
	char job[64];
	char guest_dir[IO_PATH_MAX], work_dir[IO_PATH_MAX];
	bool new_only; /* do not show again what the job wrote before */
	bool down;     /* end the cluster afterwards */
};

/*
 * The working directory's place in the guests, and a file beside it whose time, on the guest's
 * own clock, is when the last input was copied in: what changed since is a result. It is on the
 * guest's disk, so it rolls back and restarts with everything else.
 */
int run_guest_dir(const char *cluster, char ret_path[IO_PATH_MAX], struct err *err);
int run_marker_path(const char *cluster, char ret_path[IO_PATH_MAX], struct err *err);

/* Follow to the end; returns the exit code. `cluster` is an object of cluster.status. */
int run_follow(const struct cli *cli, struct client *client, const json_t *cluster,
	       const struct run *run);

#endif
