/* SPDX-License-Identifier: BSD-3-Clause */
/* Collectives among the leaders of a group's nodes, by messages. Only leaders call these, and
 * only where there are several nodes. */
#ifndef STASIS_ARMCI_COLL_BETWEEN_H
#define STASIS_ARMCI_COLL_BETWEEN_H

#include <stddef.h>

#include "armci/coll/combine.h"
#include "armci/coll/group.h"

/* Each takes as many rounds as the number of nodes has binary digits. */
void between_barrier(struct coll_group *group);
/* `root` is a node index. */
void between_broadcast(struct coll_group *group, void *data, size_t bytes, int root);
/* The result has the same bits on all. */
void between_allreduce(struct coll_group *group, void *data, size_t count, enum coll_type type,
		       enum coll_op op);
/* `mine` is `bytes` of each of my node's members; `all` gets those of all members, in group
 * order. */
void between_allgather(struct coll_group *group, const void *mine, size_t bytes, void *all);

/* Not of leaders, but of the `count` members from group rank `first` on, which all call it, and
 * nobody else. The first is the root. */
void between_broadcast_members(struct coll_group *group, void *data, size_t bytes, int first,
			       int count);

/* Memory for the length of a collective, or the end of the job. */
void *between_scratch(size_t bytes);

#endif
