/* SPDX-License-Identifier: BSD-3-Clause */
/* The profiling names: PARMCI_… does the work, and ARMCI_… may be replaced by a program's own
 * function. */
#include <stdlib.h>
#include <string.h>

#include "conf.h"

static int puts_seen, barriers_seen;

/* What a profiling library does: these replace the library's weak symbols in the whole program.
 */
int ARMCI_Put(void *src, void *dst, int size, int target)
{
	puts_seen++;
	return PARMCI_Put(src, dst, size, target);
}

void ARMCI_Barrier(void)
{
	barriers_seen++;
	PARMCI_Barrier();
}

static void **bases;

static void test_replacement(void)
{
	int before = puts_seen, barriers = barriers_seen, value = conf_rank;

	conf_section("functions replaced by the program");
	CHECK_OK(ARMCI_Put(&value, bases[conf_rank], sizeof(value), conf_rank));
	CHECK_INT(before + 1, puts_seen, "puts that were seen");
	ARMCI_Barrier();
	CHECK_INT(barriers + 1, barriers_seen, "barriers that were seen");
	conf_section("functions replaced in other parts of the program");
	CHECK_INT(barriers + 2, barriers_seen,
		  "barriers that were seen, one by the section's end");
}

static void test_transfers(int k)
{
	long values[] = {1, 2, 3, 4}, got[4] = {0}, one = 1;
	int stride[] = {8}, count[] = {8, 4};
	void *src[] = {&values[0], &values[2]}, *dst[2];
	armci_giov_t group = {src, dst, 8, 2};
	long *there = (long *)bases[k] + (long)conf_rank * 4;

	dst[0] = &there[0];
	dst[1] = &there[2];
	CHECK_OK(PARMCI_Put(values, there, sizeof(values), k));
	CHECK_OK(PARMCI_Acc(ARMCI_ACC_LNG, &one, values, there, sizeof(values), k));
	CHECK_OK(PARMCI_AccS(ARMCI_ACC_LNG, &one, values, stride, there, stride, count, 1, k));
	CHECK_OK(PARMCI_AccV(ARMCI_ACC_LNG, &one, &group, 1, k));
	PARMCI_Fence(k);
	CHECK_OK(PARMCI_Get(there, got, sizeof(got), k));
	for (int i = 0; i < 4; i++)
		CHECK_INT((i + 1) * (i % 2 == 0 ? 4 : 3), got[i], "word %d at rank %d", i, k);
	CHECK_OK(PARMCI_PutS(values, stride, there, stride, count, 1, k));
	CHECK_OK(PARMCI_GetS(there, stride, got, stride, count, 1, k));
	CHECK_BYTES(values, got, sizeof(got), "strided at rank %d", k);
	CHECK_OK(PARMCI_PutV(&group, 1, k));
	CHECK_OK(PARMCI_PutValueLong(99, &there[1], k));
	CHECK_INT(99, PARMCI_GetValueLong(&there[1], k), "a value at rank %d", k);
	PARMCI_AllFence();
}

static void test_nonblocking(int k)
{
	long value = 7, got = 0;
	long *there = (long *)bases[k] + (long)conf_rank * 4;
	armci_hdl_t handle;

	ARMCI_INIT_HANDLE(&handle);
	CHECK_OK(PARMCI_NbPut(&value, there, sizeof(value), k, &handle));
	CHECK_OK(PARMCI_Wait(&handle));
	PARMCI_Fence(k);
	CHECK_OK(PARMCI_NbGet(there, &got, sizeof(got), k, NULL));
	CHECK_OK(PARMCI_WaitProc(k));
	CHECK_INT(7, got, "a value at rank %d", k);
	CHECK_OK(PARMCI_WaitAll());
	CHECK_INT(0, PARMCI_Test(&handle), "PARMCI_Test of an idle handle");
	CHECK_OK(PARMCI_Rmw(ARMCI_FETCH_AND_ADD_LONG, &got, there, 5, k));
	CHECK_INT(7, got, "PARMCI_Rmw at rank %d", k);
}

static void test_others(void)
{
	ARMCI_Group world;
	void **more = conf_alloc(sizeof(void *) * (size_t)conf_size), *mine;

	conf_section("memory, mutexes and barriers");
	ARMCI_Group_get_world(&world);
	CHECK_INT(1, PARMCI_Initialized(), "PARMCI_Initialized");
	CHECK_OK(PARMCI_Malloc(more, 100));
	PARMCI_Access_begin(more[conf_rank]);
	memset(more[conf_rank], 1, 100);
	PARMCI_Access_end(more[conf_rank]);
	parmci_msg_barrier();
	parmci_msg_group_barrier(&world);
	CHECK_OK(PARMCI_Free(more[conf_rank]));
	mine = PARMCI_Malloc_local(100);
	CHECK(mine != NULL, "PARMCI_Malloc_local gives NULL");
	CHECK_OK(PARMCI_Free_local(mine));
	CHECK_OK(PARMCI_Create_mutexes(1));
	PARMCI_Lock(0, 0);
	PARMCI_Unlock(0, 0);
	CHECK_OK(PARMCI_Destroy_mutexes());
	free(more);
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "profiling");
	bases = conf_share(4 * sizeof(long) * (size_t)conf_size);
	test_replacement();
	conf_section("transfers");
	for (int k = 0; k < conf_size; k++)
		test_transfers(k);
	conf_section("non-blocking operations");
	for (int k = 0; k < conf_size; k++)
		test_nonblocking(k);
	test_others();
	conf_unshare(bases);
	return conf_end();
}
