/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of where each rank's slice is, in its own address space and in its node's arena. */
#include "armci/api/near.h"

#include <errno.h>
#include <stdlib.h>

struct near_rank *near_ranks;

int near_open(struct err *err)
{
	uint64_t slice = arena.slice_start + (uint64_t)job.node_rank * arena.slice_bytes;
	uint64_t mine[3] = {(uintptr_t)arena.base + slice, slice, arena.slice_bytes};
	uint64_t(*all)[3] = malloc((size_t)job.size * sizeof *all);
	near_ranks = calloc((size_t)job.size, sizeof *near_ranks);
	int ok = all && near_ranks, everybody = 0;
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
		there->slice = all[rank][1];
		there->bytes = all[rank][2];
		if (job_is_near(rank))
			there->pages = arena.pages + (size_t)job.node_rank_of[rank] *
							     (arena.slice_bytes / ARENA_PAGE);
	}
	free(all);
	return 0;
}

void near_set_fast(bool fast)
{
	for (int rank = 0; rank < job.size; rank++)
		near_ranks[rank].fast = fast && job_is_near(rank) ? near_ranks[rank].bytes : 0;
}

void near_close(void)
{
	free(near_ranks);
	near_ranks = NULL;
}
