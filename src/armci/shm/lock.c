/* SPDX-License-Identifier: BSD-3-Clause */
/* Accumulates under the locks of the pages they touch. */
#include "armci/shm/lock.h"

#include "armci/core/wait.h"
#include "armci/shm/local.h"

#define SLEEP_NS 1000000

/* Rows that may be added under a lock without letting others have it in between. */
enum { ROWS_HELD = 64 };

_Alignas(64) int local_fence_word;

void lock_slow(struct lock *lock)
{
	struct wait_state state = {0};

	while (!wait_pause(&state))
		if (atomic_load_explicit(&lock->held, memory_order_relaxed) == 0 &&
		    lock_try(lock))
			return;
	atomic_fetch_add(&lock->sleepers, 1);
	while (!lock_try(lock))
		wait_sleep_word(&lock->held, 1, SLEEP_NS);
	atomic_fetch_sub(&lock->sleepers, 1);
}

void lock_wake(struct lock *lock)
{
	wait_wake_word(&lock->held, 1);
}

/* One element that begins in a page and ends in the next: both locks, in the order of the
 * locks. */
static void acc_straddling(enum acc_type type, const void *scale, char *dst, const char *src,
			   uint64_t page)
{
	struct lock *one = lock_of(page), *other = lock_of(page + 1);
	struct lock *first = one < other ? one : other;
	struct lock *second = one < other ? other : one;

	lock_take(first);
	lock_take(second);
	acc_add(type, scale, dst, src, 1);
	lock_give(second);
	lock_give(first);
}

/*
 * One row. *held is the lock that we have, or NULL: rows in one page, one after the other, take
 * it once. The caller gives it back.
 */
static inline void acc_row(enum acc_type type, const void *scale, char *dst, const char *src,
			   size_t bytes, size_t size, struct lock **held)
{
	while (bytes > 0) {
		uint64_t offset = arena_offset(dst), page = offset / ARENA_PAGE;
		struct lock *lock = lock_of(page);
		size_t part = ARENA_PAGE - offset % ARENA_PAGE;

		if (part >= bytes)
			part = bytes;
		else
			part -= part & (size - 1); /* a power of two */
		if (*held && (*held != lock || part == 0)) {
			lock_give(*held);
			*held = NULL;
		}
		if (part == 0) {
			part = size;
			acc_straddling(type, scale, dst, src, page);
		} else {
			if (!*held)
				lock_take(lock);
			*held = lock;
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
	struct lock *held = NULL;

	acc_row(type, scale, dst, src, bytes, acc_size(type), &held);
	if (held)
		lock_give(held);
}

int lock_acc_double_late(void *dst, double value, struct lock *lock)
{
	lock_slow(lock);
	*(acc_double *)dst += value;
	lock_give(lock);
	return 0;
}

void lock_acc_rows(enum acc_type type, const void *scale, void *far, const void *near,
		   const struct xfer *xfer)
{
	size_t size = acc_size(type);
	struct lock *held = NULL;
	struct xfer_walk walk;
	int rows = 0;

	scale = scale_needed(type, scale);
	for (xfer_walk_begin(&walk, xfer); !walk.done; xfer_walk_next(&walk)) {
		acc_row(type, scale, (char *)far + walk.far, (const char *)near + walk.near,
			xfer->row, size, &held);
		if (++rows % ROWS_HELD == 0 && held) {
			lock_give(held);
			held = NULL;
		}
	}
	if (held)
		lock_give(held);
}
