/* SPDX-License-Identifier: BSD-3-Clause */
/* What ComEx and the original have beside ARMCI-MPI: notifications, group fence, memory of one
 * rank, one more put. */
#include <stdlib.h>
#include <string.h>

#include <armcix.h>

#include "conf.h"

enum { BIG = 500 * 1000, TAG = 9 };

struct part {
	int flag;
	unsigned char big[BIG];
};

static void **bases;
static unsigned char *pattern;

/* Notifications sent and waited for before the section that comes next. */
static int notified_right, notified_by_left;

static struct part *part(int owner, int writer)
{
	return (struct part *)bases[owner] + writer;
}

static int right(void)
{
	return (conf_rank + 1) % conf_size;
}

static int left(void)
{
	return (conf_rank + conf_size - 1) % conf_size;
}

/*
 * Puts without a fence, then a notification: who is notified sees the data. One rank puts, its
 * right neighbour waits; the end is looked at first: it would be the last to come.
 */
static void test_notify(void)
{
	static const int sizes[] = {1, 8, 3000, BIG};
	const unsigned char *big = part(conf_rank, left())->big;
	int sent = 0, waited = 0;

	conf_section("put, notify, wait for it");
	for (int i = 0; i < conf_often(16); i++) {
		int bytes = sizes[i % 4], sender = i / 4 % conf_size, result, number;

		conf_fill(pattern, (size_t)bytes, (uint64_t)i);
		ARMCI_Barrier();
		if (conf_rank == sender) {
			CHECK_OK(ARMCI_Put(pattern, part(right(), conf_rank)->big, bytes,
					   right()));
			CHECK_INT(++sent, armci_notify(right()), "notifications sent");
		}
		if (left() == sender) {
			result = armci_notify_wait(left(), &number);
			CHECK_INT(pattern[bytes - 1], big[bytes - 1],
				  "the last of %d bytes, when notified", bytes);
			CHECK_BYTES(pattern, big, (size_t)bytes, "%d bytes, when notified",
				    bytes);
			CHECK_INT(++waited, number, "notifications waited for");
			CHECK_INT(waited, result, "notifications that have arrived");
		}
		ARMCI_Barrier();
	}
	notified_right = sent;
	notified_by_left = waited;
}

/* Several in advance, from everybody; also strided puts and accumulates come before. */
static void test_notify_all(void)
{
	enum { AHEAD = 5 };
	int stride[] = {16}, count[] = {8, 100}, dense[] = {8}, waited, scale = 1;

	conf_section("notifications in advance, of all by all");
	memset(part(conf_rank, 0), 0, sizeof(struct part) * (size_t)conf_size);
	conf_fill(pattern, 800, 1);
	ARMCI_Barrier();
	for (int k = 0; k < conf_size; k++) {
		int first = k == right() ? notified_right : 0;

		CHECK_OK(ARMCI_AccS(ARMCI_ACC_INT, &scale, pattern, dense,
				    part(k, conf_rank)->big, stride, count, 1, k));
		for (int i = 0; i < AHEAD; i++)
			CHECK_INT(first + i + 1, armci_notify(k), "notifications to rank %d",
				  k);
	}
	for (int k = 0; k < conf_size; k++) {
		int first = k == left() ? notified_by_left : 0;

		for (int i = 0; i < AHEAD; i++) {
			armci_notify_wait(k, &waited);
			CHECK_INT(first + i + 1, waited, "waited for rank %d", k);
		}
		for (int i = 0; i < 100; i++)
			CHECK_BYTES(pattern + i * 8, part(conf_rank, k)->big + i * 16, 8,
				    "row %d of rank %d, when notified", i, k);
	}
}

static void test_group_fence(void)
{
	ARMCI_Group world, half;
	int members, token = 0;

	conf_section("ARMCI_GroupFence");
	ARMCI_Group_get_world(&world);
	CHECK_OK(ARMCIX_Group_split(&world, conf_rank % 2, conf_rank, &half));
	ARMCI_Group_size(&half, &members);
	for (int n = 0; n < 8; n++) {
		conf_fill(pattern, BIG, (uint64_t)(conf_rank + n));
		for (int i = 0; i < members; i++) {
			int k = ARMCI_Absolute_id(&half, i);

			CHECK_OK(ARMCI_Put(pattern, part(k, conf_rank)->big, BIG, k));
		}
		ARMCI_GroupFence(n % 2 == 0 ? &half : &world);
		for (int i = 0; i < members; i++)
			armci_msg_snd(TAG, &token, sizeof(token), ARMCI_Absolute_id(&half, i));
		for (int i = 0; i < members; i++) {
			int k = ARMCI_Absolute_id(&half, i);

			armci_msg_rcv(TAG, &token, sizeof(token), NULL, k);
			conf_fill(pattern, BIG, (uint64_t)(k + n));
			CHECK_BYTES(pattern, part(conf_rank, k)->big, BIG,
				    "put by rank %d before its fence", k);
		}
		ARMCI_Barrier();
	}
	ARMCI_Group_free(&half);
}

static void test_puts_flag_dir(void)
{
	enum { WIDTH = 24, APART = 50, ROWS = 4000 };
	int src_stride[] = {WIDTH}, dst_stride[] = {APART}, count[] = {WIDTH, ROWS};
	struct part *to = part(right(), conf_rank), *from = part(conf_rank, left());

	conf_section("ARMCI_PutS_flag_dir");
	from->flag = 0;
	for (int i = 0; i < conf_often(12); i++) {
		int sender = i % conf_size;

		conf_fill(pattern, WIDTH * ROWS, (uint64_t)i);
		ARMCI_Barrier();
		if (conf_rank == sender)
			CHECK_OK(ARMCI_PutS_flag_dir(pattern, src_stride, to->big, dst_stride,
						     count, 1, &to->flag, i + 1, right()));
		if (left() == sender)
			conf_await_int(&from->flag, i + 1, "the flag");
		for (int row = ROWS - 1; left() == sender && row >= 0; row--)
			CHECK_BYTES(pattern + row * WIDTH, from->big + row * APART, WIDTH,
				    "row %d, when the flag is up", row);
		ARMCI_Barrier();
	}
}

static void test_put1(void)
{
	conf_section("ARMCI_Put1");
	conf_fill(pattern, 1000, (uint64_t)conf_rank);
	CHECK_OK(ARMCI_Put1(pattern, part(right(), conf_rank)->big, 1000, right()));
	ARMCI_Barrier();
	conf_fill(pattern, 1000, (uint64_t)left());
	CHECK_BYTES(pattern, part(conf_rank, left())->big, 1000, "put by the left neighbour");
}

/* Rank owner makes memory alone and sends its description; the others use it. */
static void use_memory_of(int owner)
{
	enum { BYTES = 40000 };
	armci_meminfo_t info;
	unsigned char *base, *got = conf_alloc(BYTES);
	int share = BYTES / conf_size;

	memset(&info, 0, sizeof(info));
	if (conf_rank == owner) {
		ARMCI_Memget(BYTES, &info, 0);
		CHECK_INT(owner, info.cpid, "creator of memory");
		CHECK_INT(BYTES, info.size, "size of memory");
		CHECK(info.addr != NULL && info.armci_addr != NULL, "addresses are %p and %p",
		      (void *)info.addr, (void *)info.armci_addr);
		conf_fill(info.addr, BYTES, (uint64_t)owner);
	}
	armci_msg_brdcst(&info, sizeof(info), owner);
	base = ARMCI_Memat(&info, 0);
	CHECK(base != NULL, "ARMCI_Memat gives NULL");
	if (conf_rank == owner)
		armci_set_mem_offset(base);
	CHECK_OK(ARMCI_Get(base, got, BYTES, owner));
	conf_fill(pattern, BYTES, (uint64_t)owner);
	CHECK_BYTES(pattern, got, BYTES, "memory of rank %d", owner);
	ARMCI_Memdt(&info, 0);
	ARMCI_Barrier();

	base = ARMCI_Memat(&info, (long)share * conf_rank);
	memset(got, conf_rank + 1, BYTES);
	CHECK_OK(ARMCI_Put(got, base, share, owner));
	ARMCI_Memdt(&info, (long)share * conf_rank);
	ARMCI_Barrier();
	for (int i = 0; conf_rank == owner && i < share * conf_size; i++)
		CHECK_INT(i / share + 1, (unsigned char)info.addr[i], "byte %d of rank %d", i,
			  i / share);
	ARMCI_Barrier();
	if (conf_rank != owner)
		ARMCI_Memctl(&info);
	ARMCI_Barrier();
	if (conf_rank == owner)
		ARMCI_Memctl(&info);
	CHECK(info.addr == NULL && info.armci_addr == NULL,
	      "after ARMCI_Memctl the addresses are %p and %p", (void *)info.addr,
	      (void *)info.armci_addr);
	free(got);
}

static void test_memget(void)
{
	conf_section("memory that one rank makes alone");
	for (int n = 0; n < 3; n++) {
		for (int owner = 0; owner < conf_size; owner++)
			use_memory_of(owner);
	}
}

/* Thousands of pieces, by each rank at its own pace. */
static void test_many_memget(void)
{
	enum { KEPT = 50 };
	armci_meminfo_t *kept = conf_alloc(sizeof(*kept) * KEPT);
	uint64_t state = (uint64_t)conf_rank;

	conf_section("thousands of pieces of such memory");
	for (int i = 0; i < conf_times(3000) + KEPT; i++) {
		armci_meminfo_t *info = &kept[i % KEPT];

		if (i >= KEPT) {
			CHECK_INT((unsigned char)(i % KEPT), (unsigned char)info->addr[0],
				  "first byte of piece %d", i - KEPT);
			ARMCI_Memctl(info);
		}
		ARMCI_Memget((size_t)(1 + conf_below(&state, 3000)), info, 0);
		memset(info->addr, i % KEPT, info->size);
	}
	for (int i = 0; i < KEPT; i++)
		ARMCI_Memctl(&kept[i]);
	free(kept);
}

static void test_same_node(void)
{
	conf_section("armci_sameclusnode");
	for (int k = 0; k < conf_size; k++)
		CHECK_INT(ARMCI_Same_node(k), armci_sameclusnode(k),
			  "armci_sameclusnode of rank %d", k);
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "extras");
	bases = conf_share(sizeof(struct part) * (size_t)conf_size);
	pattern = conf_alloc(BIG);
	test_notify();
	test_notify_all();
	test_group_fence();
	test_puts_flag_dir();
	test_put1();
	test_memget();
	test_many_memget();
	test_same_node();
	ARMCI_Barrier();
	conf_unshare(bases);
	free(pattern);
	return conf_end();
}
