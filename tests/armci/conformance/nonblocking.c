/* SPDX-License-Identifier: BSD-3-Clause */
/* Non-blocking operations: explicit, implicit and aggregate handles, and all ways to wait for
 * them. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"

enum { SLOT = 256 * 1024, PIECES = 1000, PIECE = 200, BIG = 200 * 1024 };

static void **bases;
static unsigned char *local, *expected, *now;

static unsigned char *my_slot(int target)
{
	return (unsigned char *)bases[target] + (size_t)conf_rank * SLOT;
}

static void check_slot(int target, size_t bytes, const char *what)
{
	CHECK_OK(ARMCI_Get(my_slot(target), now, (int)bytes, target));
	CHECK_BYTES(expected, now, bytes, "%s at rank %d", what, target);
}

/* A fresh pattern in the slot (and expected), another in local. */
static void prepare(int target, uint64_t seed)
{
	conf_fill(expected, SLOT, seed);
	CHECK_OK(ARMCI_Put(expected, my_slot(target), SLOT, target));
	ARMCI_Fence(target);
	conf_fill(local, SLOT, seed + 1);
}

static void test_explicit(void)
{
	armci_hdl_t *handles = conf_alloc(sizeof(*handles) * PIECES);

	conf_section("a handle for each operation");
	for (int k = 0; k < conf_size; k++) {
		prepare(k, (uint64_t)k);
		memcpy(expected, local, (size_t)PIECES * PIECE);
		for (int i = 0; i < PIECES; i++) {
			ARMCI_INIT_HANDLE(&handles[i]);
			CHECK_OK(ARMCI_NbPut(local + i * PIECE, my_slot(k) + i * PIECE, PIECE,
					     k, &handles[i]));
		}
		for (int i = PIECES - 1; i >= 0; i--)
			CHECK_OK(ARMCI_Wait(&handles[i]));
		ARMCI_Fence(k);
		check_slot(k, SLOT, "ARMCI_NbPut");
		memset(local, 0, SLOT);
		for (int i = 0; i < PIECES; i++)
			CHECK_OK(ARMCI_NbGet(my_slot(k) + i * PIECE, local + i * PIECE, PIECE,
					     k, &handles[i]));
		for (int i = 0; i < PIECES; i++)
			CHECK_OK(ARMCI_Wait(&handles[i]));
		CHECK_BYTES(expected, local, (size_t)PIECES * PIECE, "ARMCI_NbGet from rank %d",
			    k);
	}
	free(handles);
}

/* The source may be reused after ARMCI_Wait, the data are there nevertheless. */
static void test_source_reuse(void)
{
	armci_hdl_t handle;

	conf_section("reuse of the source after ARMCI_Wait");
	ARMCI_INIT_HANDLE(&handle);
	for (int k = 0; k < conf_size; k++) {
		for (int bytes = 1; bytes <= BIG; bytes = bytes * 6 + 1) {
			prepare(k, (uint64_t)bytes);
			memcpy(expected, local, (size_t)bytes);
			CHECK_OK(ARMCI_NbPut(local, my_slot(k), bytes, k, &handle));
			CHECK_OK(ARMCI_Wait(&handle));
			memset(local, 0xee, (size_t)bytes);
			ARMCI_Fence(k);
			check_slot(k, SLOT, "a put whose source was overwritten");
		}
	}
}

static void test_implicit(void)
{
	conf_section("no handle, ARMCI_WaitAll and ARMCI_WaitProc");
	for (int round = 0; round < 2; round++) {
		ARMCI_Barrier();
		conf_fill(local, SLOT, (uint64_t)round + (uint64_t)conf_rank);
		for (int i = 0; i < PIECES; i++) {
			for (int k = 0; k < conf_size; k++)
				CHECK_OK(ARMCI_NbPut(local + i * PIECE, my_slot(k) + i * PIECE,
						     PIECE, k, NULL));
		}
		for (int k = 0; round == 0 && k < conf_size; k++)
			CHECK_OK(ARMCI_WaitProc(k));
		if (round == 1)
			CHECK_OK(ARMCI_WaitAll());
		memcpy(expected, local, (size_t)PIECES * PIECE);
		memset(local, 0, SLOT);
		ARMCI_AllFence();
		for (int k = 0; k < conf_size; k++)
			check_slot(k, (size_t)PIECES * PIECE, "puts without handles");
		for (int k = 0; k < conf_size; k++) {
			memset(local, 0, SLOT);
			for (int i = 0; i < PIECES; i++)
				CHECK_OK(ARMCI_NbGet(my_slot(k) + i * PIECE, local + i * PIECE,
						     PIECE, k, NULL));
			CHECK_OK(round == 0 ? ARMCI_WaitProc(k) : ARMCI_WaitAll());
			CHECK_BYTES(expected, local, (size_t)PIECES * PIECE,
				    "gets without handles from rank %d", k);
		}
	}
}

static void test_wait_all_with_handles(void)
{
	armci_hdl_t *handles = conf_alloc(sizeof(*handles) * (size_t)conf_size);
	long *values = conf_alloc(sizeof(long) * (size_t)conf_size);

	conf_section("ARMCI_WaitAll completes operations with handles");
	*(long *)(void *)my_slot(conf_rank) = 0;
	for (int k = 0; k < conf_size; k++) {
		values[k] = 1000 * k + conf_rank;
		ARMCI_INIT_HANDLE(&handles[k]);
		CHECK_OK(ARMCI_NbPut(&values[k], my_slot(k), sizeof(long), k, &handles[k]));
	}
	CHECK_OK(ARMCI_WaitAll());
	memset(values, 0, sizeof(long) * (size_t)conf_size);
	for (int k = 0; k < conf_size; k++)
		CHECK_OK(ARMCI_Wait(&handles[k]));
	ARMCI_AllFence();
	for (int k = 0; k < conf_size; k++)
		CHECK_OK(ARMCI_NbGet(my_slot(k), &values[k], sizeof(long), k, &handles[k]));
	for (int k = 0; k < conf_size; k++)
		CHECK_OK(ARMCI_WaitProc(k));
	for (int k = 0; k < conf_size; k++) {
		CHECK_INT(1000 * k + conf_rank, values[k], "value at rank %d", k);
		CHECK_OK(ARMCI_Wait(&handles[k]));
	}
	free(handles);
	free(values);
}

static void test_test(void)
{
	armci_hdl_t handle;

	conf_section("ARMCI_Test");
	ARMCI_INIT_HANDLE(&handle);
	for (int k = 0; k < conf_size; k++) {
		double deadline = conf_now() + conf_patience();
		int result;

		prepare(k, 77 + (uint64_t)k);
		CHECK_OK(ARMCI_NbGet(my_slot(k), local, BIG, k, &handle));
		while ((result = ARMCI_Test(&handle)) != 0) {
			CHECK_INT(1, result, "ARMCI_Test of an operation under way");
			CHECK(conf_now() < deadline,
			      "ARMCI_Test never says that a get of %d "
			      "bytes from rank %d is complete",
			      BIG, k);
			sched_yield();
		}
		CHECK_BYTES(expected, local, BIG, "get from rank %d after ARMCI_Test", k);
		CHECK_INT(0, ARMCI_Test(&handle), "ARMCI_Test of a handle without operation");
		CHECK_OK(ARMCI_Wait(&handle));
	}
}

static void test_aggregate(void)
{
	armci_hdl_t handle;

	conf_section("aggregate handles");
	ARMCI_INIT_HANDLE(&handle);
	for (int k = 0; k < conf_size; k++) {
		prepare(k, 5 + (uint64_t)k);
		memcpy(expected, local, (size_t)PIECES * PIECE);
		ARMCI_SET_AGGREGATE_HANDLE(&handle);
		for (int i = 0; i < PIECES; i++)
			CHECK_OK(ARMCI_NbPut(local + i * PIECE, my_slot(k) + i * PIECE, PIECE,
					     k, &handle));
		CHECK_OK(ARMCI_Wait(&handle));
		memset(local, 0, SLOT);
		ARMCI_Fence(k);
		check_slot(k, SLOT, "aggregated puts");
		for (int i = 0; i < PIECES; i++)
			CHECK_OK(ARMCI_NbGet(my_slot(k) + i * PIECE, local + i * PIECE, PIECE,
					     k, &handle));
		CHECK_OK(ARMCI_Wait(&handle));
		ARMCI_UNSET_AGGREGATE_HANDLE(&handle);
		CHECK_BYTES(expected, local, (size_t)PIECES * PIECE,
			    "aggregated gets from rank %d", k);
		/* An ordinary handle again. */
		CHECK_OK(ARMCI_NbGet(my_slot(k), local, SLOT, k, &handle));
		CHECK_OK(ARMCI_Wait(&handle));
		CHECK_BYTES(expected, local, SLOT, "a get after aggregation from rank %d", k);
	}
}

static void test_aggregate_strided_and_acc(void)
{
	enum { ROWS = 16, WIDTH = 8, SETS = 60, APART = 32 };
	int stride_src[] = {WIDTH}, stride_dst[] = {APART}, count[] = {WIDTH, ROWS};
	long scale = 3, *to;
	armci_hdl_t handle;

	conf_section("aggregated strided puts and accumulates");
	ARMCI_INIT_HANDLE(&handle);
	for (int k = 0; k < conf_size; k++) {
		prepare(k, 9);
		memset(expected, 0, SLOT);
		CHECK_OK(ARMCI_Put(expected, my_slot(k), SLOT, k));
		ARMCI_Fence(k);
		ARMCI_SET_AGGREGATE_HANDLE(&handle);
		for (int s = 0; s < SETS; s++)
			CHECK_OK(ARMCI_NbPutS(local, stride_src, my_slot(k) + s * ROWS * APART,
					      stride_dst, count, 1, k, &handle));
		CHECK_OK(ARMCI_Wait(&handle));
		ARMCI_Fence(k);
		for (int s = 0; s < SETS; s++)
			CHECK_OK(ARMCI_NbAccS(ARMCI_ACC_LNG, &scale, local, stride_src,
					      my_slot(k) + s * ROWS * APART, stride_dst, count,
					      1, k, &handle));
		CHECK_OK(ARMCI_Wait(&handle));
		ARMCI_UNSET_AGGREGATE_HANDLE(&handle);
		ARMCI_Fence(k);
		for (int i = 0; i < SETS * ROWS; i++) {
			unsigned long value;

			memcpy(&value, local + i % ROWS * WIDTH, sizeof(value));
			to = (long *)(void *)(expected + i * APART);
			*to = (long)(value * 4); /* put once, added three times, modulo 2^64 */
		}
		check_slot(k, SLOT, "aggregated strided operations");
	}
}

/* Gets of all forms to all ranks at once, waited for in another order. */
static void test_mixture(void)
{
	enum { KINDS = 3, ROWS = 64, WIDTH = 16 };
	armci_hdl_t *handles = conf_alloc(sizeof(*handles) * KINDS * (size_t)conf_size);
	int strides[] = {WIDTH}, count[] = {WIDTH, ROWS};
	void **src = conf_alloc(sizeof(void *) * ROWS),
	     **dst = conf_alloc(sizeof(void *) * ROWS);
	const int bytes = WIDTH * ROWS;

	conf_section("all kinds under way to all ranks");
	for (int k = 0; k < conf_size; k++)
		conf_fill((unsigned char *)bases[conf_rank] + k * SLOT, KINDS * bytes,
			  (uint64_t)conf_rank);
	ARMCI_Barrier();
	memset(local, 0, SLOT);
	for (int k = 0; k < conf_size; k++) {
		unsigned char *to = local + (size_t)k * KINDS * bytes;
		armci_giov_t group = {src, dst, WIDTH, ROWS};
		armci_hdl_t *mine = handles + (size_t)k * KINDS;

		for (int i = 0; i < KINDS; i++)
			ARMCI_INIT_HANDLE(&mine[i]);
		for (int i = 0; i < ROWS; i++) {
			src[i] = my_slot(k) + 2 * bytes + i * WIDTH;
			dst[i] = to + 2 * bytes + i * WIDTH;
		}
		CHECK_OK(ARMCI_NbGet(my_slot(k), to, bytes, k, &mine[0]));
		CHECK_OK(ARMCI_NbGetS(my_slot(k) + bytes, strides, to + bytes, strides, count,
				      1, k, &mine[1]));
		CHECK_OK(ARMCI_NbGetV(&group, 1, k, &mine[2]));
		/* Descriptors may be reused at once. */
		memset(src, 0, sizeof(void *) * ROWS);
	}
	for (int i = KINDS * conf_size - 1; i >= 0; i--)
		CHECK_OK(ARMCI_Wait(&handles[i]));
	for (int k = 0; k < conf_size; k++) {
		conf_fill(expected, (size_t)KINDS * bytes, (uint64_t)k);
		CHECK_BYTES(expected, local + (size_t)k * KINDS * bytes, (size_t)KINDS * bytes,
			    "gets of three forms from rank %d", k);
	}
	free(handles);
	free(src);
	free(dst);
}

static void test_idle_waits(void)
{
	armci_hdl_t handle;

	conf_section("waits for nothing");
	ARMCI_INIT_HANDLE(&handle);
	CHECK_OK(ARMCI_Wait(&handle));
	CHECK_OK(ARMCI_Wait(&handle));
	CHECK_OK(ARMCI_WaitAll());
	for (int k = 0; k < conf_size; k++) {
		CHECK_OK(ARMCI_WaitProc(k));
		CHECK_OK(ARMCI_NbPut(local, my_slot(k), 0, k, &handle));
		CHECK_OK(ARMCI_Wait(&handle));
		CHECK_OK(ARMCI_NbGet(my_slot(k), local, 0, k, NULL));
	}
	CHECK_OK(ARMCI_WaitAll());
	ARMCI_AllFence();
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "nonblocking");
	bases = conf_share((size_t)conf_size * SLOT);
	local = conf_alloc(SLOT);
	expected = conf_alloc(SLOT);
	now = conf_alloc(SLOT);
	test_explicit();
	test_source_reuse();
	test_implicit();
	test_wait_all_with_handles();
	test_test();
	test_aggregate();
	test_aggregate_strided_and_acc();
	test_mixture();
	test_idle_waits();
	ARMCI_Barrier();
	conf_unshare(bases);
	free(local);
	free(expected);
	free(now);
	return conf_end();
}
