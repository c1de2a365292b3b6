/* SPDX-License-Identifier: BSD-3-Clause */
/* Collectives among a group's members on one node, through the shared block; nothing happens
 * where there is only one. */
#ifndef STASIS_ARMCI_COLL_NODE_H
#define STASIS_ARMCI_COLL_NODE_H

#include <stdbool.h>
#include <stddef.h>

#include "armci/coll/combine.h"
#include "armci/coll/group.h"

void node_barrier(struct coll_group *group);

/* The two halves of a barrier, between which the leader alone acts: it begins when all have
 * come, and all go on when it ends. */
void node_gather(struct coll_group *group);
void node_release(struct coll_group *group);

/* `root` is a place on the node. */
void node_broadcast(struct coll_group *group, void *data, size_t bytes, int root);

/* op is one that combine() takes. */
void node_allreduce(struct coll_group *group, void *data, size_t count, enum coll_type type,
		    enum coll_op op);

/* `all` gets `bytes` of each member: in group order of the whole group if `by_group`, else of
 * the node's members only. */
void node_allgather(struct coll_group *group, const void *mine, size_t bytes, void *all,
		    bool by_group);

#endif
