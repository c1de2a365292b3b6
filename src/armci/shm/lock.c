/* SPDX-License-Identifier: BSD-3-Clause */
/* Accumulates under the locks of the pages they touch. */
#include "armci/shm/lock.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "armci/core/wait.h"
#include "armci/shm/arena.h"

/*
 * A lock word: nobody has it; somebody; somebody, and others may sleep. It is taken by an
 * exchange and given by a plain store, which costs no atomic operation: who announces itself
 * between the holder's look and its store is not woken, so sleepers look again on their own.
 */
enum { FREE, HELD, WANTED };

#define SLEEP_NS 1000000

/* Rows that may be added under a lock without letting others have it in between. */
enum { ROWS_HELD = 64 };

static inline _Atomic uint32_t *lock_of(uint64_t page)
{
	return (_Atomic uint32_t *)(arena.locks + page % ARENA_LOCKS * ARENA_LOCK_STRIDE);
}

/* Only ever as WANTED: lock_take() may have written over the mark of sleepers. */
static void lock_slow(_Atomic uint32_t *lock)
{
	struct wait_state state = {0};

	while (!wait_pause(&state))
		if (atomic_load_explicit(lock, memory_order_relaxed) == FREE &&
		    atomic_exchange(lock, WANTED) == FREE)
			return;
	while (atomic_exchange(lock, WANTED) != FREE)
		wait_sleep_word(lock, WANTED, SLEEP_NS);
}

static inline void lock_take(_Atomic uint32_t *lock)
{
	if (__builtin_expect(atomic_exchange_explicit(lock, HELD, memory_order_acquire) != FREE,
			     0))
		lock_slow(lock);
}

static void lock_give_slow(_Atomic uint32_t *lock)
{
	atomic_store(lock, FREE);
	wait_wake_word(lock, 1);
}

static inline void lock_give(_Atomic uint32_t *lock)
{
	if (__builtin_expect(atomic_load_explicit(lock, memory_order_relaxed) == HELD, 1))
		atomic_store_explicit(lock, FREE, memory_order_release);
	else
		lock_give_slow(lock);
}

/* One element that begins in a page and ends in the next: both locks, in the order of the
 * locks. */
static void acc_straddling(enum acc_type type, const void *scale, char *dst, const char *src,
			   uint64_t page)
{
	_Atomic uint32_t *one = lock_of(page), *other = lock_of(page + 1);
	_Atomic uint32_t *first = one < other ? one : other;
	_Atomic uint32_t *second = one < other ? other : one;

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
			   size_t bytes, size_t size, _Atomic uint32_t **held)
{
	while (bytes > 0) {
		uint64_t offset = arena_offset(dst), page = offset / ARENA_PAGE;
		_Atomic uint32_t *lock = lock_of(page);
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

static __attribute__((noinline)) void acc_run(enum acc_type type, const void *scale, char *dst,
					      const char *src, size_t bytes)
{
	_Atomic uint32_t *held = NULL;

	acc_row(type, scale, dst, src, bytes, acc_size(type), &held);
	if (held)
		lock_give(held);
}

/* One number: what does not need the lock is done before it is taken. */
#define ACC_ONE(type)                                  \
	do {                                           \
		type value = *(const type *)src;       \
                                                       \
		if (scale)                             \
			value *= *(const type *)scale; \
		lock_take(lock);                       \
		*(type *)dst += value;                 \
		lock_give(lock);                       \
	} while (0)

void lock_acc(enum acc_type type, const void *scale, void *dst, const void *src, size_t bytes)
{
	uint64_t offset = arena_offset(dst);
	_Atomic uint32_t *lock = lock_of(offset / ARENA_PAGE);
	bool single = bytes == acc_size(type) && offset % ARENA_PAGE <= ARENA_PAGE - bytes;

	if (single && type == ACC_DOUBLE)
		ACC_ONE(acc_double);
	else if (single && type == ACC_LONG)
		ACC_ONE(acc_long);
	else if (single && type == ACC_FLOAT)
		ACC_ONE(acc_float);
	else if (single && type == ACC_INT)
		ACC_ONE(acc_int);
	else
		acc_run(type, scale, dst, src, bytes);
}

void lock_acc_rows(enum acc_type type, const void *scale, void *far, const void *near,
		   const struct xfer *xfer)
{
	size_t size = acc_size(type);
	_Atomic uint32_t *held = NULL;
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
