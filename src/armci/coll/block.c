/* SPDX-License-Identifier: BSD-3-Clause */
/* The shared block of a group on one node: arriving, waiting, buffers. */
#include "armci/coll/block.h"

#include <string.h>

/* Buffers lie a little more than a chunk apart, so that equal places of two of them do not
 * compete for one set of a cache. */
enum { BUFFER_STRIDE = BLOCK_CHUNK + 3 * BLOCK_LINE };

/* Looks at another member's line before pausing, where each has a core. */
enum { FLAT_LOOKS = 200 };

static size_t buffers_start(int members)
{
	return offsetof(struct coll_block, members) +
	       (size_t)members * sizeof(struct block_member);
}

size_t block_bytes(int members)
{
	return buffers_start(members) + (size_t)(2 * members + 2) * BUFFER_STRIDE;
}

void block_init(struct coll_block *block, int members, bool flat)
{
	memset(block, 0, offsetof(struct coll_block, slots));
	memset(block->members, 0, (size_t)members * sizeof block->members[0]);
	block->flat = flat && members <= BLOCK_FLAT_MAX;
}

/* Look `looks` times without a pause first: the others are about to come, or else the wait is
 * long. */
static void wait_until(struct event *event, uint32_t target, int looks)
{
	for (;;) {
		uint32_t seen = event_seq(event);

		if ((int32_t)(seen - target) >= 0)
			return;
		if (--looks <= 0)
			event_wait(event, seen);
	}
}

uint32_t block_arrive(struct coll_group *group)
{
	struct coll_block *block = group->block;
	uint32_t barrier = group->phase++;

	if (block->flat) {
		event_signal(&block->members[group->near_rank].arrived);
	} else {
		_Atomic uint32_t *count = &block->count[barrier & 1];

		if (atomic_fetch_add(count, 1) + 1 == (uint32_t)group->near_count) {
			atomic_store_explicit(count, 0, memory_order_relaxed);
			event_signal(&block->complete);
		}
	}
	return barrier;
}

void block_wait(struct coll_group *group, uint32_t barrier)
{
	struct coll_block *block = group->block;

	if (!block->flat) {
		wait_until(&block->complete, barrier + 1, 1);
		return;
	}
	for (int i = 0; i < group->near_count; i++)
		if (i != group->near_rank)
			wait_until(&block->members[i].arrived, barrier + 1, FLAT_LOOKS);
}

/* Come to the next post. At the beginning of half a ring, all have read what lies a whole ring
 * back, or are waited for. */
char *block_post_begin(struct coll_group *group)
{
	uint32_t post = group->posts++;

	if (post % (BLOCK_SLOTS / 2) == 0) {
		block_begin(group);
		block_arrive(group);
	}
	return group->block->slots[post % BLOCK_SLOTS];
}

void block_post_end(struct coll_group *group)
{
	event_signal(&group->block->posted);
}

const char *block_wait_post(struct coll_group *group)
{
	const char *slot = block_post_begin(group);

	wait_until(&group->block->posted, group->posts, group->block->flat ? FLAT_LOOKS : 1);
	return slot;
}

void block_depart(struct coll_group *group)
{
	_Atomic uint32_t *departed = &group->block->departed;
	uint32_t others = (uint32_t)group->near_count - 1;
	struct wait_state state = {0};
	uint32_t seen;

	if (group->near_rank != 0) {
		atomic_fetch_add(departed, 1);
		wait_wake_word(departed, 1); /* touches no memory */
		return;
	}
	while ((seen = atomic_load(departed)) < others)
		if (wait_pause(&state))
			wait_sleep_word(departed, seen, -1);
}

static char *buffer(const struct coll_group *group, size_t index)
{
	return (char *)group->block + buffers_start(group->near_count) + index * BUFFER_STRIDE;
}

char *block_buffer(const struct coll_group *group, int place, uint32_t barrier)
{
	return buffer(group, (barrier & 1) * (size_t)group->near_count + (size_t)place);
}

char *block_result(const struct coll_group *group, uint32_t barrier)
{
	return buffer(group, 2 * (size_t)group->near_count + (barrier & 1));
}
