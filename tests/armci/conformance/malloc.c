/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory: segments of equal, different and no size, thousands of them, all orders of freeing,
 * local memory. */
#include <stdlib.h>
#include <string.h>

#include "conf.h"

enum { ALIGNMENT = 64, LOCAL_ALIGNMENT = 16 };

/* Puts a pattern to the right neighbour's part (bytes of it) and looks at what the left one put
 * here. */
static void exchange(void **bases, size_t bytes, uint64_t seed)
{
	int right = (conf_rank + 1) % conf_size, left = (conf_rank + conf_size - 1) % conf_size;
	unsigned char *pattern = conf_alloc(bytes);

	conf_fill(pattern, bytes, seed + (uint64_t)conf_rank);
	CHECK_OK(ARMCI_Put(pattern, bases[right], (int)bytes, right));
	ARMCI_Barrier();
	conf_fill(pattern, bytes, seed + (uint64_t)left);
	CHECK_BYTES(pattern, bases[conf_rank], bytes, "what rank %d put", left);
	free(pattern);
}

static void test_sizes(void)
{
	static const size_t sizes[] = {1, 7, 8, 64, 4095, 4096, 65537, 3000000};

	conf_section("segments of one size");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		void **bases = conf_share(sizes[i]);

		if (!conf_reference())
			CHECK_INT(0, (uintptr_t)bases[conf_rank] % ALIGNMENT,
				  "address of %zu bytes modulo %d", sizes[i], ALIGNMENT);
		exchange(bases, sizes[i], i);
		ARMCI_Barrier();
		conf_unshare(bases);
	}
}

/* Sizes that differ by rank; those who ask for nothing have NULL and free NULL. */
static void test_different_sizes(void)
{
	void **bases = conf_alloc(sizeof(void *) * (size_t)conf_size);
	unsigned char *pattern = conf_alloc(1000 * (size_t)conf_size), *got;

	got = conf_alloc(1000 * (size_t)conf_size);
	conf_section("segments of another size on each rank, and none");
	for (int shift = 0; shift < conf_size + 1; shift++) {
		int mine = (conf_rank + shift) % (conf_size + 1) * 999;

		CHECK_OK(ARMCI_Malloc(bases, mine));
		for (int r = 0; r < conf_size; r++) {
			int bytes = (r + shift) % (conf_size + 1) * 999;

			CHECK((bases[r] == NULL) == (bytes == 0),
			      "address of the %d bytes of rank %d is %p", bytes, r, bases[r]);
		}
		conf_fill(pattern, (size_t)mine, (uint64_t)conf_rank);
		if (mine > 0)
			memcpy(bases[conf_rank], pattern, (size_t)mine);
		ARMCI_Barrier();
		for (int r = 0; r < conf_size; r++) {
			int bytes = (r + shift) % (conf_size + 1) * 999;

			if (bytes == 0)
				continue;
			CHECK_OK(ARMCI_Get(bases[r], got, bytes, r));
			conf_fill(pattern, (size_t)bytes, (uint64_t)r);
			CHECK_BYTES(pattern, got, (size_t)bytes, "segment of rank %d", r);
		}
		ARMCI_Barrier();
		CHECK_OK(ARMCI_Free(bases[conf_rank]));
	}
	free(bases);
	free(pattern);
	free(got);
}

static void test_no_size_at_all(void)
{
	void **bases;

	if (conf_beyond_reference("segments of nothing"))
		return;
	conf_section("segments of nothing");
	bases = conf_alloc(sizeof(void *) * (size_t)conf_size);
	for (int i = 0; i < 5; i++) {
		for (int r = 0; r < conf_size; r++)
			bases[r] = bases;
		CHECK_OK(ARMCI_Malloc(bases, 0));
		for (int r = 0; r < conf_size; r++)
			CHECK(bases[r] == NULL, "address of nothing at rank %d is %p", r,
			      bases[r]);
		CHECK_OK(ARMCI_Free(bases[conf_rank]));
	}
	free(bases);
}

/* Thousands one after the other, the memory being new to others each time. */
static void test_many_in_turn(void)
{
	int rounds = conf_often(500);

	conf_section("thousands of segments in turn");
	for (int i = 0; i < rounds; i++) {
		size_t bytes = 8 + (size_t)i * 37 % 9000;
		void **bases = conf_share(bytes);
		int right = (conf_rank + 1) % conf_size;
		long value = 1000L * i + conf_rank;

		if (i % 20 == 0)
			exchange(bases, bytes, (uint64_t)i);
		else
			CHECK_OK(ARMCI_Put(&value, bases[right], sizeof(value), right));
		conf_unshare(bases);
	}
}

/* What order the segments are freed in: the same on all ranks. */
enum order { FORWARDS, BACKWARDS, SHUFFLED, ORDERS };

static void many_at_once(enum order order, int segments)
{
	void ***all = conf_alloc(sizeof(*all) * (size_t)segments);
	int *turn = conf_alloc(sizeof(*turn) * (size_t)segments);
	uint64_t state = 4711;
	long got;

	for (int i = 0; i < segments; i++) {
		all[i] = conf_share(sizeof(long) * (size_t)(1 + i % 50));
		*(long *)all[i][conf_rank] = 100L * i + conf_rank;
		turn[i] = order == BACKWARDS ? segments - 1 - i : i;
	}
	for (int i = segments - 1; order == SHUFFLED && i > 0; i--) {
		int other = conf_below(&state, i + 1), mine = turn[i];

		turn[i] = turn[other];
		turn[other] = mine;
	}
	ARMCI_Barrier();
	for (int i = 0; i < segments; i++) {
		int k = (conf_rank + i) % conf_size;

		CHECK_OK(ARMCI_Get(all[turn[i]][k], &got, sizeof(got), k));
		CHECK_INT(100L * turn[i] + k, got, "segment %d of rank %d", turn[i], k);
		conf_unshare(all[turn[i]]);
	}
	free(all);
	free(turn);
}

static void test_many_at_once(void)
{
	for (int order = 0; order < ORDERS; order++) {
		conf_section(order == FORWARDS ? "many segments at once, the oldest freed first"
			     : order == BACKWARDS
				     ? "many segments at once, the newest freed first"
				     : "many segments at once, freed in any order");
		many_at_once((enum order)order, conf_times(250));
	}
}

static void test_local(void)
{
	enum { KEPT = 300 };
	void **bases = conf_share(100000);
	unsigned char *kept[KEPT] = {NULL}, *big, *pattern = conf_alloc(100000);
	uint64_t state = (uint64_t)conf_rank;
	int rounds = conf_times(10000);

	conf_section("thousands of local pieces");
	for (int i = 0; i < rounds; i++) {
		int slot = conf_below(&state, KEPT), bytes = 1 + conf_below(&state, 5000);

		if (kept[slot] != NULL)
			CHECK_INT((unsigned char)slot, kept[slot][0], "first byte of a piece");
		CHECK_OK(ARMCI_Free_local(kept[slot]));
		kept[slot] = ARMCI_Malloc_local(bytes);
		CHECK(kept[slot] != NULL, "ARMCI_Malloc_local of %d bytes gives NULL", bytes);
		CHECK_INT(0, (uintptr_t)kept[slot] % LOCAL_ALIGNMENT,
			  "address of %d bytes modulo %d", bytes, LOCAL_ALIGNMENT);
		memset(kept[slot], slot, (size_t)bytes);
	}
	for (int i = 0; i < KEPT; i++)
		CHECK_OK(ARMCI_Free_local(kept[i]));
	conf_section("large local pieces, again and again");
	for (int i = 0; i < conf_times(200); i++) {
		int k = (conf_rank + i) % conf_size;

		big = ARMCI_Malloc_local(42 << 20);
		CHECK(big != NULL, "ARMCI_Malloc_local of 42 MiB gives NULL");
		big[42 << 19] = 1;
		if (i < 10) {
			conf_fill(bases[conf_rank], 100000, (uint64_t)conf_rank);
			ARMCI_Barrier();
			CHECK_OK(ARMCI_Get(bases[k], big + 77, 100000, k));
			conf_fill(pattern, 100000, (uint64_t)k);
			CHECK_BYTES(pattern, big + 77, 100000, "got from rank %d", k);
			ARMCI_Barrier();
		}
		CHECK_OK(ARMCI_Free_local(big));
	}
	free(pattern);
	conf_unshare(bases);
}

static void test_memdev(void)
{
	void **bases = conf_alloc(sizeof(void *) * (size_t)conf_size);
	ARMCI_Group world;

	conf_section("memory on a named device");
	ARMCI_Group_get_world(&world);
	CHECK_OK(ARMCI_Malloc_memdev(bases, 5000, "dram"));
	exchange(bases, 5000, 1);
	ARMCI_Barrier();
	CHECK_OK(ARMCI_Free_memdev(bases[conf_rank]));
	CHECK_OK(ARMCI_Malloc_group_memdev(bases, 5000, &world, "dram"));
	exchange(bases, 5000, 2);
	ARMCI_Barrier();
	CHECK_OK(ARMCI_Free_group(bases[conf_rank], &world));
	free(bases);
}

static void test_shared_memory_queries(void)
{
	int shared = ARMCI_Uses_shm();
	ARMCI_Group world;

	conf_section("ARMCI_Uses_shm, ARMCI_Set_shm_limit");
	CHECK(shared == 0 || shared == 1, "ARMCI_Uses_shm gives %d", shared);
	ARMCI_Group_get_world(&world);
	CHECK_INT(shared, ARMCI_Uses_shm_grp(&world), "ARMCI_Uses_shm_grp of the world");
	ARMCI_Set_shm_limit(1UL << 33);
	CHECK_INT(shared, ARMCI_Uses_shm(), "ARMCI_Uses_shm after ARMCI_Set_shm_limit");
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "malloc");
	test_sizes();
	test_different_sizes();
	test_no_size_at_all();
	test_many_in_turn();
	test_many_at_once();
	test_local();
	test_memdev();
	test_shared_memory_queries();
	return conf_end();
}
