/* SPDX-License-Identifier: BSD-3-Clause */
/* Accumulates under the locks of the pages they touch. */
#include "armci/shm/lock.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "armci/core/wait.h"
#include "armci/shm/arena.h"

/* A lock word: nobody has it; somebody; somebody, and others may sleep. */
enum { FREE, HELD, WANTED };

/* Rows that may be added under a lock without letting others have it in between. */
enum { ROWS_HELD = 64 };

#define NO_PAGE UINT64_MAX

static inline _Atomic uint32_t *lock_of(uint64_t page)
{
	return (_Atomic uint32_t *)(arena.locks + page % ARENA_LOCKS * ARENA_LOCK_STRIDE);
}

static void lock_slow(_Atomic uint32_t *lock)
{
	struct wait_state state = {0};
	uint32_t seen;

	while (!wait_pause(&state)) {
		seen = FREE;
		if (atomic_load_explicit(lock, memory_order_relaxed) == FREE &&
		    atomic_compare_exchange_strong(lock, &seen, HELD))
			return;
	}
	while (atomic_exchange(lock, WANTED) != FREE)
		wait_sleep_word(lock, WANTED, -1);
}

static inline void lock_take(uint64_t page)
{
	_Atomic uint32_t *lock = lock_of(page);
	uint32_t seen = FREE;

	if (!atomic_compare_exchange_strong_explicit(lock, &seen, HELD, memory_order_acquire,
						     memory_order_relaxed))
		lock_slow(lock);
}

static inline void lock_give(uint64_t page)
{
	_Atomic uint32_t *lock = lock_of(page);

	if (atomic_exchange_explicit(lock, FREE, memory_order_release) == WANTED)
		wait_wake_word(lock, 1);
}

/* One element that begins in `page` and ends in the next: both locks, in the order of the
 * locks. */
static void acc_straddling(enum acc_type type, const void *scale, char *dst, const char *src,
			   uint64_t page)
{
	bool wraps = page % ARENA_LOCKS == ARENA_LOCKS - 1;
	uint64_t first = wraps ? page + 1 : page, second = wraps ? page : page + 1;

	lock_take(first);
	lock_take(second);
	acc_add(type, scale, dst, src, 1);
	lock_give(second);
	lock_give(first);
}

/*
 * One row. *held is the page whose lock we have, or NO_PAGE: rows in one page, one after the
 * other, take the lock once. The caller gives it back.
 */
static inline void acc_row(enum acc_type type, const void *scale, char *dst, const char *src,
			   size_t bytes, size_t size, uint64_t *held)
{
	while (bytes > 0) {
		uint64_t offset = arena_offset(dst), page = offset / ARENA_PAGE;
		size_t part = ARENA_PAGE - offset % ARENA_PAGE;

		if (part >= bytes)
			part = bytes;
		else
			part -= part & (size - 1); /* a power of two */
		if (*held != NO_PAGE && (*held != page || part == 0)) {
			lock_give(*held);
			*held = NO_PAGE;
		}
		if (part == 0) {
			part = size;
			acc_straddling(type, scale, dst, src, page);
		} else {
			if (*held == NO_PAGE)
				lock_take(page);
			*held = page;
			acc_add(type, scale, dst, src, part >> __builtin_ctzl(size));
		}
		dst += part;
		src += part;
		bytes -= part;
	}
}

/* No multiplication where there is nothing to multiply by. */
static inline const void *scale_needed(enum acc_type type, const void *scale)
{
	return scale && !acc_scale_is_one(type, scale) ? scale : NULL;
}

void lock_acc(enum acc_type type, const void *scale, void *dst, const void *src, size_t bytes)
{
	uint64_t held = NO_PAGE;

	acc_row(type, scale, dst, src, bytes, acc_size(type), &held);
	if (held != NO_PAGE)
		lock_give(held);
}

void lock_acc_rows(enum acc_type type, const void *scale, void *far, const void *near,
		   const struct xfer *xfer)
{
	size_t size = acc_size(type);
	uint64_t held = NO_PAGE;
	struct xfer_walk walk;
	int rows = 0;

	scale = scale_needed(type, scale);
	for (xfer_walk_begin(&walk, xfer); !walk.done; xfer_walk_next(&walk)) {
		acc_row(type, scale, (char *)far + walk.far, (const char *)near + walk.near,
			xfer->row, size, &held);
		if (++rows % ROWS_HELD == 0 && held != NO_PAGE) {
			lock_give(held);
			held = NO_PAGE;
		}
	}
	if (held != NO_PAGE)
		lock_give(held);
}
