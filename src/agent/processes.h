/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's processes with libarmci: their connections, and orders to all of them. */
#ifndef STASIS_AGENT_PROCESSES_H
#define STASIS_AGENT_PROCESSES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/cards.h"
#include "agent/watch.h"
#include "armci/suspend/control.h"
#include "base/err.h"

struct process;

/* How an order went. */
struct processes_outcome {
	int rc; /* 0, or the first failure, which `err` tells with its rank */
	struct err err;
	int processes;      /* that were ordered */
	int slowest;        /* rank that took longest; -1: none */
	int64_t slowest_ns; /* and how long */
};

typedef void (*processes_done_fn)(struct agent *agent, const struct processes_outcome *outcome);

struct processes {
	struct watch listener;
	struct process *first;
	int count;
	struct cards cards;
	bool settled; /* the last order was abort or connect: who still waits is let go, too */
	/* The order under way. */
	processes_done_fn done; /* NULL: none */
	enum control_kind kind;
	uint32_t serial;
	int64_t deadline_ns;
	struct processes_outcome outcome;
};

/* Listen on the socket `path`, which every user of the guest may connect to. */
int processes_open(struct agent *agent, const char *path, struct err *err);
void processes_close(struct agent *agent);

/*
 * Give an order to all processes that are there; `done` is called when all have reported or
 * the deadline has passed, perhaps before this returns. -EBUSY: another is under way.
 */
int processes_order(struct agent *agent, enum control_kind kind, int64_t deadline_ms,
		    processes_done_fn done, struct err *err);

/* How many there are that have said hello. */
int processes_greeted(const struct processes *processes);

/* The state that most of the way has been gone to, of all processes. */
enum control_state processes_state(const struct processes *processes);

/* The cards of the processes of this guest: an array of {job, ranks, rank, card}, in
 * hexadecimal. NULL: no memory. */
json_t *processes_cards(const struct processes *processes);

/* Called once in each turn of the loop: give up on who does not report. */
void processes_work(struct agent *agent);
int processes_timeout_ms(const struct processes *processes);

#endif
