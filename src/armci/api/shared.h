/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of the library itself that every rank of the job can reach: where each rank's part is.
 */
#ifndef STASIS_ARMCI_API_SHARED_H
#define STASIS_ARMCI_API_SHARED_H

#include <stddef.h>
#include <stdint.h>

#include "armci/coll/group.h"
#include "base/err.h"

/* `count` elements of one size at an offset in its node's arena, for each member of a group. */
struct shared_part {
	uint64_t offset;
	int32_t count;
	int32_t rank; /* of the world */
};
struct shared {
	void *mine;
	struct shared_part *parts; /* [group size] */
};

/* Collective over the group: everyone gives `count` zero-filled elements of `bytes` each,
 * perhaps none. */
int shared_create(struct shared *shared, struct coll_group *group, int count, size_t bytes,
		  struct err *err);
/* Collective: nobody uses it any more when the first returns. */
void shared_destroy(struct shared *shared, struct coll_group *group);

#endif
