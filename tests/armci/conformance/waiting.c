/* SPDX-License-Identifier: BSD-3-Clause */
/* Ranks that are deep in something other than the library, or blocked in it, for as long as the
 * file named by STRESS_UNTIL is not there: for tests that suspend them meanwhile. */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "conf.h"

enum { RANKS_LEAST = 4, COMPUTE_MS = 300 };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void compute(void)
{
	double end = now() + COMPUTE_MS;
	volatile double sum = 0;

	while (now() < end)
		for (int i = 1; i < 1000; i++)
			sum = sum + 1.0 / i;
}

/* Under mutex 0 of rank 0. */
static void count_up(long *counter)
{
	long value;

	CHECK_OK(ARMCI_Get(counter, &value, sizeof(value), 0));
	value++;
	CHECK_OK(ARMCI_Put(&value, counter, sizeof(value), 0));
}

/*
 * Rank 1 computes with the mutex, for which rank 2 waits; rank 0 computes before it sends the
 * message that rank 3 waits for in MPI; the others wait in the barrier.
 */
static void round_of_waits(long *counter)
{
	int word = 7;

	switch (conf_rank) {
	case 0:
		compute();
		MPI_Send(&word, 1, MPI_INT, 3, 1, MPI_COMM_WORLD);
		break;
	case 1:
		ARMCI_Lock(0, 0);
		MPI_Send(&word, 1, MPI_INT, 2, 1, MPI_COMM_WORLD);
		compute();
		count_up(counter);
		ARMCI_Unlock(0, 0);
		break;
	case 2:
		MPI_Recv(&word, 1, MPI_INT, 1, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
		ARMCI_Lock(0, 0);
		count_up(counter);
		ARMCI_Unlock(0, 0);
		break;
	case 3: MPI_Recv(&word, 1, MPI_INT, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE); break;
	default: break;
	}
	ARMCI_Barrier();
}

int main(int argc, char **argv)
{
	const char *until = getenv("STRESS_UNTIL");
	void **bases;
	long rounds = 0, more = 1;

	conf_begin(&argc, &argv, "waiting");
	conf_section("waits of all kinds");
	CHECK(conf_size >= RANKS_LEAST, "there are %d ranks", conf_size);
	bases = conf_share(sizeof(long));
	*(long *)bases[conf_rank] = 0;
	CHECK_INT(0, ARMCI_Create_mutexes(1), "ARMCI_Create_mutexes");
	ARMCI_Barrier();
	while (more) {
		round_of_waits(bases[0]);
		rounds++;
		more = until != NULL && access(until, F_OK) != 0;
		armci_msg_brdcst(&more, sizeof(more), 0);
	}
	if (conf_rank == 0)
		CHECK_INT(2 * rounds, *(long *)bases[0], "what was counted under the mutex");
	ARMCI_Barrier();
	CHECK_INT(0, ARMCI_Destroy_mutexes(), "ARMCI_Destroy_mutexes");
	conf_unshare(bases);
	return conf_end();
}
