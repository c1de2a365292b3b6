/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages between nodes for the test of collectives: what remote/ does, by MPI. */
#include "coll_wire.h"

#include <errno.h>
#include <mpi.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "armci/coll/mbox.h"
#include "armci/core/job.h"
#include "armci/remote/remote.h"

enum { TAG_PART = 1, TAG_TAKEN = 2, TAG_END = 3 };

static MPI_Comm wire;
static pthread_t server;

static void *serve(void *arg)
{
	char part[MBOX_PART_MAX];

	for (;;) {
		MPI_Status status;
		MPI_Request request;
		int bytes = 0, done = 0;

		MPI_Irecv(part, sizeof part, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, wire,
			  &request);
		for (;;) {
			MPI_Test(&request, &done, &status);
			if (done)
				break;
			usleep(100); /* the next look; Open MPI would spin */
		}
		if (status.MPI_TAG == TAG_END)
			return arg;
		if (status.MPI_TAG == TAG_TAKEN) {
			atomic_fetch_add((_Atomic int *)arg, 1);
			continue;
		}
		MPI_Get_count(&status, MPI_BYTE, &bytes);
		while (mbox_deliver(job.rank, part, (size_t)bytes) == -EAGAIN)
			sched_yield();
		MPI_Send(NULL, 0, MPI_BYTE, status.MPI_SOURCE, TAG_TAKEN, wire);
	}
}

static _Atomic int taken;

/* Nothing here needs to be looked after. */
void remote_watch(int rank, int64_t since_ns)
{
	(void)rank;
	(void)since_ns;
}

void remote_message(int to, const void *part, size_t bytes)
{
	int before = atomic_load(&taken), sent = 0;
	MPI_Request request;

	MPI_Isend(part, (int)bytes, MPI_BYTE, to, TAG_PART, wire, &request);
	while (!sent || atomic_load(&taken) == before) {
		if (!sent)
			MPI_Test(&request, &sent, MPI_STATUS_IGNORE);
		mbox_serve();
		sched_yield();
	}
}

void coll_wire_open(void)
{
	MPI_Comm_dup(MPI_COMM_WORLD, &wire);
	if (job.node_count > 1)
		pthread_create(&server, NULL, serve, &taken);
}

void coll_wire_close(void)
{
	MPI_Barrier(MPI_COMM_WORLD);
	if (job.node_count > 1) {
		MPI_Send(NULL, 0, MPI_BYTE, job.rank, TAG_END, wire);
		pthread_join(server, NULL);
	}
	MPI_Comm_free(&wire);
}
