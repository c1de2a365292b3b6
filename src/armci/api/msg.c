/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages from rank to rank, barriers and broadcasts. */
#include <armci.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "armci/api/entry.h"
#include "armci/api/group.h"
#include "armci/api/profile.h"
#include "armci/api/scope.h"
#include "armci/api/stats.h"
#include "armci/coll/between.h"
#include "armci/coll/collective.h"
#include "armci/coll/mbox.h"
#include "armci/core/fail.h"
#include "armci/core/job.h"
#include "armci/core/wait.h"

/* ---- The job ---- */

static bool mpi_is_usable(void)
{
	int initialized = 0, finalized = 0;

	MPI_Initialized(&initialized);
	MPI_Finalized(&finalized);
	return initialized && !finalized;
}

void armci_msg_init(int *argc, char ***argv)
{
	int initialized = 0;

	MPI_Initialized(&initialized);
	if (!initialized)
		MPI_Init(argc, argv);
}

void armci_msg_finalize(void)
{
	if (entry_open)
		fail("armci_msg_finalize(): ARMCI_Finalize must be called first");
	if (mpi_is_usable())
		MPI_Finalize();
}

/* Before the library is initialised, MPI's answer; if there is none, the end of the job. */
int armci_msg_me(void)
{
	int rank = 0;

	if (entry_open)
		return job.rank;
	if (!mpi_is_usable())
		entry_begin("armci_msg_me()");
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	return rank;
}

int armci_msg_nproc(void)
{
	int size = 1;

	if (entry_open)
		return job.size;
	if (!mpi_is_usable())
		entry_begin("armci_msg_nproc()");
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	return size;
}

void armci_msg_abort(int code)
{
	fail_with(code, "armci_msg_abort(%d): called by the application", code);
}

double armci_timer(void)
{
	return (double)wait_now_ns() * 1e-9;
}

/* ---- From rank to rank ---- */

static void check_message(const char *call, int tag, const void *buffer, int len, int rank)
{
	if (rank < 0 || rank >= job.size)
		fail("%s(tag %d, %d bytes, rank %d): there is no such rank: the job has ranks 0 to %d",
		     call, tag, len, rank, job.size - 1);
	if (len < 0)
		fail("%s(tag %d, %d bytes, rank %d): a negative size", call, tag, len, rank);
	if (buffer == NULL && len > 0)
		fail("%s(tag %d, %d bytes, rank %d): the buffer is NULL", call, tag, len, rank);
}

void armci_msg_snd(int tag, void *buffer, int len, int to)
{
	entry_begin("armci_msg_snd(tag %d, %d bytes, rank %d)", tag, len, to);
	check_message("armci_msg_snd", tag, buffer, len, to);
	stats_count(STAT_SEND, to, (uint64_t)len);
	mbox_send(to, MBOX_USER, (uint32_t)tag, buffer, (size_t)len);
	entry_end();
}

/* Returns the sender; from -1 is anybody. */
static int receive(const char *call, int tag, void *buffer, int buflen, int *msglen, int from)
{
	int sender = -1;
	size_t bytes =
		mbox_receive(from, MBOX_USER, (uint32_t)tag, buffer, (size_t)buflen, &sender);

	if (bytes > (size_t)buflen)
		fail("%s(tag %d, %d bytes, rank %d): the message from rank %d has %zu bytes",
		     call, tag, buflen, from, sender, bytes);
	if (msglen != NULL)
		*msglen = (int)bytes;
	return sender;
}

void armci_msg_rcv(int tag, void *buffer, int buflen, int *msglen, int from)
{
	entry_begin("armci_msg_rcv(tag %d, %d bytes, rank %d)", tag, buflen, from);
	check_message("armci_msg_rcv", tag, buffer, buflen, from);
	receive("armci_msg_rcv", tag, buffer, buflen, msglen, from);
	entry_end();
}

int armci_msg_rcvany(int tag, void *buffer, int buflen, int *msglen)
{
	entry_begin("armci_msg_rcvany(tag %d, %d bytes)", tag, buflen);
	check_message("armci_msg_rcvany", tag, buffer, buflen, job.rank);
	int sender = receive("armci_msg_rcvany", tag, buffer, buflen, msglen, -1);
	entry_end();
	return sender;
}

/* ---- Barriers ---- */

static void barrier(struct coll_group *group)
{
	stats_count(STAT_BARRIER, job.rank, 0);
	coll_barrier(group);
}

void parmci_msg_barrier(void)
{
	entry_begin("armci_msg_barrier()");
	barrier(coll_world);
	entry_end();
}

void parmci_msg_group_barrier(ARMCI_Group *group)
{
	entry_begin("armci_msg_group_barrier(group %p)", (void *)group);
	barrier(group_of(group, "armci_msg_group_barrier"));
	entry_end();
}

ARMCI_ALIAS_SMALL(void, msg_barrier, (void));
ARMCI_ALIAS_SMALL(void, msg_group_barrier, (ARMCI_Group * group));

/* ---- Broadcasts ---- */

static void check_buffer(const char *call, const void *buffer, int len)
{
	if (len < 0)
		fail("%s(%d bytes): a negative size", call, len);
	if (buffer == NULL && len > 0)
		fail("%s(%d bytes): the buffer is NULL", call, len);
}

/* Over the group from world rank `root`. Group NULL: the caller does not take part. */
static void broadcast(const char *call, void *buffer, int len, int root,
		      struct coll_group *group)
{
	check_buffer(call, buffer, len);
	if (root < 0 || root >= job.size || (group != NULL && group->places[root] < 0))
		fail("%s(%d bytes, root %d): the root is not among the ranks that take part",
		     call, len, root);
	if (group == NULL)
		return;
	stats_count(STAT_COLLECTIVE, job.rank, (uint64_t)len);
	coll_broadcast(group, buffer, (size_t)len, group->places[root]);
}

void armci_msg_bcast(void *buffer, int len, int root)
{
	entry_begin("armci_msg_bcast(%d bytes, root %d)", len, root);
	broadcast("armci_msg_bcast", buffer, len, root, coll_world);
	entry_end();
}

void armci_msg_brdcst(void *buffer, int len, int root)
{
	entry_begin("armci_msg_brdcst(%d bytes, root %d)", len, root);
	broadcast("armci_msg_brdcst", buffer, len, root, coll_world);
	entry_end();
}

void armci_msg_bcast_scope(int scope, void *buffer, int len, int root)
{
	const char *call = "armci_msg_bcast_scope";

	entry_begin("%s(%d bytes, root %d)", call, len, root);
	broadcast(call, buffer, len, root, scope_group(call, scope, coll_world));
	entry_end();
}

void armci_msg_group_bcast_scope(int scope, void *buf, int len, int root, ARMCI_Group *group)
{
	const char *call = "armci_msg_group_bcast_scope";

	entry_begin("%s(%d bytes, root %d, group %p)", call, len, root, (void *)group);
	broadcast(call, buf, len, root, scope_group(call, scope, group_of(group, call)));
	entry_end();
}

void armci_msg_clus_brdcst(void *buf, int len)
{
	const char *call = "armci_msg_clus_brdcst";

	entry_begin("%s(%d bytes)", call, len);
	broadcast(call, buf, len, job_member(job.node, 0),
		  scope_group(call, SCOPE_NODE, coll_world));
	entry_end();
}

void armci_grp_clus_brdcst(void *buf, int len, int grp_master, int grp_clus_nproc,
			   ARMCI_Group *mastergroup)
{
	const char *call = "armci_grp_clus_brdcst";

	entry_begin("%s(%d bytes, root %d)", call, len, grp_master);
	struct coll_group *group = group_of(mastergroup, call);
	int first = grp_master, count = grp_clus_nproc;
	check_buffer(call, buf, len);
	if (first < 0 || count < 1 || first >= group->size || count > group->size - first)
		fail("%s(%d bytes, master %d, %d ranks): the group has ranks 0 to %d", call,
		     len, first, count, group->size - 1);
	if (group->rank < first || group->rank - first >= count)
		fail("%s(%d bytes, master %d, %d ranks): the caller, rank %d of the group, is not "
		     "among them",
		     call, len, first, count, group->rank);
	stats_count(STAT_COLLECTIVE, job.rank, (uint64_t)len);
	if (len > 0)
		between_broadcast_members(group, buf, (size_t)len, first, count);
	entry_end();
}
