/* SPDX-License-Identifier: BSD-3-Clause */
/* The event loop and the way other threads hand work to it. */
#ifndef STASIS_DAEMON_LOOP_H
#define STASIS_DAEMON_LOOP_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"

/*
 * Sockets, process ends and timers live on one libuv loop in the main thread. Long work runs on
 * threads that block; they reach the loop by loop_post() only. loop_thread() starts such a
 * thread.
 */
typedef void (*loop_fn)(void *arg);

int loop_init(struct err *err);
uv_loop_t *loop_uv(void);
void loop_run(void);
void loop_stop(void); /* any thread */

/* Run fn(arg) on the loop soon. Any thread. Never fails: out of memory ends the process (VMs
 * live on). */
void loop_post(loop_fn fn, void *arg);

/* Run fn(arg) on a new detached thread; -EAGAIN when too many run. */
int loop_thread(loop_fn fn, void *arg, struct err *err);

#endif
