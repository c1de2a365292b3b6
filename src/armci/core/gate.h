/* SPDX-License-Identifier: BSD-3-Clause */
/* The gate between the application's thread and other nodes, which suspension closes. */
#ifndef STASIS_ARMCI_CORE_GATE_H
#define STASIS_ARMCI_CORE_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "armci/core/cpu.h"
#include "armci/core/wait.h"

/*
 * Every operation that uses the transport runs between gate_enter() and gate_leave(), one
 * inside at a time (the library's lock), none within another. While the gate is closed nobody
 * enters; who is inside finishes its operation and leaves. Once the gate is empty, the thread
 * that closed it has the client side of remote/ for itself, whatever the application does
 * meanwhile: computing, waiting in shared memory, or stopped at the gate.
 *
 * Passing costs two plain stores and two plain loads: gate_close() makes the other side's store
 * and load appear in order by membarrier(2), which is paid once for each suspension.
 */
struct gate {
	_Atomic(const char *) inside; /* the operation, "a put"; NULL: none */
	_Atomic uint32_t closed;      /* and nobody may enter */
	struct event left;            /* signalled when somebody leaves a closed gate */
	struct event opened;
};

extern CPU_NEAR_DATA struct gate gate;

void gate_enter_slow(const char *what);
void gate_left(void);

/* `what` is a text that stays. Blocks while the gate is closed. */
static inline void gate_enter(const char *what)
{
	atomic_store_explicit(&gate.inside, what, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect(atomic_load_explicit(&gate.closed, memory_order_acquire), 0))
		gate_enter_slow(what);
}

static inline void gate_leave(void)
{
	atomic_store_explicit(&gate.inside, NULL, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect(atomic_load_explicit(&gate.closed, memory_order_relaxed), 0))
		gate_left();
}

/* Enter unless the gate is closed. */
bool gate_try_enter(const char *what);

/* In an operation that cannot go on while others are suspended: leave, and enter again once the
 * gate is open. If it is not closed, wait a moment for that. */
void gate_step_aside(const char *what);

/* The other side; one thread calls these. -ENOSYS: this kernel has no membarrier(2). */
int gate_prepare(void);
void gate_close(void);
/* True once nobody is inside; false when `deadline_ns` (CLOCK_MONOTONIC) has passed. */
bool gate_wait_empty(int64_t deadline_ns);
void gate_open(void);
/* Who is inside, for messages. */
const char *gate_what(void);

#endif
