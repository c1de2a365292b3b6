/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's part in the phases of a checkpoint: their order, and who must be suspended. */
#ifndef STASIS_AGENT_PHASE_H
#define STASIS_AGENT_PHASE_H

#include "base/err.h"

enum phase_event { PHASE_DRAIN, PHASE_RELEASE, PHASE_REOPEN, PHASE_ABORT, PHASE_EVENT_COUNT };
enum phase_state { PHASE_OPEN, PHASE_DRAINED, PHASE_RELEASED, PHASE_STATE_COUNT };

struct phase_machine {
	enum phase_state state;
	char ckpt[64]; /* the checkpoint in progress when not open */
};

int phase_parse(const char *name, enum phase_event *ret_event, struct err *err);

/*
 * Go through a phase. Every phase may be asked for again. Returns the number of processes that
 * took part; -EPROTO when it is not the phase's turn, -EBUSY when another checkpoint is in
 * progress.
 */
int phase_advance(struct phase_machine *machine, enum phase_event event, const char *ckpt,
		  struct err *err);

#endif
