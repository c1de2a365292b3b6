/* SPDX-License-Identifier: BSD-3-Clause */
/* Collectives among a group's members on one node. See coll/block.h for the rules of its
 * buffers. */
#include "armci/coll/node.h"

#include <string.h>

#include "armci/coll/block.h"

/* Up to so many bytes everybody combines everything: one barrier instead of two. */
enum { SMALL_BYTES = 2048 };

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

void node_barrier(struct coll_group *group)
{
	if (group->near_count > 1)
		block_pass(group);
}

void node_gather(struct coll_group *group)
{
	if (group->near_count == 1)
		return;
	uint32_t barrier = block_arrive(group);
	if (coll_group_is_leader(group))
		block_wait(group, barrier);
}

void node_release(struct coll_group *group)
{
	if (group->near_count == 1)
		return;
	if (coll_group_is_leader(group)) {
		block_post_begin(group);
		block_post_end(group);
	} else {
		block_wait_post(group);
	}
}

/* Through the buffers of the root, in chunks: each is announced by a post, and all arrive at a
 * barrier before reading it. */
static void broadcast_large(struct coll_group *group, char *data, size_t bytes, int root)
{
	for (size_t done = 0; done < bytes; done += BLOCK_CHUNK) {
		size_t piece = least(bytes - done, BLOCK_CHUNK);

		if (group->near_rank == root) {
			block_post_begin(group);
			block_begin(group);
			memcpy(block_buffer(group, root, group->phase), data + done, piece);
			block_post_end(group);
			block_arrive(group);
		} else {
			block_wait_post(group);
			memcpy(data + done, block_buffer(group, root, block_arrive(group)),
			       piece);
		}
	}
}

void node_broadcast(struct coll_group *group, void *data, size_t bytes, int root)
{
	if (group->near_count == 1)
		return;
	if (bytes > BLOCK_SLOT) {
		broadcast_large(group, data, bytes, root);
	} else if (group->near_rank == root) {
		memcpy(block_post_begin(group), data, bytes);
		block_post_end(group);
	} else {
		memcpy(data, block_wait_post(group), bytes);
	}
}

static void allreduce_small(struct coll_group *group, void *data, size_t count,
			    enum coll_type type, enum coll_op op)
{
	size_t bytes = count * combine_size(type);
	uint32_t barrier = group->phase;

	memcpy(block_buffer(group, group->near_rank, barrier), data, bytes);
	block_pass(group);
	memcpy(data, block_buffer(group, 0, barrier), bytes);
	for (int i = 1; i < group->near_count; i++)
		combine(type, op, data, block_buffer(group, i, barrier), count);
}

/* A chunk of a long vector: where it is in my data, and which part of it (in bytes) I combine
 * for all. */
struct chunk {
	char *data;
	size_t bytes;
	size_t first, end;
};

static struct chunk chunk_at(const struct coll_group *group, char *data, size_t count,
			     size_t size, size_t number)
{
	size_t most = BLOCK_CHUNK / size, done = number * most;
	size_t members = (size_t)group->near_count, me = (size_t)group->near_rank;
	size_t piece = least(count - done, most);

	return (struct chunk){
		.data = data + done * size,
		.bytes = piece * size,
		.first = piece * me / members * size,
		.end = piece * (me + 1) / members * size,
	};
}

/* All but my share, which nobody else needs and which I have already. */
static void copy_others(char *to, const char *from, const struct chunk *chunk)
{
	memcpy(to, from, chunk->first);
	memcpy(to + chunk->end, from + chunk->end, chunk->bytes - chunk->end);
}

/* My share: all members' contributions, in the order of their places. */
static void combine_share(struct coll_group *group, uint32_t barrier, const struct chunk *chunk,
			  enum coll_type type, enum coll_op op)
{
	size_t bytes = chunk->end - chunk->first;
	char *mine = chunk->data + chunk->first;
	char *result = block_result(group, barrier) + chunk->first;

	for (int i = 0; i < group->near_count; i++) {
		const char *from = i == group->near_rank
					   ? mine
					   : block_buffer(group, i, barrier) + chunk->first;
		if (i == 0)
			memcpy(result, from, bytes);
		else
			combine(type, op, result, from, bytes / combine_size(type));
	}
	memcpy(mine, result, bytes);
}

/* In each step one chunk is handed in, the one before combined by all together, and the one
 * before that taken out. */
static void allreduce_large(struct coll_group *group, char *data, size_t count,
			    enum coll_type type, enum coll_op op)
{
	size_t size = combine_size(type), most = BLOCK_CHUNK / size;
	size_t chunks = (count + most - 1) / most;

	for (size_t step = 0; step < chunks + 2; step++) {
		uint32_t barrier = group->phase;

		if (step < chunks) {
			struct chunk chunk = chunk_at(group, data, count, size, step);
			copy_others(block_buffer(group, group->near_rank, barrier), chunk.data,
				    &chunk);
		}
		if (step >= 1 && step <= chunks) {
			struct chunk chunk = chunk_at(group, data, count, size, step - 1);
			combine_share(group, barrier - 1, &chunk, type, op);
		}
		if (step >= 2) {
			struct chunk chunk = chunk_at(group, data, count, size, step - 2);
			copy_others(chunk.data, block_result(group, barrier - 2), &chunk);
		}
		if (step < chunks + 1)
			block_pass(group);
	}
}

void node_allreduce(struct coll_group *group, void *data, size_t count, enum coll_type type,
		    enum coll_op op)
{
	if (group->near_count == 1)
		return;
	block_begin(group);
	if (count * combine_size(type) <= SMALL_BYTES)
		allreduce_small(group, data, count, type, op);
	else
		allreduce_large(group, data, count, type, op);
}

void node_allgather(struct coll_group *group, const void *mine, size_t bytes, void *all,
		    bool by_group)
{
	if (group->near_count == 1) {
		memcpy((char *)all + (by_group ? (size_t)group->near[0] * bytes : 0), mine,
		       bytes);
		return;
	}
	for (size_t done = 0; done < bytes; done += BLOCK_CHUNK) {
		size_t piece = least(bytes - done, BLOCK_CHUNK);
		uint32_t barrier = group->phase;

		block_begin(group);
		memcpy(block_buffer(group, group->near_rank, barrier),
		       (const char *)mine + done, piece);
		block_pass(group);
		for (int i = 0; i < group->near_count; i++) {
			size_t place = (size_t)(by_group ? group->near[i] : i);
			memcpy((char *)all + place * bytes + done,
			       block_buffer(group, i, barrier), piece);
		}
	}
}
