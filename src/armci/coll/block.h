/* SPDX-License-Identifier: BSD-3-Clause */
/* The shared block of a group on one node: arrivals of its members, and buffers through which
 * they exchange data. */
#ifndef STASIS_ARMCI_COLL_BLOCK_H
#define STASIS_ARMCI_COLL_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "armci/coll/group.h"
#include "armci/core/wait.h"

/*
 * The members of a node pass through numbered barriers together: each counts its own arrivals
 * (group->phase), which is the same number for all as all call the same collectives. To arrive
 * and to wait for the others are two steps.
 *
 * Rules that make reuse of the buffers safe, p being the number of the next barrier:
 * - buffers(p & 1) are written between barriers p-1 and p by who has waited for barrier p-1;
 *   they are read between one's arrivals at p and at p+1. So a write of the next round, which
 * waits for p+1, comes after all reads of this one.
 * - results(p & 1) are written between p and p+1 (all having waited for p), read between p+1
 * and p+2.
 * - Nobody arrives at p without knowing that p-2 is complete: hence two counters suffice.
 *
 * How arrivals are told: where ranks outnumber cores, or are many, one counter, and the last to
 * arrive wakes all others at once, so that each of them sleeps and wakes at most once in a
 * barrier. A few members with a core each tell each other directly, one cache line per member
 * ("flat").
 *
 * Data from one to all need no barrier: a post, also counted by all (group->posts), has a slot
 * of a ring. Every half ring, all arrive at a barrier; it must be complete before the half ring
 * after the next one is written. So who posts may go on before others have read, a few posts
 * ahead. A post may also tell that a buffer was written; then it carries nothing itself.
 */
enum {
	BLOCK_LINE = 128,
	BLOCK_CHUNK = 32 << 10,
	BLOCK_FLAT_MAX = 8,
	BLOCK_SLOT = 1 << 10,
	BLOCK_SLOTS = 16,
};

struct block_member {
	_Alignas(BLOCK_LINE) struct event
		arrived; /* flat: its number is the member's arrivals */
};

struct coll_block {
	bool flat;
	_Alignas(BLOCK_LINE) _Atomic uint32_t count[2]; /* arrivals at barriers p, by p & 1 */
	_Alignas(
		BLOCK_LINE) struct event complete; /* its number is that of complete barriers */
	_Alignas(BLOCK_LINE) struct event posted;  /* … of posts */
	_Alignas(BLOCK_LINE) _Atomic uint32_t
		departed; /* members that no longer use the block */
	_Alignas(BLOCK_LINE) char slots[BLOCK_SLOTS]
				       [BLOCK_SLOT]; /* of post p: p % BLOCK_SLOTS */
	struct block_member members[];
	/* then buffers [2][members] and results [2], BLOCK_CHUNK each */
};

size_t block_bytes(int members);
/* `flat` as wished by the creator; more than BLOCK_FLAT_MAX members are never flat. */
void block_init(struct coll_block *block, int members, bool flat);

/* Arrive at barrier group->phase, which is returned and counted up. */
uint32_t block_arrive(struct coll_group *group);
/* Wait until all have arrived at `barrier`, where I have arrived too (or that lies before the
 * first). */
void block_wait(struct coll_group *group, uint32_t barrier);
static inline void block_pass(struct coll_group *group)
{
	block_wait(group, block_arrive(group));
}
/* All have arrived at the last barrier: buffers(group->phase & 1) may be written. */
static inline void block_begin(struct coll_group *group)
{
	block_wait(group, group->phase - 1);
}

/* Begin a post: up to BLOCK_SLOT bytes may be written to where this returns. It may arrive at a
 * barrier. Then let others see it. */
char *block_post_begin(struct coll_group *group);
void block_post_end(struct coll_group *group);
/* All but who posts: its bytes, to be read before the next post begins. */
const char *block_wait_post(struct coll_group *group);

/* The last use of a block: the leader (place 0) waits until all others have called this too,
 * then may free it. */
void block_depart(struct coll_group *group);

/* BLOCK_CHUNK bytes each. */
char *block_buffer(const struct coll_group *group, int place, uint32_t barrier);
char *block_result(const struct coll_group *group, uint32_t barrier);

#endif
