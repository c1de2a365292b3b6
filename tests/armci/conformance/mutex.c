/* SPDX-License-Identifier: BSD-3-Clause */
/* Mutexes: counters under contention on every rank, other counts on each rank, sets of mutexes
 * over groups. */
#include <stdlib.h>
#include <string.h>

#include <armcix.h>

#include "conf.h"

enum { COUNTERS = 4 };

static void **bases; /* COUNTERS counters of each rank */

static long *counter(int owner, int i)
{
	return (long *)bases[owner] + i;
}

/* Read, add and write without any atomicity of its own: right only if nobody else does it. */
static void increment(int owner, int i)
{
	long value = -1;

	CHECK_OK(ARMCI_Get(counter(owner, i), &value, sizeof(value), owner));
	value++;
	CHECK_OK(ARMCI_Put(&value, counter(owner, i), sizeof(value), owner));
}

static void check_counters(long expected, const char *what)
{
	ARMCI_Barrier();
	for (int i = 0; i < COUNTERS; i++)
		CHECK_INT(expected, *counter(conf_rank, i), "counter %d, %s", i, what);
	ARMCI_Barrier();
	memset(bases[conf_rank], 0, sizeof(long) * COUNTERS);
	ARMCI_Barrier();
}

static void test_one_mutex(void)
{
	int rounds = conf_often(30);

	conf_section("one mutex of rank 0 guards everything");
	CHECK_OK(ARMCI_Create_mutexes(conf_rank == 0 ? 1 : 0));
	for (int n = 0; n < rounds; n++) {
		ARMCI_Lock(0, 0);
		for (int owner = 0; owner < conf_size; owner++)
			increment(owner, n % COUNTERS);
		/* With no fence: that is the unlock's part. */
		if (conf_reference())
			ARMCI_AllFence();
		ARMCI_Unlock(0, 0);
	}
	ARMCI_Barrier();
	for (int i = 0; i < COUNTERS; i++) {
		long times = rounds / COUNTERS + (i < rounds % COUNTERS);

		CHECK_INT(times * conf_size, *counter(conf_rank, i), "counter %d", i);
	}
	memset(bases[conf_rank], 0, sizeof(long) * COUNTERS);
	CHECK_OK(ARMCI_Destroy_mutexes());
}

static void test_mutexes_everywhere(void)
{
	int rounds = conf_times(25);

	conf_section("mutexes on every rank guard their rank's counters");
	CHECK_OK(ARMCI_Create_mutexes(COUNTERS));
	memset(bases[conf_rank], 0, sizeof(long) * COUNTERS);
	ARMCI_Barrier();
	for (int n = 0; n < rounds; n++) {
		for (int k = 0; k < conf_size * COUNTERS; k++) {
			int owner = (conf_rank + k) % conf_size;

			ARMCI_Lock(k % COUNTERS, owner);
			increment(owner, k % COUNTERS);
			ARMCI_Fence(owner);
			ARMCI_Unlock(k % COUNTERS, owner);
		}
	}
	/* k and the counter: each counter of each owner is counted as often as others do. */
	ARMCI_Barrier();
	for (int i = 0; i < COUNTERS; i++) {
		long times = 0;

		for (int rank = 0; rank < conf_size; rank++) {
			for (int k = i; k < conf_size * COUNTERS; k += COUNTERS)
				times += (rank + k) % conf_size == conf_rank;
		}
		CHECK_INT(times * rounds, *counter(conf_rank, i), "counter %d", i);
	}
	ARMCI_Barrier();
	memset(bases[conf_rank], 0, sizeof(long) * COUNTERS);
	CHECK_OK(ARMCI_Destroy_mutexes());
}

/* Each rank asks for as many as its rank; the last of the last rank is used by all. */
static void test_different_counts(void)
{
	int last = conf_size - 1;

	conf_section("another number of mutexes on each rank");
	for (int again = 0; again < 3; again++) {
		CHECK_OK(ARMCI_Create_mutexes(conf_rank + 1));
		for (int i = 0; i <= last; i++) {
			for (int m = 0; m <= i; m++) {
				ARMCI_Lock(m, i);
				ARMCI_Unlock(m, i);
			}
		}
		for (int n = 0; n < conf_times(30); n++) {
			ARMCI_Lock(last, last);
			increment(last, 0);
			ARMCI_Fence(last);
			ARMCI_Unlock(last, last);
		}
		ARMCI_Barrier();
		if (conf_rank == last)
			CHECK_INT((long)conf_times(30) * conf_size, *counter(last, 0),
				  "counter");
		ARMCI_Barrier();
		*counter(conf_rank, 0) = 0;
		CHECK_OK(ARMCI_Destroy_mutexes());
	}
}

/* Several held at once, always taken in the same order. */
static void test_nested(void)
{
	int rounds = conf_times(15);

	conf_section("several mutexes held at once");
	CHECK_OK(ARMCI_Create_mutexes(1));
	for (int n = 0; n < rounds; n++) {
		for (int r = 0; r < conf_size; r++)
			ARMCI_Lock(0, r);
		for (int r = 0; r < conf_size; r++) {
			for (int i = 0; i < COUNTERS; i++)
				increment(r, i);
		}
		ARMCI_AllFence();
		for (int r = 0; r < conf_size; r++)
			ARMCI_Unlock(0, r);
	}
	check_counters((long)rounds * conf_size, "guarded by all mutexes");
	CHECK_OK(ARMCI_Destroy_mutexes());
}

/* First come, first served: who waits is served before one that comes again later. */
static void test_queue(void)
{
	conf_section("nobody starves");
	CHECK_OK(ARMCI_Create_mutexes(conf_rank == 0 ? 1 : 0));
	/* Everybody takes it until everybody has had it a few times. */
	for (int done = 0; !done;) {
		long now[1];
		int k = 0;

		ARMCI_Lock(0, 0);
		CHECK_OK(ARMCI_Get(counter(conf_rank, 0), now, sizeof(now), conf_rank));
		increment(conf_rank, 0);
		for (done = 1; k < conf_size; k++) {
			CHECK_OK(ARMCI_Get(counter(k, 0), now, sizeof(now), k));
			done = done && now[0] >= 10;
		}
		ARMCI_AllFence();
		ARMCI_Unlock(0, 0);
		CHECK(now[0] < 1000000, "one rank took a mutex a million times");
	}
	ARMCI_Barrier();
	*counter(conf_rank, 0) = 0;
	CHECK_OK(ARMCI_Destroy_mutexes());
}

/* Two sets over the world beside the plain one. */
static void test_sets(void)
{
	armcix_mutex_hdl_t sets[2];
	ARMCI_Group world;
	int rounds = conf_times(25);

	conf_section("sets of mutexes beside the plain ones");
	ARMCI_Group_get_world(&world);
	CHECK_OK(ARMCI_Create_mutexes(1));
	for (int s = 0; s < 2; s++) {
		sets[s] = ARMCIX_Create_mutexes_hdl(s + 1, &world);
		CHECK(sets[s] != NULL, "ARMCIX_Create_mutexes_hdl gives NULL");
		CHECK_INT(s + 1, sets[s]->my_count, "my_count of a set");
		CHECK_INT(s + 1, sets[s]->max_count, "max_count of a set");
	}
	/* Held by me in one set, free in the others. */
	ARMCI_Lock(0, conf_rank);
	ARMCIX_Lock_hdl(sets[0], 0, conf_rank);
	ARMCIX_Lock_hdl(sets[1], 0, conf_rank);
	ARMCIX_Unlock_hdl(sets[0], 0, conf_rank);
	ARMCIX_Unlock_hdl(sets[1], 0, conf_rank);
	ARMCI_Unlock(0, conf_rank);
	for (int n = 0; n < rounds; n++) {
		for (int k = 0; k < conf_size; k++) {
			int owner = (conf_rank + k) % conf_size;

			ARMCIX_Lock_hdl(sets[1], 1, owner);
			increment(owner, 0);
			ARMCI_Fence(owner);
			ARMCIX_Unlock_hdl(sets[1], 1, owner);
			ARMCIX_Progress();
		}
	}
	ARMCI_Barrier();
	CHECK_INT((long)rounds * conf_size, *counter(conf_rank, 0), "guarded by a set");
	ARMCI_Barrier();
	*counter(conf_rank, 0) = 0;
	CHECK_OK(ARMCIX_Destroy_mutexes_hdl(sets[0]));
	CHECK_OK(ARMCIX_Destroy_mutexes_hdl(sets[1]));
	CHECK_OK(ARMCI_Destroy_mutexes());
}

static void test_trylock(void)
{
	armcix_mutex_hdl_t set;
	ARMCI_Group world;
	int taken;

	if (conf_beyond_reference("a lock that does not wait"))
		return;
	conf_section("a lock that does not wait");
	ARMCI_Group_get_world(&world);
	set = ARMCIX_Create_mutexes_hdl(1, &world);
	CHECK(set != NULL, "ARMCIX_Create_mutexes_hdl gives NULL");
	if (conf_rank == 0)
		CHECK_INT(0, ARMCIX_Trylock_hdl(set, 0, conf_size - 1), "a free mutex");
	ARMCI_Barrier();
	if (conf_rank != 0)
		CHECK_INT(1, ARMCIX_Trylock_hdl(set, 0, conf_size - 1),
			  "a mutex that rank 0 holds");
	ARMCI_Barrier();
	if (conf_rank == 0)
		ARMCIX_Unlock_hdl(set, 0, conf_size - 1);
	ARMCI_Barrier();
	/* All try, exactly one has it. */
	taken = ARMCIX_Trylock_hdl(set, 0, 0) == 0;
	ARMCI_Barrier();
	if (taken)
		ARMCIX_Unlock_hdl(set, 0, 0);
	armci_msg_igop(&taken, 1, "+");
	CHECK_INT(1, taken, "ranks that took one mutex at a time");
	CHECK_OK(ARMCIX_Destroy_mutexes_hdl(set));
}

/* A set over the even ranks alone; its mutexes are named by ranks of the world. */
static void test_set_of_group(void)
{
	ARMCI_Group world, half;
	armcix_mutex_hdl_t set;
	int rounds = conf_times(20), members;

	conf_section("a set over a group");
	ARMCI_Group_get_world(&world);
	CHECK_OK(ARMCIX_Group_split(&world, conf_rank % 2, conf_rank, &half));
	ARMCI_Group_size(&half, &members);
	set = ARMCIX_Create_mutexes_hdl(1, &half);
	CHECK(set != NULL, "ARMCIX_Create_mutexes_hdl gives NULL");
	for (int n = 0; n < rounds; n++) {
		for (int i = 0; i < members; i++) {
			int owner = ARMCI_Absolute_id(&half, i);

			ARMCIX_Lock_hdl(set, 0, owner);
			increment(owner, 1);
			ARMCI_Fence(owner);
			ARMCIX_Unlock_hdl(set, 0, owner);
		}
	}
	ARMCI_Barrier();
	CHECK_INT((long)rounds * members, *counter(conf_rank, 1), "guarded by a group's set");
	CHECK_OK(ARMCIX_Destroy_mutexes_hdl(set));
	ARMCI_Group_free(&half);
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "mutex");
	bases = conf_share(sizeof(long) * COUNTERS);
	memset(bases[conf_rank], 0, sizeof(long) * COUNTERS);
	ARMCI_Barrier();
	test_one_mutex();
	test_mutexes_everywhere();
	test_different_counts();
	test_nested();
	test_queue();
	test_sets();
	test_trylock();
	test_set_of_group();
	ARMCI_Barrier();
	conf_unshare(bases);
	return conf_end();
}
