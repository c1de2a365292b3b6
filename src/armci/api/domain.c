/* SPDX-License-Identifier: BSD-3-Clause */
/* Where ranks run: nodes as the job knows them, and domains, which are the runs of consecutive
 * ranks on them. */
#include <armci.h>

#include "armci/api/entry.h"
#include "armci/api/group.h"
#include "armci/core/fail.h"
#include "armci/core/job.h"

static void check_domain(const char *call, armci_domain_t domain)
{
	if (domain != ARMCI_DOMAIN_SMP)
		fail("%s(domain %d): there is only ARMCI_DOMAIN_SMP (%d)", call, domain,
		     ARMCI_DOMAIN_SMP);
}

/* The domain meant by a number, of which negative ones are the caller's. */
static int domain_of_id(const char *call, armci_domain_t domain, int id)
{
	check_domain(call, domain);
	if (id >= job.domain_count)
		fail("%s(domain %d): the job has domains 0 to %d", call, id,
		     job.domain_count - 1);
	return id < 0 ? job.domain_of[job.rank] : id;
}

static int domain_size(int id)
{
	return job.domain_start[id + 1] - job.domain_start[id];
}

static void check_rank(const char *call, int rank)
{
	if (rank < 0 || rank >= job.size)
		fail("%s(rank %d): there is no such rank: the job has ranks 0 to %d", call,
		     rank, job.size - 1);
}

int armci_domain_nprocs(armci_domain_t domain, int id)
{
	entry_begin("armci_domain_nprocs(%d)", id);
	int count = domain_size(domain_of_id("armci_domain_nprocs", domain, id));
	entry_end();
	return count;
}

int armci_domain_id(armci_domain_t domain, int glob_proc_id)
{
	entry_begin("armci_domain_id(rank %d)", glob_proc_id);
	check_domain("armci_domain_id", domain);
	check_rank("armci_domain_id", glob_proc_id);
	int id = job.domain_of[glob_proc_id];
	entry_end();
	return id;
}

int armci_domain_glob_proc_id(armci_domain_t domain, int id, int loc_proc_id)
{
	const char *call = "armci_domain_glob_proc_id";

	entry_begin("%s(%d, %d)", call, id, loc_proc_id);
	int which = domain_of_id(call, domain, id);
	if (loc_proc_id < 0 || loc_proc_id >= domain_size(which))
		fail("%s(domain %d, number %d): the domain has %d ranks", call, which,
		     loc_proc_id, domain_size(which));
	int rank = job.domain_start[which] + loc_proc_id;
	entry_end();
	return rank;
}

int armci_domain_my_id(armci_domain_t domain)
{
	entry_begin("armci_domain_my_id()");
	check_domain("armci_domain_my_id", domain);
	int id = job.domain_of[job.rank];
	entry_end();
	return id;
}

int armci_domain_count(armci_domain_t domain)
{
	entry_begin("armci_domain_count()");
	check_domain("armci_domain_count", domain);
	int count = job.domain_count;
	entry_end();
	return count;
}

static int is_same_node(const char *call, int rank)
{
	entry_begin("%s(rank %d)", call, rank);
	check_rank(call, rank);
	int same = job_is_near(rank);
	entry_end();
	return same;
}

int armci_domain_same_id(armci_domain_t domain, int proc)
{
	const char *call = "armci_domain_same_id";

	entry_begin("%s(rank %d)", call, proc);
	check_domain(call, domain);
	check_rank(call, proc);
	int same = job.domain_of[proc] == job.domain_of[job.rank];
	entry_end();
	return same;
}

int ARMCI_Same_node(int proc)
{
	return is_same_node("ARMCI_Same_node", proc);
}

int armci_sameclusnode(int proc)
{
	return is_same_node("armci_sameclusnode", proc);
}

int ARMCI_Uses_shm(void)
{
	entry_begin("ARMCI_Uses_shm()");
	entry_end();
	return 1;
}

int ARMCI_Uses_shm_grp(ARMCI_Group *group)
{
	entry_begin("ARMCI_Uses_shm_grp(group %p)", (void *)group);
	int member = group != NULL && group->comm != MPI_COMM_NULL &&
		     group_of(group, "ARMCI_Uses_shm_grp") != NULL;
	entry_end();
	return member;
}

/* The size of shared memory is fixed before programs can ask: see the setting
 * STASIS_ARMCI_ARENA. */
void ARMCI_Set_shm_limit(unsigned long shmemlimit)
{
	(void)shmemlimit;
}
