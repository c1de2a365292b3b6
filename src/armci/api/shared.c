/* SPDX-License-Identifier: BSD-3-Clause */
/* Internal blocks of the arena, and the exchange of their offsets. */
#include "armci/api/shared.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "armci/coll/collective.h"
#include "armci/core/job.h"
#include "armci/shm/arena.h"
#include "armci/shm/heap.h"

int shared_create(struct shared *shared, struct coll_group *group, int count, size_t bytes,
		  struct err *err)
{
	struct shared_part mine = {.count = count, .rank = job.rank};
	struct err own = ERR_INIT;
	*shared = (struct shared){
		.parts = calloc((size_t)group->size, sizeof(struct shared_part))};
	if (count > 0) {
		shared->mine = heap_alloc((size_t)count * bytes, HEAP_INTERNAL, &own);
		if (shared->mine) {
			memset(shared->mine, 0, (size_t)count * bytes);
			mine.offset = arena_offset(shared->mine);
		}
	}
	int failed = !shared->parts || (count > 0 && !shared->mine);
	coll_allreduce(group, &failed, 1, COLL_INT, COLL_SUM);
	if (failed) {
		if (shared->mine)
			heap_free(shared->mine);
		free(shared->parts);
		return err_set(err, ENOMEM, "%s",
			       own.code ? own.msg : "another rank is out of memory");
	}
	coll_allgather(group, &mine, sizeof mine, shared->parts);
	return 0;
}

void shared_destroy(struct shared *shared, struct coll_group *group)
{
	coll_barrier(group);
	if (shared->mine)
		heap_free(shared->mine);
	free(shared->parts);
	*shared = (struct shared){0};
}
