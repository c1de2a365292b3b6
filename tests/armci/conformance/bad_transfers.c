/* SPDX-License-Identifier: BSD-3-Clause */
/* Transfers with addresses, ranks, sizes and shapes that are wrong (bad_use.h). */
#include <limits.h>
#include <stddef.h>

#include "bad_use.h"
#include "conf.h"

enum { ROWS = 4 };

static int stride[8] = {64, 512, 4096, 4096, 4096, 4096, 4096, 4096};
static int counts[9] = {8, ROWS, 1, 1, 1, 1, 1, 1, 1};
static int one = 1;

/* ---- Addresses outside every segment ---- */

static void put_outside(void)
{
	ARMCI_Put(bad_local, bad_outside, 8, bad_other());
}

static void put_null(void)
{
	ARMCI_Put(bad_local, NULL, 8, bad_other());
}

static void get_outside(void)
{
	ARMCI_Get(bad_outside, bad_local, 8, bad_other());
}

static void acc_outside(void)
{
	ARMCI_Acc(ARMCI_ACC_INT, &one, bad_local, bad_outside, 8, bad_other());
}

static void puts_outside(void)
{
	ARMCI_PutS(bad_local, stride, bad_outside, stride, counts, 1, bad_other());
}

static void gets_outside(void)
{
	ARMCI_GetS(bad_outside, stride, bad_local, stride, counts, 1, bad_other());
}

static void accs_outside(void)
{
	ARMCI_AccS(ARMCI_ACC_INT, &one, bad_local, stride, bad_outside, stride, counts, 1,
		   bad_other());
}

/* The last of two segments is outside. */
static armci_giov_t bad_vector(bool read)
{
	static void *near_side[2], *far_side[2];

	near_side[0] = bad_local;
	near_side[1] = bad_local + 8;
	far_side[0] = bad_there();
	far_side[1] = bad_outside;
	return (armci_giov_t){read ? far_side : near_side, read ? near_side : far_side, 8, 2};
}

static void putv_outside(void)
{
	armci_giov_t vector = bad_vector(false);

	ARMCI_PutV(&vector, 1, bad_other());
}

static void getv_outside(void)
{
	armci_giov_t vector = bad_vector(true);

	ARMCI_GetV(&vector, 1, bad_other());
}

static void accv_outside(void)
{
	armci_giov_t vector = bad_vector(false);

	ARMCI_AccV(ARMCI_ACC_INT, &one, &vector, 1, bad_other());
}

static void nbput_outside(void)
{
	ARMCI_NbPut(bad_local, bad_outside, 8, bad_other(), NULL);
	ARMCI_WaitAll();
}

static void nbgets_outside(void)
{
	ARMCI_NbGetS(bad_outside, stride, bad_local, stride, counts, 1, bad_other(), NULL);
	ARMCI_WaitAll();
}

static void rmw_outside(void)
{
	long old;

	ARMCI_Rmw(ARMCI_FETCH_AND_ADD_LONG, &old, bad_outside, 1, bad_other());
}

static void put_value_outside(void)
{
	ARMCI_PutValueInt(1, bad_outside, bad_other());
}

static void get_value_outside(void)
{
	ARMCI_GetValueLong(bad_outside, bad_other());
}

static void flag_outside(void)
{
	ARMCI_Put_flag(bad_local, bad_there(), 8, (int *)(void *)bad_outside, 1, bad_other());
}

static void put_past_end(void)
{
	ARMCI_Put(bad_local, bad_there() + BAD_BYTES / 2, BAD_BYTES, bad_other());
}

static void puts_past_end(void)
{
	int long_stride[] = {BAD_BYTES / 2};

	ARMCI_PutS(bad_local, stride, bad_there(), long_stride, counts, 1, bad_other());
}

static void get_before_begin(void)
{
	ARMCI_Get(bad_there() - 1, bad_local, 8, bad_other());
}

static void put_freed(void)
{
	ARMCI_Put(bad_local, bad_there(), 8, bad_other());
}

static void get_freed(void)
{
	ARMCI_Get(bad_there(), bad_local, 8, bad_other());
}

/* ---- Ranks out of range ---- */

static void put_rank(void)
{
	ARMCI_Put(bad_local, bad_there(), 8, conf_size);
}

static void get_rank(void)
{
	ARMCI_Get(bad_there(), bad_local, 8, -1);
}

static void accs_rank(void)
{
	ARMCI_AccS(ARMCI_ACC_INT, &one, bad_local, stride, bad_there(), stride, counts, 1,
		   INT_MAX);
}

static void rmw_rank(void)
{
	ARMCI_Rmw(ARMCI_FETCH_AND_ADD, bad_local, bad_there(), 1, conf_size + 5);
}

static void fence_rank(void)
{
	ARMCI_Fence(conf_size);
}

static void wait_rank(void)
{
	ARMCI_WaitProc(-7);
}

static void notify_rank(void)
{
	armci_notify(conf_size);
}

static void send_rank(void)
{
	armci_msg_snd(1, bad_local, 8, conf_size);
}

static void receive_rank(void)
{
	armci_msg_rcv(1, bad_local, 8, NULL, conf_size + 1);
}

static void bcast_root(void)
{
	armci_msg_bcast(bad_local, 8, conf_size);
}

static void absolute_id_rank(void)
{
	ARMCI_Group world;

	ARMCI_Group_get_world(&world);
	ARMCI_Absolute_id(&world, conf_size);
}

static void domain_rank(void)
{
	armci_domain_id(ARMCI_DOMAIN_SMP, conf_size);
}

static void group_rank(void)
{
	ARMCI_Group group;
	int list[] = {0, conf_size};

	ARMCI_Group_create(2, list, &group);
}

/* ---- Sizes and shapes ---- */

static void put_negative(void)
{
	ARMCI_Put(bad_local, bad_there(), -1, bad_other());
}

static void get_negative(void)
{
	ARMCI_Get(bad_there(), bad_local, INT_MIN, bad_other());
}

static void put_huge(void)
{
	ARMCI_Put(bad_local, bad_there(), INT_MAX, bad_other());
}

static void malloc_negative(void)
{
	void *pointers[64];

	ARMCI_Malloc(pointers, -1);
}

static void malloc_local_negative(void)
{
	ARMCI_Malloc_local(-8);
}

static void overflow(void)
{
	int far_apart[] = {INT_MAX, INT_MAX, INT_MAX};
	int many[] = {INT_MAX, INT_MAX, INT_MAX, INT_MAX};

	ARMCI_PutS(bad_local, far_apart, bad_there(), far_apart, many, 3, bad_other());
}

static void count_negative(void)
{
	int bad[] = {8, -1};

	ARMCI_GetS(bad_there(), stride, bad_local, stride, bad, 1, bad_other());
}

static void levels_negative(void)
{
	ARMCI_PutS(bad_local, stride, bad_there(), stride, counts, -1, bad_other());
}

static void levels_many(void)
{
	ARMCI_GetS(bad_there(), stride, bad_local, stride, counts, ARMCI_MAX_STRIDE_LEVEL,
		   bad_other());
}

static void vector_negative(void)
{
	armci_giov_t vector = bad_vector(false);

	vector.bytes = -8;
	ARMCI_PutV(&vector, 1, bad_other());
}

static void vector_length(void)
{
	armci_giov_t vector = bad_vector(true);

	vector.ptr_array_len = -1;
	ARMCI_GetV(&vector, 1, bad_other());
}

static void vector_sets(void)
{
	armci_giov_t vector = bad_vector(false);

	ARMCI_PutV(&vector, -1, bad_other());
}

static void acc_type(void)
{
	ARMCI_Acc(99, &one, bad_local, bad_there(), 8, bad_other());
}

static void acc_part(void)
{
	ARMCI_Acc(ARMCI_ACC_DBL, bad_local, bad_local, bad_there(), 12, bad_other());
}

static void rmw_op(void)
{
	ARMCI_Rmw(77, bad_local, bad_there(), 1, bad_other());
}

static void rmw_alignment(void)
{
	ARMCI_Rmw(ARMCI_FETCH_AND_ADD_LONG, bad_local, bad_there() + 3, 1, bad_other());
}

const struct bad_mode bad_transfers[] = {
	{"put_outside", "ARMCI_Put", ALONE, put_outside},
	{"put_null", "ARMCI_Put", ALONE, put_null},
	{"get_outside", "ARMCI_Get", ALONE, get_outside},
	{"acc_outside", "ARMCI_Acc", ALONE, acc_outside},
	{"puts_outside", "ARMCI_PutS", ALONE, puts_outside},
	{"gets_outside", "ARMCI_GetS", ALONE, gets_outside},
	{"accs_outside", "ARMCI_AccS", ALONE, accs_outside},
	{"putv_outside", "ARMCI_PutV", ALONE, putv_outside},
	{"getv_outside", "ARMCI_GetV", ALONE, getv_outside},
	{"accv_outside", "ARMCI_AccV", ALONE, accv_outside},
	{"nbput_outside", "ARMCI_NbPut", ALONE, nbput_outside},
	{"nbgets_outside", "ARMCI_NbGetS", ALONE, nbgets_outside},
	{"rmw_outside", "ARMCI_Rmw", ALONE, rmw_outside},
	{"put_value_outside", "ARMCI_PutValueInt", ALONE, put_value_outside},
	{"get_value_outside", "ARMCI_GetValueLong", ALONE, get_value_outside},
	{"flag_outside", "ARMCI_Put_flag", ALONE, flag_outside},
	{"put_past_end", "ARMCI_Put", ALONE, put_past_end},
	{"puts_past_end", "ARMCI_PutS", ALONE, puts_past_end},
	{"get_before_begin", "ARMCI_Get", ALONE, get_before_begin},
	{"put_freed", "ARMCI_Put", ALONE, put_freed},
	{"get_freed", "ARMCI_Get", ALONE, get_freed},
	{"put_rank", "ARMCI_Put", ALONE, put_rank},
	{"get_rank", "ARMCI_Get", ALONE, get_rank},
	{"accs_rank", "ARMCI_AccS", ALONE, accs_rank},
	{"rmw_rank", "ARMCI_Rmw", ALONE, rmw_rank},
	{"fence_rank", "ARMCI_Fence", ALONE, fence_rank},
	{"wait_rank", "ARMCI_WaitProc", ALONE, wait_rank},
	{"notify_rank", "armci_notify", ALONE, notify_rank},
	{"send_rank", "armci_msg_snd", ALONE, send_rank},
	{"receive_rank", "armci_msg_rcv", ALONE, receive_rank},
	{"bcast_root", "armci_msg_bcast", ALL, bcast_root},
	{"absolute_id_rank", "ARMCI_Absolute_id", ALONE, absolute_id_rank},
	{"domain_rank", "armci_domain_id", ALONE, domain_rank},
	{"group_rank", "ARMCI_Group_create", ALL, group_rank},
	{"put_negative", "ARMCI_Put", ALONE, put_negative},
	{"get_negative", "ARMCI_Get", ALONE, get_negative},
	{"put_huge", "ARMCI_Put", ALONE, put_huge},
	{"malloc_negative", "ARMCI_Malloc", ALL, malloc_negative},
	{"malloc_local_negative", "ARMCI_Malloc_local", ALONE, malloc_local_negative},
	{"overflow", "ARMCI_PutS", ALONE, overflow},
	{"count_negative", "ARMCI_GetS", ALONE, count_negative},
	{"levels_negative", "ARMCI_PutS", ALONE, levels_negative},
	{"levels_many", "ARMCI_GetS", ALONE, levels_many},
	{"vector_negative", "ARMCI_PutV", ALONE, vector_negative},
	{"vector_length", "ARMCI_GetV", ALONE, vector_length},
	{"vector_sets", "ARMCI_PutV", ALONE, vector_sets},
	{"acc_type", "ARMCI_Acc", ALONE, acc_type},
	{"acc_part", "ARMCI_Acc", ALONE, acc_part},
	{"rmw_op", "ARMCI_Rmw", ALONE, rmw_op},
	{"rmw_alignment", "ARMCI_Rmw", ALONE, rmw_alignment},
	{NULL, NULL, ALONE, NULL},
};
