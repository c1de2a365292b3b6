/* SPDX-License-Identifier: BSD-3-Clause */
/* Groups of ranks: making and ending them. MPI is used once in the life of each, to agree on
 * where its blocks are. */
#include "armci/coll/group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "armci/coll/block.h"
#include "armci/coll/node.h"
#include "armci/core/job.h"
#include "armci/shm/arena.h"
#include "armci/shm/heap.h"

struct coll_group *coll_world;

/* The greatest id of a group that this rank has ever been in: ids of a member's groups only
 * grow. */
static uint32_t last_id;

static void group_forget(struct coll_group *group)
{
	if (group == NULL)
		return;
	free(group->ranks);
	free(group->places);
	free(group->node_of);
	free(group->by_node);
	free(group->node_start);
	free(group->leaders);
	free(group);
}

/* Number the nodes by their first members, and sort the members by node.
 * index_of[job.node_count] is scratch. */
static void group_find_nodes(struct coll_group *group, int *index_of)
{
	for (int node = 0; node < job.node_count; node++)
		index_of[node] = -1;
	for (int i = 0; i < group->size; i++) {
		int node = job.node_of[group->ranks[i]];
		if (index_of[node] < 0) {
			group->leaders[group->node_count] = i;
			index_of[node] = group->node_count++;
		}
		group->node_of[i] = index_of[node];
		group->node_start[index_of[node] + 1]++;
	}
	for (int i = 0; i < group->node_count; i++)
		group->node_start[i + 1] += group->node_start[i];
	for (int i = 0; i < group->node_count; i++)
		index_of[i] = group->node_start[i];
	for (int i = 0; i < group->size; i++)
		group->by_node[index_of[group->node_of[i]]++] = i;
}

static void group_find_me(struct coll_group *group)
{
	group->rank = group->places[job.rank];
	group->node_index = group->node_of[group->rank];
	group->near = group->by_node + group->node_start[group->node_index];
	group->near_count =
		group->node_start[group->node_index + 1] - group->node_start[group->node_index];
	while (group->near[group->near_rank] != group->rank)
		group->near_rank++;
}

/* All of a group but what must be agreed upon. NULL: no memory. */
static struct coll_group *group_describe(const int *world_ranks, int count)
{
	struct coll_group *group = calloc(1, sizeof *group);
	size_t size = (size_t)count, nodes = (size_t)job.node_count;
	int *index_of = malloc((nodes > size ? nodes : size) * sizeof(int));

	if (group == NULL || index_of == NULL)
		goto fail;
	group->references = 1;
	group->comm = MPI_COMM_NULL;
	group->size = count;
	group->ranks = malloc(size * sizeof(int));
	group->places = malloc((size_t)job.size * sizeof(int));
	group->node_of = malloc(size * sizeof(int));
	group->by_node = malloc(size * sizeof(int));
	group->node_start = calloc((nodes < size ? nodes : size) + 1, sizeof(int));
	group->leaders = malloc((nodes < size ? nodes : size) * sizeof(int));
	if (!group->ranks || !group->places || !group->node_of || !group->by_node ||
	    !group->node_start || !group->leaders)
		goto fail;
	memcpy(group->ranks, world_ranks, size * sizeof(int));
	for (int i = 0; i < job.size; i++)
		group->places[i] = -1;
	for (int i = 0; i < count; i++)
		group->places[world_ranks[i]] = i;
	group_find_nodes(group, index_of);
	group_find_me(group);
	free(index_of);
	return group;
fail:
	free(index_of);
	group_forget(group);
	return NULL;
}

/* What each member tells the others when a group is made. */
struct introduction {
	uint64_t block; /* leaders: its offset in the node's arena */
	uint32_t last_id;
	int32_t error; /* positive errno value, 0: none */
};

/*
 * The blocks, and an id greater than any that a member has had. Collective over `comm`: `group`
 * is NULL where there was no memory for it, which all members then learn.
 */
static int group_agree(struct coll_group *group, MPI_Comm comm, int size, struct err *err)
{
	struct introduction mine = {.last_id = last_id, .error = group ? 0 : ENOMEM};
	struct introduction *all = malloc((size_t)size * sizeof *all);
	struct coll_block *block = NULL;
	int failed = -1;

	if (all == NULL)
		return err_set(err, ENOMEM, "there is no memory for a group of %d ranks", size);
	if (group != NULL && group->near_count > 1 && coll_group_is_leader(group)) {
		block = heap_alloc(block_bytes(group->near_count), HEAP_INTERNAL, NULL);
		if (block != NULL) {
			block_init(block, group->near_count, !job.oversubscribed);
			mine.block = arena_offset(block);
		} else {
			mine.error = ENOMEM;
		}
	}
	int rc = MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine,
			       MPI_BYTE, comm);
	for (int i = 0; rc == MPI_SUCCESS && i < size; i++) {
		if (all[i].last_id > last_id)
			last_id = all[i].last_id;
		if (all[i].error != 0 && failed < 0)
			failed = i;
	}
	if (rc != MPI_SUCCESS || failed >= 0) {
		if (block != NULL)
			heap_free(block);
		free(all);
		if (rc != MPI_SUCCESS)
			return err_set(err, EIO, "MPI_Allgather failed for a group of %d ranks",
				       size);
		return err_set(err, ENOMEM,
			       "member %d of a group of %d ranks has no memory for it", failed,
			       size);
	}
	group->id = ++last_id;
	if (group->near_count > 1)
		group->block = (struct coll_block *)(void *)arena_at(all[group->near[0]].block);
	free(all);
	return 0;
}

static int group_make_comm(const struct coll_group *parent, const int *world_ranks, int count,
			   MPI_Comm *ret_comm, struct err *err)
{
	MPI_Group all = MPI_GROUP_NULL, some = MPI_GROUP_NULL;
	int *places = malloc((size_t)count * sizeof(int));
	int rc;

	if (places == NULL)
		return err_set(err, ENOMEM, "there is no memory for a group of %d ranks",
			       count);
	for (int i = 0; i < count; i++)
		places[i] = parent->places[world_ranks[i]];
	rc = MPI_Comm_group(parent->comm, &all);
	if (rc == MPI_SUCCESS)
		rc = MPI_Group_incl(all, count, places, &some);
	if (rc == MPI_SUCCESS)
		rc = MPI_Comm_create_group(parent->comm, some, 0, ret_comm);
	if (some != MPI_GROUP_NULL)
		MPI_Group_free(&some);
	if (all != MPI_GROUP_NULL)
		MPI_Group_free(&all);
	free(places);
	if (rc != MPI_SUCCESS)
		return err_set(err, EIO, "MPI cannot make a communicator of %d ranks", count);
	return 0;
}

int coll_group_create(const struct coll_group *parent, const int *world_ranks, int count,
		      struct coll_group **ret_group, struct err *err)
{
	MPI_Comm comm = MPI_COMM_NULL;
	int rc = group_make_comm(parent, world_ranks, count, &comm, err);

	if (rc < 0)
		return rc;
	struct coll_group *group = group_describe(world_ranks, count);
	rc = group_agree(group, comm, count, err);
	if (rc < 0) {
		MPI_Comm_free(&comm);
		group_forget(group);
		return rc;
	}
	group->comm = comm;
	*ret_group = group;
	return 0;
}

void coll_group_free(struct coll_group *group)
{
	if (group == NULL || --group->references > 0)
		return;
	coll_group_free(group->node_scope);
	coll_group_free(group->masters_scope);
	if (group->block != NULL) {
		node_barrier(group);
		block_depart(group);
		if (coll_group_is_leader(group))
			heap_free(group->block);
	}
	if (group->comm != job.comm)
		MPI_Comm_free(&group->comm);
	group_forget(group);
}

int coll_open(struct err *err)
{
	int *everybody = malloc((size_t)job.size * sizeof(int));
	struct coll_group *group = NULL;

	if (everybody != NULL) {
		for (int i = 0; i < job.size; i++)
			everybody[i] = i;
		group = group_describe(everybody, job.size);
		free(everybody);
	}
	int rc = group_agree(group, job.comm, job.size, err);
	if (rc < 0) {
		group_forget(group);
		return rc;
	}
	group->comm = job.comm;
	coll_world = group;
	return 0;
}

void coll_close(void)
{
	coll_group_free(coll_world);
	coll_world = NULL;
}

/* The group of these members of `group`, made once; the group itself if these are all. */
static int group_scope(struct coll_group *group, const int *members, int count,
		       struct coll_group **scope, struct coll_group **ret_group,
		       struct err *err)
{
	int rc = 0;

	if (count == group->size) {
		*ret_group = group;
		return 0;
	}
	if (*scope == NULL) {
		int *world_ranks = malloc((size_t)count * sizeof(int));
		if (world_ranks == NULL)
			return err_set(err, ENOMEM,
				       "there is no memory for a group of %d ranks", count);
		for (int i = 0; i < count; i++)
			world_ranks[i] = group->ranks[members[i]];
		rc = coll_group_create(group, world_ranks, count, scope, err);
		free(world_ranks);
	}
	*ret_group = *scope;
	return rc;
}

int coll_group_node(struct coll_group *group, struct coll_group **ret_group, struct err *err)
{
	return group_scope(group, group->near, group->near_count, &group->node_scope, ret_group,
			   err);
}

int coll_group_masters(struct coll_group *group, struct coll_group **ret_group, struct err *err)
{
	*ret_group = NULL;
	if (!coll_group_is_leader(group))
		return 0;
	return group_scope(group, group->leaders, group->node_count, &group->masters_scope,
			   ret_group, err);
}
