/* SPDX-License-Identifier: BSD-3-Clause */
/* The gate between the application's thread and other nodes, which suspension closes. */
#ifndef STASIS_ARMCI_CORE_GATE_H
#define STASIS_ARMCI_CORE_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "armci/core/wait.h"

/*
 * Every operation that uses the transport runs between gate_enter() and gate_leave(). While the
 * gate is closed nobody enters; who is inside finishes its operation and leaves. Once the gate
 * is empty, the thread that closed it has the client side of remote/ for itself, whatever the
 * application does meanwhile: computing, waiting in shared memory, or stopped at the gate.
 *
 * Entering costs a plain store and a plain load: gate_close() makes the other side's store and
 * load appear in order by membarrier(2), which is paid once for each suspension. One thread at
 * a time enters (the library's lock), so the depth needs no atomic addition.
 */
struct gate {
	_Atomic uint32_t depth;     /* calls inside each other; 0: outside */
	_Atomic uint32_t closed;    /* and nobody may enter */
	_Atomic(const char *) what; /* the outermost operation inside, for messages */
	struct event left;          /* signalled when the last one leaves a closed gate */
	struct event opened;
};

extern struct gate gate;

void gate_enter_slow(void);
void gate_left(void);

/* `what` is a text that stays: "a put". Blocks while the gate is closed. */
static inline void gate_enter(const char *what)
{
	uint32_t depth = atomic_load_explicit(&gate.depth, memory_order_relaxed);

	atomic_store_explicit(&gate.depth, depth + 1, memory_order_relaxed);
	if (depth > 0)
		return;
	atomic_store_explicit(&gate.what, what, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect(atomic_load_explicit(&gate.closed, memory_order_acquire), 0))
		gate_enter_slow();
}

static inline void gate_leave(void)
{
	uint32_t depth = atomic_load_explicit(&gate.depth, memory_order_relaxed);

	atomic_store_explicit(&gate.depth, depth - 1, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	if (depth == 1 &&
	    __builtin_expect(atomic_load_explicit(&gate.closed, memory_order_relaxed), 0))
		gate_left();
}

/* Enter unless the gate is closed. */
bool gate_try_enter(const char *what);

/* In an operation that cannot go on while others are suspended: leave, and enter again once the
 * gate is open. If it is not closed, wait a moment for that. Only at depth 1. */
void gate_step_aside(const char *what);

/* The other side; one thread calls these. -ENOSYS: this kernel has no membarrier(2). */
int gate_prepare(void);
void gate_close(void);
/* True once nobody is inside; false when `deadline_ns` (CLOCK_MONOTONIC) has passed. */
bool gate_wait_empty(int64_t deadline_ns);
void gate_open(void);

#endif
