/* SPDX-License-Identifier: BSD-3-Clause */
/* Mutexes of ranks, and ARMCIX's sets of mutexes of groups: arrays in shared memory. */
#include <armci.h>
#include <armcix.h>
#include <errno.h>
#include <stdlib.h>

#include "armci/api/entry.h"
#include "armci/api/group.h"
#include "armci/api/profile.h"
#include "armci/api/shared.h"
#include "armci/api/stats.h"
#include "armci/coll/collective.h"
#include "armci/core/fail.h"
#include "armci/core/job.h"
#include "armci/remote/remote.h"
#include "armci/shm/arena.h"
#include "armci/shm/local.h"
#include "armci/shm/mutex.h"

/* A set: the public part first. */
struct set {
	struct armcix_mutex_hdl_s public;
	struct coll_group *group;
	struct shared shared;
};

static struct set *world_set;

static struct set *set_create(const char *call, int count, struct coll_group *group)
{
	struct err err = ERR_INIT;
	struct set *set = calloc(1, sizeof *set);
	if (count < 0)
		fail("%s(count %d): a negative count", call, count);
	if (!set ||
	    shared_create(&set->shared, group, count, sizeof(struct shm_mutex), &err) < 0)
		fail("%s(count %d): %s", call, count, set ? err.msg : "out of memory");
	set->group = group;
	set->public.my_count = set->public.max_count = count;
	coll_allreduce(group, &set->public.max_count, 1, COLL_INT, COLL_MAX);
	return set;
}

static void set_destroy(struct set *set)
{
	shared_destroy(&set->shared, set->group);
	free(set);
}

/* The part of world rank `proc`; wrong numbers end the job. */
static const struct shared_part *part_of(const char *call, const struct set *set, int mutex,
					 int proc)
{
	if (!set)
		fail("%s(mutex %d, rank %d): there are no mutexes: ARMCI_Create_mutexes makes them",
		     call, mutex, proc);
	if (proc < 0 || proc >= job.size || set->group->places[proc] < 0)
		fail("%s(mutex %d, rank %d): there is no such rank with mutexes", call, mutex,
		     proc);
	const struct shared_part *part = &set->shared.parts[set->group->places[proc]];
	if (mutex < 0 || mutex >= part->count)
		fail("%s(mutex %d, rank %d): there is no such mutex: the rank has %d", call,
		     mutex, proc, part->count);
	return part;
}

static uint64_t offset_of(const struct shared_part *part, int mutex)
{
	return part->offset + (uint64_t)mutex * sizeof(struct shm_mutex);
}

static struct shm_mutex *near_mutex(uint64_t offset)
{
	return (struct shm_mutex *)(void *)arena_at(offset);
}

static void lock(const char *call, const struct set *set, int mutex, int proc)
{
	entry_begin("%s(mutex %d, rank %d)", call, mutex, proc);
	uint64_t offset = offset_of(part_of(call, set, mutex, proc), mutex);
	stats_count(STAT_LOCK, proc, 0);
	int rc = job_is_near(proc) ? shm_mutex_lock(near_mutex(offset), job.rank)
				   : remote_lock(job.node_of[proc], offset);
	if (rc < 0)
		fail("%s(mutex %d, rank %d): this rank holds the mutex already", call, mutex,
		     proc);
	entry_end();
}

static void unlock(const char *call, const struct set *set, int mutex, int proc)
{
	entry_begin("%s(mutex %d, rank %d)", call, mutex, proc);
	uint64_t offset = offset_of(part_of(call, set, mutex, proc), mutex);
	local_fence();
	remote_fence_all();
	int rc = job_is_near(proc) ? shm_mutex_unlock(near_mutex(offset), job.rank)
				   : remote_unlock(job.node_of[proc], offset);
	if (rc < 0)
		fail("%s(mutex %d, rank %d): this rank does not hold the mutex", call, mutex,
		     proc);
	entry_end();
}

int PARMCI_Create_mutexes(int count)
{
	entry_begin("ARMCI_Create_mutexes(%d)", count);
	if (world_set)
		fail("ARMCI_Create_mutexes(count %d): there is a set of mutexes already: "
		     "ARMCI_Destroy_mutexes ends it",
		     count);
	world_set = set_create("ARMCI_Create_mutexes", count, coll_world);
	entry_end();
	return 0;
}

int PARMCI_Destroy_mutexes(void)
{
	entry_begin("ARMCI_Destroy_mutexes()");
	if (!world_set)
		fail("ARMCI_Destroy_mutexes(): there are no mutexes");
	set_destroy(world_set);
	world_set = NULL;
	entry_end();
	return 0;
}

void PARMCI_Lock(int mutex, int proc)
{
	lock("ARMCI_Lock", world_set, mutex, proc);
}

void PARMCI_Unlock(int mutex, int proc)
{
	unlock("ARMCI_Unlock", world_set, mutex, proc);
}

armcix_mutex_hdl_t ARMCIX_Create_mutexes_hdl(int count, ARMCI_Group *pgroup)
{
	entry_begin("ARMCIX_Create_mutexes_hdl(%d, group %p)", count, (void *)pgroup);
	struct set *set = set_create("ARMCIX_Create_mutexes_hdl", count,
				     group_of(pgroup, "ARMCIX_Create_mutexes_hdl"));
	set->public.grp = *pgroup;
	entry_end();
	return &set->public;
}

int ARMCIX_Destroy_mutexes_hdl(armcix_mutex_hdl_t hdl)
{
	entry_begin("ARMCIX_Destroy_mutexes_hdl()");
	set_destroy((struct set *)(void *)hdl);
	entry_end();
	return 0;
}

void ARMCIX_Lock_hdl(armcix_mutex_hdl_t hdl, int mutex, int proc)
{
	lock("ARMCIX_Lock_hdl", (struct set *)(void *)hdl, mutex, proc);
}

int ARMCIX_Trylock_hdl(armcix_mutex_hdl_t hdl, int mutex, int proc)
{
	const char *call = "ARMCIX_Trylock_hdl";
	entry_begin("%s(mutex %d, rank %d)", call, mutex, proc);
	uint64_t offset =
		offset_of(part_of(call, (struct set *)(void *)hdl, mutex, proc), mutex);
	stats_count(STAT_LOCK, proc, 0);
	bool taken = job_is_near(proc) ? shm_mutex_trylock(near_mutex(offset), job.rank)
				       : remote_trylock(job.node_of[proc], offset);
	entry_end();
	return !taken;
}

void ARMCIX_Unlock_hdl(armcix_mutex_hdl_t hdl, int mutex, int proc)
{
	unlock("ARMCIX_Unlock_hdl", (struct set *)(void *)hdl, mutex, proc);
}

ARMCI_ALIAS(int, Create_mutexes, (int count));
ARMCI_ALIAS(int, Destroy_mutexes, (void));
ARMCI_ALIAS(void, Lock, (int mutex, int proc));
ARMCI_ALIAS(void, Unlock, (int mutex, int proc));
