/* SPDX-License-Identifier: BSD-3-Clause */
/* Collectives among the leaders of a group's nodes: dissemination, binomial trees, recursive
 * doubling. */
#include "armci/coll/between.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "armci/coll/mbox.h"
#include "armci/core/fail.h"

/* Long vectors are reduced in pieces, which bounds what lies in queues. */
enum { PIECE_BYTES = 256 << 10, SWAP_BYTES = 16 << 10 };

void *between_scratch(size_t bytes)
{
	void *memory = malloc(bytes > 0 ? bytes : 1);

	if (memory == NULL)
		fail("there is no memory for the %zu bytes of a collective operation", bytes);
	return memory;
}

/* The messages of one exchange, between members by their ranks in the group. */
struct exchange {
	struct coll_group *group;
	enum mbox_class class;
	uint64_t tag;
};

static void exchange_send(const struct exchange *exchange, int member, const void *data,
			  size_t bytes)
{
	mbox_send(exchange->group->ranks[member], exchange->class, exchange->tag, data, bytes);
}

static void exchange_receive(const struct exchange *exchange, int member, void *data,
			     size_t bytes)
{
	int rank = exchange->group->ranks[member];
	size_t got = mbox_receive(rank, exchange->class, exchange->tag, data, bytes, NULL);

	if (got != bytes)
		fail("a collective operation with rank %d has %zu bytes here and %zu there: the "
		     "ranks call different operations",
		     rank, bytes, got);
}

static struct exchange exchange_begin(struct coll_group *group)
{
	return (struct exchange){
		.group = group,
		.class = MBOX_COLL,
		.tag = (uint64_t)group->id << 32 | group->sequence++,
	};
}

static int leader(const struct coll_group *group, int node)
{
	return group->leaders[node];
}

void between_barrier(struct coll_group *group)
{
	struct exchange exchange = exchange_begin(group);
	int nodes = group->node_count, me = group->node_index;

	for (int distance = 1; distance < nodes; distance *= 2) {
		exchange_send(&exchange, leader(group, (me + distance) % nodes), NULL, 0);
		exchange_receive(&exchange, leader(group, (me - distance + nodes) % nodes),
				 NULL, 0);
	}
}

/* Binomial tree over positions 0 … count-1, `me` being mine; position i is member members[(i +
 * shift) % count], or first + i. */
static void broadcast(const struct exchange *exchange, void *data, size_t bytes, int me,
		      int count, const int *members, int shift)
{
	int step = 1;

	for (; step < count && !(me & step); step *= 2)
		;
	if (step < count) {
		int from = me - step;
		exchange_receive(exchange,
				 members ? members[(from + shift) % count] : from + shift, data,
				 bytes);
	}
	for (step /= 2; step > 0; step /= 2) {
		int to = me + step;
		if (to < count)
			exchange_send(exchange,
				      members ? members[(to + shift) % count] : to + shift,
				      data, bytes);
	}
}

void between_broadcast(struct coll_group *group, void *data, size_t bytes, int root)
{
	struct exchange exchange = exchange_begin(group);
	int nodes = group->node_count;

	broadcast(&exchange, data, bytes, (group->node_index - root + nodes) % nodes, nodes,
		  group->leaders, root);
}

void between_broadcast_members(struct coll_group *group, void *data, size_t bytes, int first,
			       int count)
{
	struct exchange exchange = {
		.group = group,
		.class = MBOX_SUBSET,
		.tag = (uint64_t)group->id << 32 | (uint32_t)first,
	};

	broadcast(&exchange, data, bytes, group->rank - first, count, NULL, first);
}

struct reduction {
	enum coll_type type;
	enum coll_op op;
	size_t count, bytes;
	char *data, *other;
};

/* data = low op high, of data and what lies in `other`, which comes from above or below me. */
static void reduce_two(const struct reduction *reduction, bool is_above)
{
	if (is_above) {
		combine(reduction->type, reduction->op, reduction->data, reduction->other,
			reduction->count);
	} else {
		combine(reduction->type, reduction->op, reduction->other, reduction->data,
			reduction->count);
		memcpy(reduction->data, reduction->other, reduction->bytes);
	}
}

/* Swap with a member and combine. Where much is swapped, the upper one receives first, or both
 * would fill each other's box. */
static void reduce_with(const struct exchange *exchange, const struct reduction *reduction,
			int member, bool is_above)
{
	bool send_first = is_above || reduction->bytes <= SWAP_BYTES;

	if (send_first)
		exchange_send(exchange, member, reduction->data, reduction->bytes);
	exchange_receive(exchange, member, reduction->other, reduction->bytes);
	if (!send_first)
		exchange_send(exchange, member, reduction->data, reduction->bytes);
	reduce_two(reduction, is_above);
}

/*
 * Recursive doubling among the largest power of two of nodes. The nodes beyond it are folded in
 * first: of the first 2 × extra nodes, each odd one hands its part to the even one below it and
 * gets the result at the end. Both sides of every pair combine the lower part with the higher
 * one, so that they have the same bits.
 */
static void allreduce_piece(struct coll_group *group, const struct reduction *reduction)
{
	struct exchange exchange = exchange_begin(group);
	int nodes = group->node_count, me = group->node_index, power = 1;

	while (power * 2 <= nodes)
		power *= 2;
	int extra = nodes - power;
	bool folded = me < 2 * extra;
	if (folded && me % 2 == 1) {
		exchange_send(&exchange, leader(group, me - 1), reduction->data,
			      reduction->bytes);
		exchange_receive(&exchange, leader(group, me - 1), reduction->data,
				 reduction->bytes);
		return;
	}
	if (folded) {
		exchange_receive(&exchange, leader(group, me + 1), reduction->other,
				 reduction->bytes);
		reduce_two(reduction, true);
	}
	int place = folded ? me / 2 : me - extra;
	for (int step = 1; step < power; step *= 2) {
		int other = place ^ step;
		int member = leader(group, other < extra ? other * 2 : other + extra);
		reduce_with(&exchange, reduction, member, other > place);
	}
	if (folded)
		exchange_send(&exchange, leader(group, me + 1), reduction->data,
			      reduction->bytes);
}

void between_allreduce(struct coll_group *group, void *data, size_t count, enum coll_type type,
		       enum coll_op op)
{
	size_t size = combine_size(type), most = PIECE_BYTES / size;
	char *other = between_scratch((count < most ? count : most) * size);

	for (size_t done = 0; done < count; done += most) {
		size_t piece = count - done < most ? count - done : most;
		struct reduction reduction = {
			.type = type,
			.op = op,
			.count = piece,
			.bytes = piece * size,
			.data = (char *)data + done * size,
			.other = other,
		};
		allreduce_piece(group, &reduction);
	}
	free(other);
}

/* Members of the `count` nodes from mine on, counted around. */
static size_t members_of(const struct coll_group *group, int count)
{
	const int *start = group->node_start;
	int me = group->node_index, nodes = group->node_count;

	if (me + count <= nodes)
		return (size_t)(start[me + count] - start[me]);
	return (size_t)(start[nodes] - start[me] + start[me + count - nodes]);
}

/* In each round the number of nodes whose data I hold, from mine on, doubles. */
void between_allgather(struct coll_group *group, const void *mine, size_t bytes, void *all)
{
	struct exchange exchange = exchange_begin(group);
	int nodes = group->node_count, me = group->node_index;
	char *held = between_scratch((size_t)group->size * bytes);

	memcpy(held, mine, (size_t)group->near_count * bytes);
	for (int have = 1; have < nodes; have *= 2) {
		int more = have < nodes - have ? have : nodes - have;
		size_t before = members_of(group, have) * bytes;
		exchange_send(&exchange, leader(group, (me - have + nodes) % nodes), held,
			      members_of(group, more) * bytes);
		exchange_receive(&exchange, leader(group, (me + have) % nodes), held + before,
				 members_of(group, have + more) * bytes - before);
	}
	for (int i = 0; i < group->size; i++) {
		int place = (group->node_start[me] + i) % group->size;
		memcpy((char *)all + (size_t)group->by_node[place] * bytes,
		       held + (size_t)i * bytes, bytes);
	}
	free(held);
}
