/* SPDX-License-Identifier: BSD-3-Clause */
/* Fences and the barrier. */
#include <armci.h>

#include "armci/api/entry.h"
#include "armci/api/group.h"
#include "armci/api/near.h"
#include "armci/api/profile.h"
#include "armci/api/stats.h"
#include "armci/coll/collective.h"
#include "armci/core/fail.h"
#include "armci/core/job.h"
#include "armci/remote/remote.h"
#include "armci/shm/local.h"

NEAR_SLOW static void fence_slow(int proc)
{
	entry_begin("ARMCI_Fence(rank %d)", proc);
	if (proc < 0 || proc >= job.size)
		fail("ARMCI_Fence(rank %d): there is no such rank: the job has ranks 0 to %d",
		     proc, job.size - 1);
	stats_count(STAT_FENCE, proc, 0);
	if (job_is_near(proc))
		local_fence();
	else
		remote_fence(job.node_of[proc]);
	entry_end();
}

void PARMCI_Fence(int proc)
{
	if (near_is_fast(proc))
		local_fence();
	else
		fence_slow(proc);
}

void PARMCI_AllFence(void)
{
	entry_begin("ARMCI_AllFence()");
	stats_count(STAT_FENCE, job.rank, 0);
	local_fence();
	remote_fence_all();
	entry_end();
}

void PARMCI_GroupFence(ARMCI_Group *group)
{
	entry_begin("ARMCI_GroupFence(group %p)", (void *)group);
	struct coll_group *members = group_of(group, "ARMCI_GroupFence");
	stats_count(STAT_FENCE, job.rank, 0);
	local_fence();
	for (int i = 0; i < members->node_count; i++) {
		int node = job.node_of[members->ranks[members->leaders[i]]];
		if (node != job.node)
			remote_fence(node);
	}
	entry_end();
}

void PARMCI_Barrier(void)
{
	entry_begin("ARMCI_Barrier()");
	stats_count(STAT_BARRIER, job.rank, 0);
	local_fence();
	remote_fence_all();
	coll_barrier(coll_world);
	entry_end();
}

ARMCI_ALIAS(void, Fence, (int proc));
ARMCI_ALIAS(void, AllFence, (void));
ARMCI_ALIAS(void, GroupFence, (ARMCI_Group * group));
ARMCI_ALIAS(void, Barrier, (void));
