/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mutexes: read-modify-write by get and put is exact under a lock. No process holds two locks:
 * Global Arrays 5.8.2 takes one and the same mutex of ARMCI for all of its own, which one
 * depends on how many there are.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { TURNS = 30, WIDTH = 33 };

static const int counts[] = {1, 2, 7, 16};

/* Each mutex guards a row; all elements of a row count the same, so a torn update shows at
 * once. */
static void add_under_lock(int g_a, int row, long inc)
{
	int lo[2] = {row, 0}, hi[2] = {row, WIDTH - 1}, ld[1] = {WIDTH};
	long values[WIDTH];

	GA_Lock(row);
	NGA_Get(g_a, lo, hi, values, ld);
	for (int i = 0; i < WIDTH; i++) {
		CHECK(values[i] == values[0] + i,
		      "mutex %d: element %d is %ld beside %ld while the lock is held", row, i,
		      values[i], values[0]);
	}
	for (int i = 0; i < WIDTH; i++)
		values[i] += inc;
	GA_Init_fence();
	NGA_Put(g_a, lo, hi, values, ld);
	GA_Fence();
	GA_Unlock(row);
}

static void do_round(int mutexes)
{
	int dims[2] = {mutexes, WIDTH}, g_a = NGA_Create(C_LONG, 2, dims, "guarded", NULL);
	struct num *expected = check_alloc((size_t)(mutexes * WIDTH), sizeof(*expected));
	int lo[2] = {0, 0}, hi[2] = {mutexes - 1, WIDTH - 1}, ld[1] = {WIDTH};
	long *begin = check_alloc((size_t)(mutexes * WIDTH), sizeof(*begin));

	CHECK(g_a, "NGA_Create fails");
	for (int i = 0; i < mutexes * WIDTH; i++) {
		begin[i] = i % WIDTH;
		expected[i].re = i % WIDTH;
	}
	if (check_rank == 0)
		NGA_Put(g_a, lo, hi, begin, ld);
	GA_Sync();
	CHECK(GA_Create_mutexes(mutexes), "GA_Create_mutexes(%d) fails", mutexes);
	for (int rank = 0; rank < check_ranks; rank++) {
		struct random random = {.seed = 70 + (uint64_t)rank};

		for (int i = 0; i < TURNS; i++) {
			int row = random_below(&random, mutexes);
			long inc = 1 + random_below(&random, 9);

			for (int j = 0; j < WIDTH; j++)
				expected[row * WIDTH + j].re += inc;
			if (rank == check_rank)
				add_under_lock(g_a, row, inc);
		}
	}
	GA_Sync();
	CHECK(GA_Destroy_mutexes(), "GA_Destroy_mutexes fails");
	check_array(g_a, expected, "under locks");
	GA_Sync();
	GA_Destroy(g_a);
	free(begin);
	free(expected);
}

int main(int argc, char **argv)
{
	check_begin(&argc, &argv);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		do_round(counts[i]);
	return check_end();
}
