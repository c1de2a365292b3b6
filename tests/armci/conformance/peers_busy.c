/* SPDX-License-Identifier: BSD-3-Clause */
/* A rank that computes and calls nothing is served meanwhile: all kinds of operations on it
 * complete. */
#include <stdlib.h>
#include <string.h>

#include "conf.h"

enum { BIG = 300 * 1000, ROWS = 50 };

struct segment {
	long counter;
	int done; /* how many ranks have finished with their operations */
	long sums[100];
	unsigned char area[];
};

static void **bases;
static unsigned char *pattern, *got;

static struct segment *segment(int owner)
{
	return bases[owner];
}

static unsigned char *my_area(int owner)
{
	return segment(owner)->area + (size_t)conf_rank * BIG;
}

/* Floating point work without any call, until all others say that they are done. */
static double compute(int others)
{
	double deadline = conf_now() + conf_patience(), x = 0.5;
	long steps = 0;

	while (conf_load_int(&segment(conf_rank)->done) != others) {
		for (int i = 0; i < 20000; i++)
			x = x * 3.7 * (1.0 - x);
		steps++;
		CHECK(conf_now() < deadline,
		      "only %d of %d ranks were served in %.0f s while this one computed",
		      conf_load_int(&segment(conf_rank)->done), others, conf_patience());
	}
	return x + (double)steps;
}

static void transfers(int busy)
{
	static const int sizes[] = {8, 3000, BIG};
	int stride[] = {1000}, dense[] = {40}, count[] = {40, ROWS};
	void *src[ROWS], *dst[ROWS];
	armci_giov_t group = {src, dst, 24, ROWS};

	for (int i = 0; i < 3; i++) {
		conf_fill(pattern, (size_t)sizes[i], (uint64_t)(conf_rank + i));
		CHECK_OK(ARMCI_Put(pattern, my_area(busy), sizes[i], busy));
		ARMCI_Fence(busy);
		CHECK_OK(ARMCI_Get(my_area(busy), got, sizes[i], busy));
		CHECK_BYTES(pattern, got, (size_t)sizes[i], "get of %d bytes from a busy rank",
			    sizes[i]);
	}
	CHECK_OK(ARMCI_PutS(pattern, dense, my_area(busy), stride, count, 1, busy));
	ARMCI_Fence(busy);
	CHECK_OK(ARMCI_GetS(my_area(busy), stride, got, dense, count, 1, busy));
	CHECK_BYTES(pattern, got, 40 * ROWS, "strided get from a busy rank");
	for (int i = 0; i < ROWS; i++) {
		src[i] = pattern + i * 24;
		dst[i] = my_area(busy) + i * 100;
	}
	CHECK_OK(ARMCI_PutV(&group, 1, busy));
	ARMCI_Fence(busy);
	for (int i = 0; i < ROWS; i++) {
		src[i] = my_area(busy) + i * 100;
		dst[i] = got + i * 24;
	}
	memset(got, 0, 24 * ROWS);
	CHECK_OK(ARMCI_GetV(&group, 1, busy));
	CHECK_BYTES(pattern, got, 24 * ROWS, "vector get from a busy rank");
}

static void updates(int busy)
{
	long values[100], one = 1, old;
	int stride[] = {80}, count[] = {80, 10};

	for (int i = 0; i < 100; i++)
		values[i] = i;
	for (int i = 0; i < 10; i++) {
		CHECK_OK(ARMCI_Acc(ARMCI_ACC_LNG, &one, values, segment(busy)->sums,
				   sizeof(values), busy));
		CHECK_OK(ARMCI_AccS(ARMCI_ACC_LNG, &one, values, stride, segment(busy)->sums,
				    stride, count, 1, busy));
		CHECK_OK(ARMCI_Rmw(ARMCI_FETCH_AND_ADD_LONG, &old, &segment(busy)->counter, 1,
				   busy));
		if (conf_reference())
			continue; /* whose mutexes need their owner's calls */
		ARMCI_Lock(0, busy);
		ARMCI_Unlock(0, busy);
	}
	ARMCI_Fence(busy);
	CHECK_OK(ARMCI_Rmw(ARMCI_FETCH_AND_ADD, &(int){0}, &segment(busy)->done, 1, busy));
}

int main(int argc, char **argv)
{
	size_t bytes;

	conf_begin(&argc, &argv, "peers_busy");
	bytes = sizeof(struct segment) + (size_t)conf_size * BIG;
	pattern = conf_alloc(BIG);
	got = conf_alloc(BIG);
	bases = conf_share(bytes);
	CHECK_OK(ARMCI_Create_mutexes(1));
	for (int busy = 0; busy < conf_size; busy++) {
		memset(bases[conf_rank], 0, bytes);
		ARMCI_Barrier();
		conf_section("one rank computes, the others use it");
		if (conf_rank == busy) {
			CHECK(compute(conf_size - 1) >= 0, "no work was done");
			for (int i = 0; i < 100; i++)
				CHECK_INT(20L * i * (conf_size - 1), segment(busy)->sums[i],
					  "sum %d", i);
			CHECK_INT(10L * (conf_size - 1), segment(busy)->counter, "counter");
		} else {
			transfers(busy);
			updates(busy);
		}
		ARMCI_Barrier();
	}
	CHECK_OK(ARMCI_Destroy_mutexes());
	conf_unshare(bases);
	free(pattern);
	free(got);
	return conf_end();
}
