/* SPDX-License-Identifier: BSD-3-Clause */
/* Which process, of which host: so that what a process left behind is known to be nobody's when
 * it is over. */
#ifndef STASIS_BASE_PROCESS_ID_H
#define STASIS_BASE_PROCESS_ID_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROCESS_MACHINE_MAX = 80 };

/* Where a pid means something: this boot of this host, and this namespace of pids. */
void process_machine(char ret_machine[PROCESS_MACHINE_MAX]);

/* When a process started, in ticks since boot; 0: it is gone, or cannot be looked at. */
uint64_t process_start_time(pid_t pid);

/* Whether this machine's process that started then (0: unknown) is over for certain: it does
 * nothing any more, though its parent may not have asked for it yet. */
bool process_over(pid_t pid, uint64_t start_time);

#endif
