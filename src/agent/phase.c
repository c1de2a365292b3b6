/* SPDX-License-Identifier: BSD-3-Clause */
/* The order of a checkpoint's phases as a table; no process registers to be suspended here. */
#include "agent/phase.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { REFUSED = -1 };

static const char *const event_names[PHASE_EVENT_COUNT] = {
	[PHASE_DRAIN] = "drain",
	[PHASE_RELEASE] = "release",
	[PHASE_REOPEN] = "reopen",
	[PHASE_ABORT] = "abort",
};

static const char *const state_names[PHASE_STATE_COUNT] = {
	[PHASE_OPEN] = "open",
	[PHASE_DRAINED] = "drained",
	[PHASE_RELEASED] = "released",
};

/* (event, state) → state. The host may lose a reply and ask again, so each event is accepted in
 * its own outcome. */
static const int transitions[PHASE_EVENT_COUNT][PHASE_STATE_COUNT] = {
	/*                   open           drained         released */
	[PHASE_DRAIN] = {PHASE_DRAINED, PHASE_DRAINED, REFUSED},
	[PHASE_RELEASE] = {REFUSED, PHASE_RELEASED, PHASE_RELEASED},
	[PHASE_REOPEN] = {PHASE_OPEN, REFUSED, PHASE_OPEN},
	[PHASE_ABORT] = {PHASE_OPEN, PHASE_OPEN, PHASE_OPEN},
};

int phase_parse(const char *name, enum phase_event *ret_event, struct err *err)
{
	for (int i = 0; i < PHASE_EVENT_COUNT; i++) {
		if (strcmp(name, event_names[i]) == 0) {
			*ret_event = (enum phase_event)i;
			return 0;
		}
	}
	return err_set(err, EINVAL, "\"phase\" must be drain, release, reopen or abort");
}

int phase_advance(struct phase_machine *machine, enum phase_event event, const char *ckpt,
		  struct err *err)
{
	int next = transitions[event][machine->state];

	/* Whoever aborts may have lost the memory of what it had begun, so an abort needs no
	 * matching name. */
	if (machine->state != PHASE_OPEN && event != PHASE_ABORT &&
	    strcmp(machine->ckpt, ckpt) != 0)
		return err_set(err, EBUSY, "checkpoint %s is in progress in this guest",
			       machine->ckpt);
	if (next == REFUSED)
		return err_set(err, EPROTO, "it is not the turn of \"%s\": this guest is %s",
			       event_names[event], state_names[machine->state]);
	machine->state = (enum phase_state)next;
	snprintf(machine->ckpt, sizeof(machine->ckpt), "%s", next == PHASE_OPEN ? "" : ckpt);
	return 0;
}
