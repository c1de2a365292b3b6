/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread that moves bytes between a file of the user's and a pipe whose other end the daemon
 * opens, while the main thread waits for the daemon's reply.
 *
 * So the daemon never sees the user's file, anything that can be read or written will do, and
 * when this process ends the pipe tells the daemon.
 */
#ifndef STASIS_CLI_PUMP_H
#define STASIS_CLI_PUMP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { PUMP_PATH_MAX = 64 };

struct pump {
	int from, to;
	bool into_pipe;                  /* else out of it */
	int far_end;                     /* the pipe's end that the daemon opens */
	char daemon_path[PUMP_PATH_MAX]; /* under which it opens it */
	uint64_t bytes;                  /* moved; to be read after pump_end() */
	pthread_t thread;
	struct err err;
};

/* Begin to move bytes from `fd` into the pipe, or out of the pipe to `fd`, which stays the
 * caller's. *pump must not move until pump_end(). */
int pump_into_pipe(struct pump *pump, int fd, struct err *err);
int pump_out_of_pipe(struct pump *pump, int fd, struct err *err);

/* After the daemon's reply: `complete` waits until all has been moved, else the work is broken
 * off. An error is the pump's own. */
int pump_end(struct pump *pump, bool complete, struct err *err);

#endif
