/* SPDX-License-Identifier: BSD-3-Clause */
/* What ARMCI_Init costs a rank, and what partners cost it, beyond what MPI costs; see
 * bench/README.md. */
#include <armci.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEGMENT_BYTES = 65536, LINE_MAX_BYTES = 256 };
enum column {
	INIT_WALL_NS,
	INIT_CPU_NS,
	INIT_BYTES,
	ONE_BYTES,
	ALL_BYTES,
	ONE_NS,
	ALL_NS,
	COLUMNS
};

static int me, nproc;

static double clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "armci_growth: rank %d: %s\n", me, what);
	MPI_Abort(MPI_COMM_WORLD, 1);
}

/* Memory that would be given back if this process alone ended: nobody else maps those pages. */
static double private_bytes(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	char line[LINE_MAX_BYTES];
	double sum = 0;

	if (!file)
		fail("cannot read /proc/self/smaps_rollup");
	while (fgets(line, sizeof(line), file)) {
		double kib;

		if (sscanf(line, "Private_Clean: %lf", &kib) == 1 ||
		    sscanf(line, "Private_Dirty: %lf", &kib) == 1)
			sum += kib * 1024;
	}
	fclose(file);
	return sum;
}

/* MPI makes its own connections at the first message: here, before anything is measured. */
static void warm_mpi(void)
{
	int *out = calloc((size_t)nproc, sizeof(int)), *in = calloc((size_t)nproc, sizeof(int));
	char *long_in = malloc((size_t)nproc * LINE_MAX_BYTES);
	char long_out[LINE_MAX_BYTES] = "";
	MPI_Comm copy;

	if (!out || !in || !long_in)
		fail("no memory");
	MPI_Alltoall(out, 1, MPI_INT, in, 1, MPI_INT, MPI_COMM_WORLD);
	MPI_Allgather(long_out, LINE_MAX_BYTES, MPI_CHAR, long_in, LINE_MAX_BYTES, MPI_CHAR,
		      MPI_COMM_WORLD);
	MPI_Allreduce(out, in, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
	MPI_Comm_dup(MPI_COMM_WORLD, &copy);
	MPI_Barrier(copy);
	MPI_Comm_free(&copy);
	free(out);
	free(in);
	free(long_in);
}

/* The pages of a segment that are used: for gets and puts, for accumulates, for the counter. */
static char *sums_of(char *base)
{
	return base + SEGMENT_BYTES / 2;
}

static char *counter_of(char *base)
{
	return base + SEGMENT_BYTES - sizeof(long);
}

/* Read, write, add and count on one rank: all that needs a connection or a server there. */
static void talk(char **bases, int rank)
{
	double value = 1, scale = 1;
	long old;

	ARMCI_Get(bases[rank], &value, sizeof(value), rank);
	ARMCI_Put(&value, bases[rank] + sizeof(value) * (size_t)me, sizeof(value), rank);
	ARMCI_Acc(ARMCI_ACC_DBL, &scale, &value, sums_of(bases[rank]), sizeof(value), rank);
	ARMCI_Rmw(ARMCI_FETCH_AND_ADD_LONG, &old, counter_of(bases[rank]), 1, rank);
	ARMCI_Fence(rank);
}

static void allocate(char **bases)
{
	if (ARMCI_Malloc((void **)bases, SEGMENT_BYTES) != 0)
		fail("ARMCI_Malloc finds no memory");
	ARMCI_Access_begin(bases[me]);
	memset(bases[me], 0, sizeof(double) * (size_t)nproc);
	memset(sums_of(bases[me]), 0, sizeof(double));
	memset(counter_of(bases[me]), 0, sizeof(long));
	ARMCI_Access_end(bases[me]);
	ARMCI_Barrier();
}

/* Each rank's counter has been raised by all ranks. */
static void verify(char **bases)
{
	long count = 0;

	ARMCI_Barrier();
	ARMCI_Get(counter_of(bases[me]), &count, sizeof(count), me);
	if (count != nproc)
		fail("a counter is wrong");
}

static void measure(double *found)
{
	char **bases = calloc((size_t)nproc, sizeof(*bases));
	double before, wall, cpu;

	if (!bases)
		fail("no memory");
	warm_mpi();
	before = private_bytes();
	MPI_Barrier(MPI_COMM_WORLD);
	wall = clock_ns(CLOCK_MONOTONIC);
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	if (ARMCI_Init() != 0)
		fail("ARMCI_Init fails");
	found[INIT_CPU_NS] = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	found[INIT_WALL_NS] = clock_ns(CLOCK_MONOTONIC) - wall;
	MPI_Barrier(MPI_COMM_WORLD);
	found[INIT_BYTES] = private_bytes() - before;

	allocate(bases);
	wall = clock_ns(CLOCK_MONOTONIC);
	talk(bases, (me + 1) % nproc);
	found[ONE_NS] = clock_ns(CLOCK_MONOTONIC) - wall;
	ARMCI_Barrier();
	found[ONE_BYTES] = private_bytes() - before;

	wall = clock_ns(CLOCK_MONOTONIC);
	for (int i = 2; i <= nproc; i++)
		talk(bases, (me + i) % nproc);
	found[ALL_NS] = clock_ns(CLOCK_MONOTONIC) - wall;
	ARMCI_Barrier();
	found[ALL_BYTES] = private_bytes() - before;

	verify(bases);
	ARMCI_Barrier();
	ARMCI_Free(bases[me]);
	free(bases);
	ARMCI_Finalize();
}

int main(int argc, char **argv)
{
	double mine[COLUMNS], *all;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &me);
	MPI_Comm_size(MPI_COMM_WORLD, &nproc);
	all = calloc((size_t)nproc * COLUMNS, sizeof(*all));
	if (!all)
		fail("no memory");
	measure(mine);
	MPI_Gather(mine, COLUMNS, MPI_DOUBLE, all, COLUMNS, MPI_DOUBLE, 0, MPI_COMM_WORLD);
	for (int rank = 0; me == 0 && rank < nproc; rank++) {
		printf("rank\t%d", rank);
		for (int i = 0; i < COLUMNS; i++)
			printf("\t%.0f", all[rank * COLUMNS + i]);
		printf("\n");
	}
	if (me == 0)
		printf("verified\n");
	free(all);
	/* Without it ranks of Open MPI 4.1 crash now and then: others have ended already. */
	MPI_Barrier(MPI_COMM_WORLD);
	MPI_Finalize();
	return 0;
}
