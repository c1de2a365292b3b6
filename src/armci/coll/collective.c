/* SPDX-License-Identifier: BSD-3-Clause */
/* Collectives over a group: what happens on each node, and between the leaders, put together.
 */
#include "armci/coll/collective.h"

#include <stdlib.h>

#include "armci/coll/between.h"
#include "armci/coll/node.h"

void coll_barrier(struct coll_group *group)
{
	if (group->node_count == 1) {
		node_barrier(group);
		return;
	}
	node_gather(group);
	if (coll_group_is_leader(group))
		between_barrier(group);
	node_release(group);
}

/* Where on its node a member of mine is. */
static int place_near(const struct coll_group *group, int member)
{
	int place = 0;

	while (group->near[place] != member)
		place++;
	return place;
}

void coll_broadcast(struct coll_group *group, void *data, size_t bytes, int root)
{
	int root_node = group->node_of[root];
	bool at_root = group->node_index == root_node;

	if (bytes == 0)
		return;
	if (at_root)
		node_broadcast(group, data, bytes, place_near(group, root));
	if (group->node_count == 1)
		return;
	if (coll_group_is_leader(group))
		between_broadcast(group, data, bytes, root_node);
	if (!at_root)
		node_broadcast(group, data, bytes, 0);
}

void coll_allreduce(struct coll_group *group, void *data, size_t count, enum coll_type type,
		    enum coll_op op)
{
	if (count == 0)
		return;
	op = combine_prepare(type, op, data, count);
	node_allreduce(group, data, count, type, op);
	if (group->node_count == 1)
		return;
	if (coll_group_is_leader(group))
		between_allreduce(group, data, count, type, op);
	node_broadcast(group, data, count * combine_size(type), 0);
}

void coll_allgather(struct coll_group *group, const void *mine, size_t bytes, void *all)
{
	if (bytes == 0)
		return;
	if (group->node_count == 1) {
		node_allgather(group, mine, bytes, all, true);
		return;
	}
	char *near = between_scratch((size_t)group->near_count * bytes);
	node_allgather(group, mine, bytes, near, false);
	if (coll_group_is_leader(group))
		between_allgather(group, near, bytes, all);
	free(near);
	node_broadcast(group, all, (size_t)group->size * bytes, 0);
}
