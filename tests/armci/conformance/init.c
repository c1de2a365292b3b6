/* SPDX-License-Identifier: BSD-3-Clause */
/* Begin and end, one way for each run: init
 * nest|init|thread|comm|mpi_comm|cleanup|msg|leftovers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <armcix.h>

#include "conf.h"

static void learn_ranks(const char *program)
{
	int rank, size;

	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	conf_begin_bare(program, rank, size);
}

/* That the library works, over the ranks of the job. */
static void use(const char *when)
{
	int right = (conf_rank + 1) % conf_size, left = (conf_rank + conf_size - 1) % conf_size;
	void **bases = conf_share(sizeof(int));

	CHECK_OK(ARMCI_PutValueInt(conf_rank + 77, bases[right], right));
	ARMCI_Barrier();
	CHECK_INT(left + 77, *(int *)bases[conf_rank], "a value put %s", when);
	conf_unshare(bases);
}

/* Global Arrays initialises and finalises twice. */
static void run_nest(int *argc, char ***argv)
{
	CHECK_INT(0, ARMCI_Initialized(), "ARMCI_Initialized before MPI_Init");
	MPI_Init(argc, argv);
	learn_ranks("init nest");
	conf_section("three times begun, three times ended");
	CHECK_INT(0, ARMCI_Initialized(), "ARMCI_Initialized before ARMCI_Init");
	CHECK_OK(ARMCI_Init_args(argc, argv));
	CHECK_INT(1, ARMCI_Initialized(), "ARMCI_Initialized after ARMCI_Init_args");
	use("after the first begin");
	CHECK_OK(ARMCI_Init_args(argc, argv));
	CHECK_OK(ARMCI_Init());
	CHECK_INT(1, ARMCI_Initialized(), "ARMCI_Initialized after a third begin");
	use("after the third begin");
	CHECK_OK(ARMCI_Finalize());
	CHECK_INT(1, ARMCI_Initialized(), "ARMCI_Initialized after the first end");
	use("after the first end");
	CHECK_OK(ARMCI_Finalize());
	use("after the second end");
	CHECK_OK(ARMCI_Finalize());
	CHECK_INT(0, ARMCI_Initialized(), "ARMCI_Initialized after the last end");
	MPI_Barrier(MPI_COMM_WORLD); /* MPI goes on */
	MPI_Finalize();
	CHECK_INT(0, ARMCI_Initialized(), "ARMCI_Initialized after MPI_Finalize");
}

/* No MPI_Init by the program: the library does it, and leaves MPI_Finalize to the program. */
static void run_init(void)
{
	int initialized = 0;

	CHECK_OK(ARMCI_Init());
	learn_ranks("init init");
	conf_section("MPI begun by the library");
	MPI_Initialized(&initialized);
	CHECK_INT(1, initialized, "MPI_Initialized after ARMCI_Init");
	use("without MPI_Init");
	CHECK_OK(ARMCI_Finalize());
	MPI_Finalized(&initialized);
	CHECK_INT(0, initialized, "MPI_Finalized after ARMCI_Finalize");
	MPI_Finalize();
}

static void run_thread(int *argc, char ***argv)
{
	int provided;

	MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided);
	learn_ranks("init thread");
	conf_section("ARMCI_Init_thread");
	CHECK_OK(ARMCI_Init_thread(provided));
	use("with threads");
	CHECK_OK(ARMCI_Finalize());
	MPI_Finalize();
}

/* Over a communicator that turns the ranks round: ARMCI's ranks are that one's. */
static void run_comm(int *argc, char ***argv, int how)
{
	MPI_Comm turned;
	int size, rank;

	MPI_Init(argc, argv);
	learn_ranks(how == 0 ? "init comm" : "init mpi_comm");
	conf_section("over a communicator");
	MPI_Comm_split(MPI_COMM_WORLD, 0, -conf_rank, &turned);
	MPI_Comm_rank(turned, &rank);
	MPI_Comm_size(turned, &size);
	if (how == 0)
		CHECK_OK(ARMCI_Init_thread_comm(MPI_THREAD_SINGLE, turned));
	else
		CHECK_OK(ARMCI_Init_mpi_comm(turned));
	MPI_Comm_free(&turned);
	CHECK_INT(rank, armci_msg_me(), "armci_msg_me()");
	CHECK_INT(size, armci_msg_nproc(), "armci_msg_nproc()");
	conf_begin_bare("init comm", rank, size);
	use("over a communicator");
	CHECK_OK(ARMCI_Finalize());
	MPI_Finalize();
}

/* What a program calls that ends after a fault: it must not hang, nor keep the process alive.
 */
static void run_cleanup(int *argc, char ***argv)
{
	MPI_Init(argc, argv);
	learn_ranks("init cleanup");
	conf_section("ARMCI_Cleanup");
	CHECK_OK(ARMCI_Init_args(argc, argv));
	use("before ARMCI_Cleanup");
	MPI_Barrier(MPI_COMM_WORLD);
	ARMCI_Cleanup();
	MPI_Finalize();
}

static void run_msg(int *argc, char ***argv)
{
	int state = 0;

	armci_msg_init(argc, argv);
	MPI_Initialized(&state);
	learn_ranks("init msg");
	conf_section("armci_msg_init and armci_msg_finalize");
	CHECK_INT(1, state, "MPI_Initialized after armci_msg_init");
	CHECK_INT(conf_rank, armci_msg_me(), "armci_msg_me() before ARMCI_Init");
	CHECK_INT(conf_size, armci_msg_nproc(), "armci_msg_nproc() before ARMCI_Init");
	armci_msg_init(argc, argv);
	CHECK_OK(ARMCI_Init_args(argc, argv));
	use("after armci_msg_init");
	CHECK_OK(ARMCI_Finalize());
	armci_msg_finalize();
	MPI_Finalized(&state);
	CHECK_INT(1, state, "MPI_Finalized after armci_msg_finalize");
	armci_msg_finalize();
}

/* The last end frees what the program has left behind, and completes what it has begun. */
static void run_leftovers(int *argc, char ***argv)
{
	void **bases;
	static int value = 1;
	ARMCI_Group world, group;

	MPI_Init(argc, argv);
	learn_ranks("init leftovers");
	conf_section("an end with everything left behind");
	CHECK_OK(ARMCI_Init_args(argc, argv));
	bases = conf_share(100000);
	CHECK_OK(ARMCI_Create_mutexes(3));
	ARMCI_Group_get_world(&world);
	CHECK_OK(ARMCIX_Group_dup(&world, &group));
	CHECK(ARMCI_Malloc_local(1000) != NULL, "ARMCI_Malloc_local gives NULL");
	CHECK_OK(ARMCI_NbPut(&value, bases[(conf_rank + 1) % conf_size], sizeof(value),
			     (conf_rank + 1) % conf_size, NULL));
	CHECK_OK(ARMCI_Finalize());
	free(bases);
	MPI_Finalize();
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	conf_begin_bare("init", 0, 1);
	if (strcmp(mode, "nest") == 0)
		run_nest(&argc, &argv);
	else if (strcmp(mode, "init") == 0)
		run_init();
	else if (strcmp(mode, "thread") == 0)
		run_thread(&argc, &argv);
	else if (strcmp(mode, "comm") == 0 || strcmp(mode, "mpi_comm") == 0)
		run_comm(&argc, &argv, mode[0] == 'm');
	else if (strcmp(mode, "cleanup") == 0)
		run_cleanup(&argc, &argv);
	else if (strcmp(mode, "msg") == 0)
		run_msg(&argc, &argv);
	else if (strcmp(mode, "leftovers") == 0)
		run_leftovers(&argc, &argv);
	else {
		fprintf(stderr,
			"usage: init nest|init|thread|comm|mpi_comm|cleanup|msg|leftovers\n");
		return 2;
	}
	return conf_summary();
}
