/* SPDX-License-Identifier: BSD-3-Clause */
/* An arena in one process, without MPI: the job's fields are set by hand. */
#ifndef STASIS_TEST_ARENA_FIXTURE_H
#define STASIS_TEST_ARENA_FIXTURE_H

#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "armci/core/job.h"
#include "armci/core/settings.h"
#include "armci/core/wait.h"
#include "armci/shm/arena.h"
#include "armci/shm/heap.h"

/* Become rank `rank` of one node of `size` ranks. Forked children call it again to become
 * another one. */
static inline void fixture_become(int rank, int size)
{
	job.rank = rank;
	job.size = size;
	job.node = 0;
	job.node_count = 1;
	job.node_rank = rank;
	job.node_size = size;
	job.oversubscribed = size > sysconf(_SC_NPROCESSORS_ONLN);
	wait_open();
}

/* An arena for `size` ranks with slices of `slice_bytes`, and the heap of rank 0. 0, or -1. */
static inline int fixture_open(int size, size_t slice_bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	int ret = -1;

	fixture_become(0, size);
	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)arena_total(slice_bytes)) == 0 &&
	    arena_map(fd, slice_bytes, NULL) == 0)
		ret = heap_open(NULL);
	close(fd);
	return ret;
}

static inline void fixture_close(void)
{
	heap_close();
	arena_close();
	job = (struct job){0};
}

#endif
