/* SPDX-License-Identifier: BSD-3-Clause */
/* The agent without a host: phases by words on standard input, for processes of this machine.
 */
#ifndef STASIS_AGENT_LOCAL_H
#define STASIS_AGENT_LOCAL_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/watch.h"
#include "base/err.h"

enum { LOCAL_LINE_MAX = 128 };

struct local {
	bool on;
	struct watch watch;
	char line[LOCAL_LINE_MAX];
	size_t len;
	bool busy;  /* a phase is under way; the next line is read when it has ended */
	bool ended; /* standard input has */
};

/*
 * Take lines from standard input, "PHASE [DEADLINE_MS]" with drain, release, reopen, connect or
 * abort, or "status". Each is answered by a line of JSON on standard output before the next is
 * looked at. The agent ends with its input.
 */
int local_open(struct agent *agent, struct err *err);

/* Called once in each turn of the loop: carry out the next line. */
void local_work(struct agent *agent);

#endif
