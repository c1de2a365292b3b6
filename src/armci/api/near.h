/* SPDX-License-Identifier: BSD-3-Clause */
/* The fast path: from a user's address on a rank of this node to our own mapping of it. */
#ifndef STASIS_ARMCI_API_NEAR_H
#define STASIS_ARMCI_API_NEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "armci/core/job.h"
#include "armci/shm/arena.h"
#include "armci/shm/heap.h"
#include "base/err.h"

/*
 * What it takes to reach a rank: users pass addresses of that rank's own mapping. [rank] for
 * all ranks of the job.
 */
struct near_rank {
	uintptr_t base; /* of the rank's slice in its own address space */
	uint64_t slice; /* offset of that slice in its node's arena */
	uint64_t bytes; /* of the slice */
	uint64_t fast;  /* the same if it is on my node and the fast path is on, else 0 */
	struct arena_page *pages; /* of its slice, near ranks only */
};

extern struct near_rank *near_ranks;

int near_open(struct err *err); /* collective */
/* Turn the fast path on or off: while it is off every operation takes the long way. */
void near_set_fast(bool fast);
void near_close(void);

/* Functions that take over where the fast path ends: kept out of its code. */
#define NEAR_SLOW __attribute__((noinline, cold))

/* The rank is on my node, and the fast path is on. */
static inline bool near_is_fast(int rank)
{
	return (unsigned)rank < (unsigned)job.size && near_ranks[rank].fast != 0;
}

/*
 * The address in my mapping, or NULL when the caller must take the slow path (another node,
 * before init, fast path off, not inside one global block): segments.h's segment_find() then
 * decides.
 */
static inline char *near_address(int rank, const void *address, size_t bytes)
{
	if ((unsigned)rank >= (unsigned)job.size)
		return NULL;
	const struct near_rank *there = &near_ranks[rank];
	uint64_t at = (uintptr_t)address - there->base;
	if (bytes == 0 || at >= there->fast || bytes > there->fast - at)
		return NULL;
	const struct arena_page *first = &there->pages[at / ARENA_PAGE];
	uint64_t end = at + bytes - 1;
	const struct arena_page *last = &there->pages[end / ARENA_PAGE];
	if (first->head == 0 || first->head != last->head || first->kind != HEAP_GLOBAL ||
	    end % ARENA_PAGE >= last->limit || at % ARENA_PAGE < first->skew * 64u)
		return NULL;
	return arena.base + there->slice + at;
}

#endif
