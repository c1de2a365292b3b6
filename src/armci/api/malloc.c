/* SPDX-License-Identifier: BSD-3-Clause */
/* Segments: collective allocation over a group, and local memory. */
#include <armci.h>
#include <stdlib.h>

#include "armci/api/entry.h"
#include "armci/api/group.h"
#include "armci/api/profile.h"
#include "armci/api/segments.h"
#include "armci/coll/collective.h"
#include "armci/core/fail.h"
#include "armci/core/job.h"
#include "armci/remote/remote.h"
#include "armci/shm/heap.h"
#include "armci/shm/local.h"

/* What each member tells the others. */
struct offer {
	void *base;
	int64_t bytes; /* -1: out of memory */
};

/* Offers of all members; small groups need no allocation. */
enum { OFFERS_ON_STACK = 64 };

static struct offer *offers_for(const struct coll_group *group, struct offer *stack)
{
	if (group->size <= OFFERS_ON_STACK)
		return stack;
	struct offer *offers = malloc((size_t)group->size * sizeof *offers);
	if (!offers)
		fail("out of memory for the addresses of %d ranks", group->size);
	return offers;
}

static int allocate(const char *call, void **bases, int64_t bytes, struct coll_group *group)
{
	struct err err = ERR_INIT;
	struct offer stack[OFFERS_ON_STACK], *offers = offers_for(group, stack);
	struct offer mine = {.bytes = bytes};
	if (bytes < 0)
		fail("%s(%lld bytes): a negative size", call, (long long)bytes);
	if (bytes > 0 && !(mine.base = heap_alloc((size_t)bytes, HEAP_GLOBAL, &err)))
		mine.bytes = -1;
	coll_allgather(group, &mine, sizeof mine, offers);
	int failed = 0;
	for (int i = 0; i < group->size; i++)
		failed |= offers[i].bytes < 0;
	if (failed) {
		if (mine.base)
			heap_free(mine.base);
	} else {
		stats_count(STAT_MALLOC, job.rank, (uint64_t)bytes);
		for (int i = 0; i < group->size; i++) {
			bases[i] = offers[i].base;
			if (offers[i].base && !job_is_near(group->ranks[i]))
				segment_add(group->ranks[i], offers[i].base,
					    (size_t)offers[i].bytes);
		}
	}
	if (offers != stack)
		free(offers);
	return failed;
}

static int release(const char *call, void *base, struct coll_group *group)
{
	struct offer stack[OFFERS_ON_STACK], *offers = offers_for(group, stack);
	struct offer mine = {.base = base};
	if (base && heap_size(base, HEAP_GLOBAL) == 0)
		fail("%s(%p): not the beginning of a segment of this rank (or it has been freed)",
		     call, base);
	local_fence();
	remote_fence_all();
	coll_allgather(group, &mine, sizeof mine, offers);
	stats_count(STAT_FREE, job.rank, 0);
	for (int i = 0; i < group->size; i++)
		if (offers[i].base && !job_is_near(group->ranks[i]))
			segment_remove(group->ranks[i], offers[i].base);
	if (base)
		heap_free(base);
	if (offers != stack)
		free(offers);
	return 0;
}

int PARMCI_Malloc(void **base_ptrs, armci_size_t size)
{
	entry_begin("ARMCI_Malloc(%lld bytes)", (long long)size);
	int rc = allocate("ARMCI_Malloc", base_ptrs, size, coll_world);
	entry_end();
	return rc;
}

int PARMCI_Free(void *ptr)
{
	entry_begin("ARMCI_Free(%p)", ptr);
	int rc = release("ARMCI_Free", ptr, coll_world);
	entry_end();
	return rc;
}

int ARMCI_Malloc_group(void **ptr_arr, armci_size_t bytes, ARMCI_Group *group)
{
	entry_begin("ARMCI_Malloc_group(%lld bytes, group %p)", (long long)bytes,
		    (void *)group);
	int rc = allocate("ARMCI_Malloc_group", ptr_arr, bytes,
			  group_of(group, "ARMCI_Malloc_group"));
	entry_end();
	return rc;
}

int ARMCI_Free_group(void *ptr, ARMCI_Group *group)
{
	entry_begin("ARMCI_Free_group(%p, group %p)", ptr, (void *)group);
	int rc = release("ARMCI_Free_group", ptr, group_of(group, "ARMCI_Free_group"));
	entry_end();
	return rc;
}

/* All memory is of one kind: the device is a hint that changes nothing. */

int PARMCI_Malloc_memdev(void **ptr_arr, armci_size_t bytes, const char *device)
{
	(void)device;
	return PARMCI_Malloc(ptr_arr, bytes);
}

int PARMCI_Malloc_group_memdev(void **ptr_arr, armci_size_t bytes, ARMCI_Group *group,
			       const char *device)
{
	(void)device;
	return ARMCI_Malloc_group(ptr_arr, bytes, group);
}

int PARMCI_Free_memdev(void *ptr)
{
	return PARMCI_Free(ptr);
}

void *PARMCI_Malloc_local(armci_size_t size)
{
	entry_begin("ARMCI_Malloc_local(%lld bytes)", (long long)size);
	if (size < 0)
		fail("ARMCI_Malloc_local(%ld bytes): a negative size", size);
	void *memory = heap_alloc(size ? (size_t)size : 1, HEAP_LOCAL, NULL);
	entry_end();
	return memory;
}

int PARMCI_Free_local(void *ptr)
{
	entry_begin("ARMCI_Free_local(%p)", ptr);
	if (ptr && heap_size(ptr, HEAP_LOCAL) == 0)
		fail("ARMCI_Free_local(%p): not memory of ARMCI_Malloc_local (or it has been freed)",
		     ptr);
	if (ptr)
		heap_free(ptr);
	entry_end();
	return 0;
}

void PARMCI_Memget(size_t bytes, armci_meminfo_t *meminfo, int memflg)
{
	struct err err = ERR_INIT;
	entry_begin("ARMCI_Memget(%zu bytes, flags %d)", bytes, memflg);
	if (bytes == 0 || memflg != 0 || !meminfo)
		fail("ARMCI_Memget(%zu bytes, flag %d): a positive size and a flag of 0 are needed",
		     bytes, memflg);
	void *memory = heap_alloc(bytes, HEAP_GLOBAL, &err);
	if (!memory)
		fail("ARMCI_Memget(%zu bytes): %s", bytes, err.msg);
	*meminfo = (armci_meminfo_t){
		.armci_addr = memory, .addr = memory, .size = bytes, .cpid = job.rank};
	entry_end();
}

void *PARMCI_Memat(armci_meminfo_t *meminfo, long offset)
{
	entry_begin("ARMCI_Memat(offset %ld)", offset);
	if (!meminfo || offset < 0 || (size_t)offset > meminfo->size)
		fail("ARMCI_Memat(%p, offset %ld): not an offset into this memory",
		     (void *)meminfo, offset);
	entry_end();
	return meminfo->armci_addr + offset;
}

void PARMCI_Memdt(armci_meminfo_t *meminfo, long offset)
{
	entry_begin("ARMCI_Memdt(offset %ld)", offset);
	if (!meminfo || offset < 0 || (size_t)offset > meminfo->size)
		fail("ARMCI_Memdt(%p, offset %ld): not an offset into this memory",
		     (void *)meminfo, offset);
	entry_end();
}

void PARMCI_Memctl(armci_meminfo_t *meminfo)
{
	entry_begin("ARMCI_Memctl()");
	if (!meminfo)
		fail("ARMCI_Memctl(NULL): a description made by ARMCI_Memget is needed");
	if (meminfo->cpid == job.rank && meminfo->armci_addr) {
		if (heap_size(meminfo->armci_addr, HEAP_GLOBAL) == 0)
			fail("ARMCI_Memctl(%p): not memory of this rank (or it has been freed)",
			     (void *)meminfo->armci_addr);
		heap_free(meminfo->armci_addr);
	}
	meminfo->armci_addr = meminfo->addr = NULL;
	entry_end();
}

void armci_set_mem_offset(void *ptr)
{
	if (!ptr)
		fail("armci_set_mem_offset(NULL): an address is needed");
}

ARMCI_ALIAS(int, Malloc, (void **base_ptrs, armci_size_t size));
ARMCI_ALIAS(int, Free, (void *ptr));
ARMCI_ALIAS(int, Malloc_memdev, (void **ptr_arr, armci_size_t bytes, const char *device));
ARMCI_ALIAS(int, Malloc_group_memdev,
	    (void **ptr_arr, armci_size_t bytes, ARMCI_Group *group, const char *device));
ARMCI_ALIAS(int, Free_memdev, (void *ptr));
ARMCI_ALIAS(void *, Malloc_local, (armci_size_t size));
ARMCI_ALIAS(int, Free_local, (void *ptr));
ARMCI_ALIAS(void, Memget, (size_t bytes, armci_meminfo_t *meminfo, int memflg));
ARMCI_ALIAS(void *, Memat, (armci_meminfo_t * meminfo, long offset));
ARMCI_ALIAS(void, Memdt, (armci_meminfo_t * meminfo, long offset));
ARMCI_ALIAS(void, Memctl, (armci_meminfo_t * meminfo));
