/* SPDX-License-Identifier: BSD-3-Clause */
/* Collectives over a group: shared memory inside a node, messages between the nodes' leaders.
 */
#ifndef STASIS_ARMCI_COLL_COLLECTIVE_H
#define STASIS_ARMCI_COLL_COLLECTIVE_H

#include <stddef.h>

#include "armci/coll/combine.h"
#include "armci/coll/group.h"

/* All members call each in the same order. They block (sleep), never spin for long, when ranks
 * outnumber cores. */
void coll_barrier(struct coll_group *group);
/* From group rank `root`, which may go on before others have come. */
void coll_broadcast(struct coll_group *group, void *data, size_t bytes, int root);
/* Result in `data` (aligned to its type) on every member; the order of combination is fixed, so
 * that all get the same bits. The op is defined for the type (coll/combine.h). */
void coll_allreduce(struct coll_group *group, void *data, size_t count, enum coll_type type,
		    enum coll_op op);
/* `all` holds size × bytes, in group order; mine is read from `mine`, which is not in `all`. */
void coll_allgather(struct coll_group *group, const void *mine, size_t bytes, void *all);

#endif
