/* SPDX-License-Identifier: BSD-3-Clause */
/* Begin and end of the library: parts are opened in order and closed in the reverse. */
#include <armci.h>
#include <pthread.h>
#include <stdlib.h>

#include "armci/api/entry.h"
#include "armci/api/group.h"
#include "armci/api/handle.h"
#include "armci/api/near.h"
#include "armci/api/notify.h"
#include "armci/api/profile.h"
#include "armci/api/segments.h"
#include "armci/api/stats.h"
#include "armci/coll/collective.h"
#include "armci/coll/mbox.h"
#include "armci/core/fail.h"
#include "armci/core/job.h"
#include "armci/core/settings.h"
#include "armci/core/wait.h"
#include "armci/remote/remote.h"
#include "armci/shm/arena.h"
#include "armci/shm/heap.h"
#include "armci/suspend/suspend.h"

static int initialised; /* how often */

static int open_parts(MPI_Comm comm, struct err *err)
{
	int rc = settings_read(err);
	if (rc == 0)
		rc = job_open(comm, err);
	if (rc < 0)
		return rc;
	wait_open();
	if ((rc = arena_open(err)) < 0 || (rc = heap_open(err)) < 0 ||
	    (rc = near_open(err)) < 0 || (rc = mbox_open(err)) < 0 ||
	    (rc = remote_open(err)) < 0 || (rc = coll_open(err)) < 0 ||
	    (rc = groups_open(err)) < 0 || (rc = notify_open(err)) < 0 ||
	    (rc = stats_open(err)) < 0 || (rc = suspend_open(err)) < 0)
		return rc;
	return 0;
}

static int init(const char *call, MPI_Comm comm, int level)
{
	int have = 0, provided = MPI_THREAD_SINGLE;
	struct err err = ERR_INIT;
	if (initialised) {
		initialised++;
		return 0;
	}
	MPI_Initialized(&have);
	if (!have)
		MPI_Init_thread(NULL, NULL, level, &provided);
	MPI_Query_thread(&provided);
	if (provided < level)
		fail("%s: MPI was initialised with thread level %d, and %d is asked for", call,
		     provided, level);
	if (open_parts(comm, &err) < 0)
		fail("%s: %s", call, err.msg);
	job.threaded = provided == MPI_THREAD_MULTIPLE;
	entry_threaded = job.threaded;
	entry_open = true;
	near_set_fast(!settings.stats);
	initialised = 1;
	coll_barrier(coll_world);
	return 0;
}

int PARMCI_Init(void)
{
	return init("ARMCI_Init", MPI_COMM_WORLD, MPI_THREAD_SINGLE);
}

int PARMCI_Init_args(int *argc, char ***argv)
{
	int have = 0;
	MPI_Initialized(&have);
	if (!have)
		MPI_Init(argc, argv);
	return init("ARMCI_Init_args", MPI_COMM_WORLD, MPI_THREAD_SINGLE);
}

int PARMCI_Init_thread(int armci_requested)
{
	return init("ARMCI_Init_thread", MPI_COMM_WORLD, armci_requested);
}

int PARMCI_Init_thread_comm(int armci_requested, MPI_Comm comm)
{
	return init("ARMCI_Init_thread_comm", comm, armci_requested);
}

int PARMCI_Init_mpi_comm(MPI_Comm comm)
{
	return init("ARMCI_Init_mpi_comm", comm, MPI_THREAD_SINGLE);
}

int PARMCI_Initialized(void)
{
	return initialised > 0;
}

int PARMCI_Finalize(void)
{
	entry_begin("ARMCI_Finalize()");
	if (initialised > 1) {
		initialised--;
		entry_end();
		return 0;
	}
	PARMCI_Barrier();
	near_set_fast(false);
	stats_close();
	notify_close();
	groups_close();
	coll_close();
	remote_quiesce();
	suspend_close();
	remote_close();
	mbox_close();
	segments_close();
	handles_close();
	near_close();
	heap_close();
	arena_close();
	entry_end();
	entry_open = false;
	entry_threaded = false;
	initialised = 0;
	job_close();
	return 0;
}

/* Nothing of the library outlives the process: memory is anonymous, the device closes with the
 * last descriptor. */
void ARMCI_Cleanup(void)
{
	entry_open = false;
	near_set_fast(false);
}

void ARMCI_Error(const char *msg, int code)
{
	fail_with(code, "ARMCI_Error(%s, %d): called by the application", msg, code);
}

ARMCI_ALIAS(int, Init, (void));
ARMCI_ALIAS(int, Init_args, (int *argc, char ***argv));
ARMCI_ALIAS(int, Init_thread, (int armci_requested));
ARMCI_ALIAS(int, Init_thread_comm, (int armci_requested, MPI_Comm comm));
ARMCI_ALIAS(int, Init_mpi_comm, (MPI_Comm comm));
ARMCI_ALIAS(int, Initialized, (void));
ARMCI_ALIAS(int, Finalize, (void));
