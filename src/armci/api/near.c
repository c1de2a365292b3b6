/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of where each rank's slice is, in its own address space and in its node's arena. */
#include "armci/api/near.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Alignas(64) struct near_rank near_ranks[NEAR_RANKS_MAX];
unsigned near_everybody;
static uint64_t *slice_bytes; /* [job.size] */

int near_open(struct err *err)
{
	if (job.size > NEAR_RANKS_MAX)
		return err_set(err, E2BIG,
			       "%d ranks are more than the %d that the library is made for",
			       job.size, NEAR_RANKS_MAX);
	uint64_t slice = arena.slice_start + (uint64_t)job.node_rank * arena.slice_bytes;
	uint64_t mine[3] = {(uintptr_t)arena.base + slice, slice, arena.slice_bytes};
	uint64_t(*all)[3] = malloc((size_t)job.size * sizeof *all);
	slice_bytes = malloc((size_t)job.size * sizeof *slice_bytes);
	int ok = all && slice_bytes, everybody = 0;
	MPI_Allreduce(&ok, &everybody, 1, MPI_INT, MPI_MIN, job.comm);
	if (!everybody) {
		free(all);
		return err_set(err, ENOMEM, "out of memory for the addresses of %d ranks",
			       job.size);
	}
	MPI_Allgather(mine, 3, MPI_UINT64_T, all, 3, MPI_UINT64_T, job.comm);
	for (int rank = 0; rank < job.size; rank++) {
		struct near_rank *there = &near_ranks[rank];
		there->base = all[rank][0];
		there->offset = all[rank][1] - all[rank][0];
		slice_bytes[rank] = all[rank][2];
		if (job_is_near(rank))
			there->pages = (uintptr_t)(arena.pages +
						   (size_t)job.node_rank_of[rank] *
							   (arena.slice_bytes / ARENA_PAGE)) -
				       there->base / ARENA_PAGE * sizeof(struct arena_page);
	}
	free(all);
	return 0;
}

void near_set_fast(bool fast)
{
	near_everybody = fast && job.node_count == 1 ? (unsigned)job.size : 0;
	for (int rank = 0; rank < job.size; rank++)
		near_ranks[rank].fast = fast && job_is_near(rank) ? slice_bytes[rank] : 0;
}

void near_close(void)
{
	free(slice_bytes);
	slice_bytes = NULL;
	memset(near_ranks, 0, (size_t)job.size * sizeof near_ranks[0]);
}

uint64_t near_slice_bytes(int rank)
{
	return slice_bytes[rank];
}
