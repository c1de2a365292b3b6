/* SPDX-License-Identifier: BSD-3-Clause */
/* The fast path: from a user's address on a rank of this node to our own mapping of it. */
#ifndef STASIS_ARMCI_API_NEAR_H
#define STASIS_ARMCI_API_NEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "armci/core/cpu.h"
#include "armci/core/job.h"
#include "armci/shm/arena.h"
#include "armci/shm/heap.h"
#include "base/err.h"

/* Ranks of a job at most. */
enum { NEAR_RANKS_MAX = 1 << 18 };

/*
 * What it takes to reach a rank: users pass addresses of that rank's own mapping. By rank, and
 * zeros beyond the job. The table is at a fixed place, since every operation looks into it and
 * a pointer would have to be loaded first; what is not used of it takes no memory.
 */
struct near_rank {
	uintptr_t base; /* of the rank's slice in its own address space */
	uint64_t fast; /* bytes of the slice if it is on my node and the fast path is on, else 0
			*/
	uint64_t offset; /* to be added to an address there: its offset in its node's arena */
	uintptr_t pages; /* near ranks: to be added to 8 × an address's page: its arena_page */
};

extern CPU_NEAR_DATA struct near_rank near_ranks[NEAR_RANKS_MAX];

/* Ranks of the job if all are on my node and the fast path is on, else 0. */
extern CPU_NEAR_DATA unsigned near_everybody;

int near_open(struct err *err); /* collective */
/* Turn the fast path on or off: while it is off every operation takes the long way. */
void near_set_fast(bool fast);
void near_close(void);

/* Bytes of the slice of any rank. */
uint64_t near_slice_bytes(int rank);

/* Functions that take over where the fast path ends: kept out of its code. */
#define NEAR_SLOW __attribute__((noinline, cold))

/* The rank is on my node, and the fast path is on. */
static inline bool near_is_fast(int rank)
{
	return (unsigned)rank < near_everybody ||
	       ((unsigned)rank < NEAR_RANKS_MAX && near_ranks[rank].fast != 0);
}

/* Nothing here has to wait for another load: the address of an entry comes from the user's. */
static inline const struct arena_page *near_page(const struct near_rank *there, uintptr_t at)
{
	return (const struct arena_page *)(there->pages +
					   at / ARENA_PAGE * sizeof(struct arena_page));
}

/*
 * The address in my mapping, or NULL when the caller must take the slow path (another node,
 * before init, fast path off, not inside one global block): segments.h's segment_find() then
 * decides.
 */
static inline char *near_address(int rank, const void *address, size_t bytes)
{
	if ((unsigned)rank >= NEAR_RANKS_MAX)
		return NULL;
	const struct near_rank *there = &near_ranks[rank];
	uintptr_t from = (uintptr_t)address;
	uint64_t at = from - there->base;
	if (bytes == 0 || at >= there->fast || bytes > there->fast - at)
		return NULL;
	const struct arena_page *first = near_page(there, from), *last = first;
	uint64_t in = from % ARENA_PAGE, end = in + bytes;
	if (end > ARENA_PAGE) {
		last = near_page(there, from + bytes - 1);
		if (first->head != last->head)
			return NULL;
		end = (end - 1) % ARENA_PAGE + 1;
	}
	if (first->kind != HEAP_GLOBAL || end > last->limit || in < first->skew * 64u)
		return NULL;
	return arena.base + (from + there->offset);
}

/* The offset in the arena of a number that lies in one page, or 0 as near_address()'s NULL. */
static inline uint64_t near_number(int rank, const void *address, size_t bytes)
{
	if ((unsigned)rank >= NEAR_RANKS_MAX)
		return 0;
	const struct near_rank *there = &near_ranks[rank];
	uintptr_t from = (uintptr_t)address;
	if (from - there->base >= there->fast)
		return 0;
	const struct arena_page *page = near_page(there, from);
	int in = (int)(from % ARENA_PAGE);
	if (page->kind != HEAP_GLOBAL || page->limit - in < (int)bytes || in < page->skew * 64)
		return 0;
	return from + there->offset;
}

#endif
