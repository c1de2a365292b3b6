/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's part in the phases of a checkpoint: their order, and who must be suspended. */
#ifndef STASIS_AGENT_PHASE_H
#define STASIS_AGENT_PHASE_H

#include "agent/processes.h"
#include "base/err.h"

enum phase_event {
	PHASE_DRAIN,
	PHASE_RELEASE,
	PHASE_REOPEN,
	PHASE_CONNECT,
	PHASE_ABORT,
	PHASE_EVENT_COUNT
};
enum phase_state {
	PHASE_OPEN,
	PHASE_DRAINED,
	PHASE_RELEASED,
	PHASE_REOPENED,
	PHASE_STATE_COUNT
};

struct phase_machine {
	enum phase_state state;
	char ckpt[64]; /* the checkpoint in progress when not open */
	/* The phase under way. */
	processes_done_fn done; /* NULL: none */
	enum phase_state next;
	char next_ckpt[64];
	char resources[1024]; /* of the InfiniBand devices, when all processes had released them
			       */
};

int phase_parse(const char *name, enum phase_event *ret_event, struct err *err);
const char *phase_state_name(enum phase_state state);

/* How far the guest has gone, or, if that is further, one of its processes. */
enum phase_state phase_furthest(const struct agent *agent);

/*
 * Go through a phase: order all processes to, and tell `done` how it went, perhaps before this
 * returns. Every phase may be asked for again. -EPROTO when it is not the phase's turn, -EBUSY
 * when another checkpoint or phase is in progress: then `done` is not called.
 */
int phase_begin(struct agent *agent, enum phase_event event, const char *ckpt,
		int64_t deadline_ms, processes_done_fn done, struct err *err);

#endif
