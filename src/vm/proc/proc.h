/* SPDX-License-Identifier: BSD-3-Clause */
/* Processes: start a detached program, run a helper to its end, tell a process from another one
 * with its pid. */
#ifndef STASIS_VM_PROC_PROC_H
#define STASIS_VM_PROC_PROC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum { PROC_FD_MAX = 8 };

/* Descriptor `from` of this process becomes descriptor `to` (< 64) of the child. */
struct proc_fd {
	int from, to;
};

/*
 * Start argv[0] (searched in PATH) in its own session with default signals. The child has no
 * descriptor but those listed; 0, 1 and 2 are /dev/null unless listed. The caller reaps it
 * (proc_reap).
 */
int proc_spawn(char *const argv[], const struct proc_fd *fds, size_t fd_count, pid_t *ret_pid,
	       struct err *err);

/*
 * Run a helper to its end and keep the last `size`-1 bytes of what it printed on both streams.
 * An exit status other than 0 is -EIO with what it printed; at the deadline it is killed:
 * -ETIMEDOUT.
 */
int proc_run(char *const argv[], int64_t deadline_ns, char *ret_output, size_t size,
	     struct err *err);

/* Start time of a process in clock ticks since boot; -ESRCH when it is gone or only waits to be
 * reaped. */
int proc_start_time(pid_t pid, uint64_t *ret_start_time, struct err *err);

/* Open a pidfd of exactly that process; -ESRCH when it is gone. */
int proc_open(pid_t pid, uint64_t start_time, int *ret_pidfd, struct err *err);

/* Wait for the end of a process: 0, or -ETIMEDOUT. */
int proc_wait(int pidfd, int64_t deadline_ns);

/* SIGKILL and wait for the end. */
void proc_kill(int pidfd, pid_t pid);

/* Collect the exit status of a child that has ended; nothing happens to any other process. */
void proc_reap(pid_t pid);

/* The last `lines` lines of a file on one line, joined by " | "; empty when there is nothing to
 * read. */
void proc_log_tail(const char *path, unsigned int lines, char *ret_text, size_t size);

#endif
