/* SPDX-License-Identifier: BSD-3-Clause */
/* Groups of ranks: who belongs, on which nodes, and the shared block of each node through which
 * its members synchronise. */
#ifndef STASIS_ARMCI_COLL_GROUP_H
#define STASIS_ARMCI_COLL_GROUP_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct coll_block; /* coll/block.h: the shared memory of one group on one node */

struct coll_group {
	MPI_Comm comm;  /* valid; our own, freed with the group (world: job.comm) */
	int rank, size; /* mine, in the group */
	int *ranks;     /* [size] world rank of each member */
	int *places;    /* [job.size] place in the group of each world rank, -1: not a member */
	int node_count; /* nodes that have members */
	int node_index; /* of mine among them, by lowest group rank */
	int *node_of;   /* [size] node index of each member */
	int *by_node;   /* [size] group ranks, node after node, ascending within a node */
	int *node_start; /* [node_count + 1] where each node begins in by_node */
	int *leaders;    /* [node_count] group rank of the lowest member of each node */
	int near_count;  /* members on my node */
	int near_rank;   /* my place among them, by group rank; 0: I am the node's leader */
	const int *near; /* [near_count] group ranks of them */
	struct coll_block *block; /* NULL if near_count is 1 */
	uint32_t phase; /* barriers of the node's members that I have arrived at (coll/block.h)
			 */
	uint32_t posts; /* posts among them */
	uint32_t id;    /* same on all members, unique among live groups that share a member */
	uint32_t sequence; /* of exchanges between the nodes, counted by each leader */
	int references;
	struct coll_group *node_scope;    /* my node's members, once asked for */
	struct coll_group *masters_scope; /* the nodes' leaders, once asked for */
};

/* The world group: made in coll_open(), collective over the job. Needs job, heap and mbox to be
 * open. */
extern struct coll_group *coll_world;

int coll_open(struct err *err);
void coll_close(void);

/*
 * Collective over the `count` members (world ranks in group order, all different, all in the
 * parent; no one else takes part). The comm is made by MPI_Comm_create_group over the parent's.
 * A failure is -errno with a sentence on all members.
 */
int coll_group_create(const struct coll_group *parent, const int *world_ranks, int count,
		      struct coll_group **ret_group, struct err *err);

/* A group begins with one reference; collective objects that live over it take one more. */
static inline void coll_group_hold(struct coll_group *group)
{
	group->references++;
}

/* Drop a reference: with the last one the group ends, which is collective over its members.
 * NULL is fine. */
void coll_group_free(struct coll_group *group);

/*
 * The group's members on my node, and the leaders of its nodes: groups that are made when first
 * asked for, collectively over their members, and end with `group`. The group itself if they
 * are the same. Masters: NULL if I am no leader.
 */
int coll_group_node(struct coll_group *group, struct coll_group **ret_group, struct err *err);
int coll_group_masters(struct coll_group *group, struct coll_group **ret_group,
		       struct err *err);

static inline bool coll_group_is_leader(const struct coll_group *group)
{
	return group->near_rank == 0;
}

#endif
