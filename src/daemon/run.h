/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs: a job that the daemon knows of and checkpoints at an interval. */
#ifndef STASIS_DAEMON_RUN_H
#define STASIS_DAEMON_RUN_H

/* Start the timer that takes the checkpoints. On the loop, once. */
void run_timer_start(void);

#endif
