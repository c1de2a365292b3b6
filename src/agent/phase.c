/* SPDX-License-Identifier: BSD-3-Clause */
/* The order of a checkpoint's phases as a table. */
#include "agent/phase.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/rdma.h"

enum { REFUSED = -1 };

static const char *const event_names[PHASE_EVENT_COUNT] = {
	[PHASE_DRAIN] = "drain",     [PHASE_RELEASE] = "release", [PHASE_REOPEN] = "reopen",
	[PHASE_CONNECT] = "connect", [PHASE_ABORT] = "abort",
};

static const char *const state_names[PHASE_STATE_COUNT] = {
	[PHASE_OPEN] = "open",
	[PHASE_DRAINED] = "drained",
	[PHASE_RELEASED] = "released",
	[PHASE_REOPENED] = "reopened",
};

/*
 * (event, state) → state. The host may lose a reply and ask again, so each event is accepted in
 * its own outcome; and "reopen", then "connect", is the way back from anywhere, for an agent
 * that has been killed and knows nothing.
 */
static const int transitions[PHASE_EVENT_COUNT][PHASE_STATE_COUNT] = {
	/*                   open            drained         released        reopened */
	[PHASE_DRAIN] = {PHASE_DRAINED, PHASE_DRAINED, REFUSED, REFUSED},
	[PHASE_RELEASE] = {REFUSED, PHASE_RELEASED, PHASE_RELEASED, REFUSED},
	[PHASE_REOPEN] = {PHASE_REOPENED, PHASE_REOPENED, PHASE_REOPENED, PHASE_REOPENED},
	[PHASE_CONNECT] = {PHASE_OPEN, PHASE_OPEN, REFUSED, PHASE_OPEN},
	[PHASE_ABORT] = {PHASE_OPEN, PHASE_OPEN, PHASE_OPEN, PHASE_OPEN},
};

static const enum control_kind orders[PHASE_EVENT_COUNT] = {
	[PHASE_DRAIN] = CONTROL_DRAIN,   [PHASE_RELEASE] = CONTROL_RELEASE,
	[PHASE_REOPEN] = CONTROL_REOPEN, [PHASE_CONNECT] = CONTROL_CONNECT,
	[PHASE_ABORT] = CONTROL_ABORT,
};

const char *phase_state_name(enum phase_state state)
{
	return state_names[state];
}

enum phase_state phase_furthest(const struct agent *agent)
{
	static const enum phase_state of[CONTROL_STATES] = {
		[CONTROL_OPEN] = PHASE_OPEN,
		[CONTROL_DRAINED] = PHASE_DRAINED,
		[CONTROL_RELEASED] = PHASE_RELEASED,
		[CONTROL_REOPENED] = PHASE_REOPENED,
	};
	enum phase_state processes = of[processes_state(&agent->processes)];

	return processes > agent->phase.state ? processes : agent->phase.state;
}

int phase_parse(const char *name, enum phase_event *ret_event, struct err *err)
{
	for (int i = 0; i < PHASE_EVENT_COUNT; i++) {
		if (strcmp(name, event_names[i]) == 0) {
			*ret_event = (enum phase_event)i;
			return 0;
		}
	}
	return err_set(err, EINVAL,
		       "\"phase\" must be drain, release, reopen, connect or abort");
}

/* When all processes of ours have let go of it: the device, unless somebody else has it. */
static int fabric_detach(struct agent *agent, struct err *err)
{
	int rc;

	if (!agent_owns_machine(agent))
		return 0;
	rc = rdma_check_unused(err);
	if (rc < 0)
		return rc;
	rdma_resources(agent->phase.resources, sizeof(agent->phase.resources));
	return rdma_detach(err);
}

static void phase_end(struct agent *agent, const struct processes_outcome *outcome)
{
	struct phase_machine *machine = &agent->phase;
	processes_done_fn done = machine->done;

	struct processes_outcome all = *outcome;

	machine->done = NULL;
	if (all.rc == 0 && machine->next == PHASE_RELEASED)
		all.rc = fabric_detach(agent, &all.err);
	if (all.rc == 0) {
		machine->state = machine->next;
		snprintf(machine->ckpt, sizeof(machine->ckpt), "%s",
			 machine->next == PHASE_OPEN ? "" : machine->next_ckpt);
	}
	done(agent, &all);
}

int phase_begin(struct agent *agent, enum phase_event event, const char *ckpt,
		int64_t deadline_ms, processes_done_fn done, struct err *err)
{
	struct phase_machine *machine = &agent->phase;
	int next = transitions[event][machine->state];
	int rc;

	if (machine->done)
		return err_set(err, EBUSY, "another phase is under way in this guest");
	/* Whoever wants the way back may have lost the memory of what it had begun, so that
	 * needs no matching name. */
	if (machine->state != PHASE_OPEN && (event == PHASE_DRAIN || event == PHASE_RELEASE) &&
	    strcmp(machine->ckpt, ckpt) != 0)
		return err_set(err, EBUSY, "checkpoint %s is in progress in this guest",
			       machine->ckpt);
	if (next == REFUSED)
		return err_set(err, EPROTO, "it is not the turn of \"%s\": this guest is %s",
			       event_names[event], state_names[machine->state]);
	rc = event == PHASE_REOPEN && agent_owns_machine(agent) ? rdma_restore(err) : 0;
	if (rc < 0)
		return rc;
	machine->done = done;
	machine->next = (enum phase_state)next;
	snprintf(machine->next_ckpt, sizeof(machine->next_ckpt), "%s", ckpt);
	rc = processes_order(agent, orders[event], deadline_ms, phase_end, err);
	if (rc < 0)
		machine->done = NULL;
	return rc;
}
