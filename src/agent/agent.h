/* SPDX-License-Identifier: BSD-3-Clause */
/* The agent's parts and the event loop's watches that they share. */
#ifndef STASIS_AGENT_AGENT_H
#define STASIS_AGENT_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/local.h"
#include "agent/phase.h"
#include "agent/port.h"
#include "agent/processes.h"
#include "agent/relay.h"
#include "agent/session.h"
#include "agent/watch.h"
#include "base/io.h"

/* One single-threaded process; everything it must remember beyond its own death is in the jobs'
 * directories. */
struct agent {
	int epoll_fd;
	char root[IO_PATH_MAX]; /* put in front of /etc, /run/stasis and /var/lib/stasis; "" in
				   a guest */
	char jobs_dir[IO_PATH_MAX];
	struct port port; /* with --local it stays closed, and `local` takes its place */
	struct local local;
	struct session session;
	struct relay_server relays;
	struct processes processes;
	struct phase_machine phase;
	bool sweep_due;   /* removed jobs may have left directories behind */
	int power_signal; /* to be sent to PID 1 when what is queued has been written; 0: none
			   */
	int64_t power_deadline_ns;
};

/* True in a guest; false with --root, where nothing may change the machine that the agent runs
 * on. */
static inline bool agent_owns_machine(const struct agent *agent)
{
	return agent->root[0] == '\0';
}

#endif
