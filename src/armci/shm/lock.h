/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks that make accumulates atomic to each other: ARENA_LOCKS of them, chosen by the page
 * accumulated into. */
#ifndef STASIS_ARMCI_SHM_LOCK_H
#define STASIS_ARMCI_SHM_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "armci/core/acc.h"
#include "armci/core/xfer.h"
#include "armci/shm/arena.h"

/*
 * Taken by an exchange and given by a plain store, which costs no atomic operation: who begins
 * to sleep between the holder's store and its look at `sleepers` is not woken, so sleepers look
 * again on their own. The look is at a word of its own, since a load of what an exchange has
 * just written takes long.
 */
struct lock {
	_Atomic uint32_t held; /* 0 or 1 */
	_Atomic uint32_t sleepers;
};

void lock_slow(struct lock *lock);
void lock_wake(struct lock *lock);

static inline struct lock *lock_of(uint64_t page)
{
	return (struct lock *)(void *)(arena.locks + page % ARENA_LOCKS * ARENA_LOCK_STRIDE);
}

/* False: somebody has it, and lock_slow() is to follow. */
static inline bool lock_try(struct lock *lock)
{
	return __builtin_expect(
		atomic_exchange_explicit(&lock->held, 1, memory_order_acquire) == 0, 1);
}

static inline void lock_take(struct lock *lock)
{
	if (!lock_try(lock))
		lock_slow(lock);
}

static inline void lock_give(struct lock *lock)
{
	atomic_store_explicit(&lock->held, 0, memory_order_release);
	if (__builtin_expect(atomic_load_explicit(&lock->sleepers, memory_order_relaxed) != 0,
			     0))
		lock_wake(lock);
}

/* *dst += value, after lock_try() has failed. Returns 0. */
int lock_acc_double_late(void *dst, double value, struct lock *lock);

/*
 * dst += scale * src for a run of elements in the arena, atomic per element against every other
 * accumulate of the node's ranks and service threads. bytes is a multiple of the element's
 * size. scale NULL means one.
 */
void lock_acc(enum acc_type type, const void *scale, void *dst, const void *src, size_t bytes);

/* The same for one double that lies in one page; returns 0. What does not need the lock is done
 * before it is taken. */
static inline int lock_acc_double(const void *scale, uint64_t offset, const void *src)
{
	struct lock *lock = lock_of(offset / ARENA_PAGE);
	acc_double *dst = (acc_double *)(void *)arena_at(offset);
	acc_double value = *(const acc_double *)src;

	if (scale)
		value *= *(const acc_double *)scale;
	if (!lock_try(lock))
		return lock_acc_double_late(dst, value, lock);
	*dst += value;
	lock_give(lock);
	return 0;
}

/* The same for all rows of a transfer, whose far side is in the arena. */
void lock_acc_rows(enum acc_type type, const void *scale, void *far, const void *near,
		   const struct xfer *xfer);

#endif
