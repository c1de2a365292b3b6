/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting on words of shared memory: spin, yield, then sleep on a futex. Every wait on a node
 * goes through here. */
#ifndef STASIS_ARMCI_CORE_WAIT_H
#define STASIS_ARMCI_CORE_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * An event is a sequence number that somebody advances and others wait on. It lives in shared
 * memory (zero-filled is initialised) and works between processes. A signal costs no system
 * call while nobody sleeps.
 */
struct event {
	_Atomic uint32_t seq;
	_Atomic uint32_t sleepers;
};

static inline uint32_t event_seq(struct event *event)
{
	return atomic_load_explicit(&event->seq, memory_order_acquire);
}

/* Advance and wake all sleepers. What was written before is visible to who sees the new number.
 */
void event_signal(struct event *event);

/* Return when the number differs from `seen`; at once if it does already. */
void event_wait(struct event *event, uint32_t seen);

/* As event_wait(), but give up after `timeout_ns`: false. */
bool event_wait_for(struct event *event, uint32_t seen, int64_t timeout_ns);

/* Waiting loops that poll something else: call wait_pause(&state) in each round; it spins, then
 * yields, then returns true when it is time to sleep. */
struct wait_state {
	int64_t rounds;
};
bool wait_pause(struct wait_state *state);

/*
 * The futex below all this, between processes. wait_sleep_word() returns when it was woken,
 * when *word is not `value`, or when `timeout_ns` is over (negative: never); also at times
 * without reason.
 */
void wait_sleep_word(_Atomic uint32_t *word, uint32_t value, int64_t timeout_ns);
void wait_wake_word(_Atomic uint32_t *word, int count);

/* Spin counts of this process: set by wait_open() from settings and job.oversubscribed. */
void wait_open(void);

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t wait_now_ns(void);

#endif
