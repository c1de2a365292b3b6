/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory model: fences, flags, barriers, and who sees what when; targets look by plain
 * loads. */
#include <stdlib.h>
#include <string.h>

#include "conf.h"

enum { BIG = 700 * 1000, TAG = 17 };

/* In each rank's segment, a part of each writer. */
struct part {
	int flag;
	int counter;
	long words[64];
	unsigned char big[BIG];
};

static void **bases;
static unsigned char *pattern;

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

static void clear_flags(void)
{
	for (int r = 0; r < conf_size; r++)
		part(conf_rank, r)->flag = part(conf_rank, r)->counter = 0;
	ARMCI_Barrier();
}

static void test_own_order(void)
{
	long value, got, one = 1;

	conf_section("one's own operations on one place keep their order");
	for (int i = 0; i < conf_times(200); i++) {
		int k = (conf_rank + i) % conf_size;
		long *word = &part(k, conf_rank)->words[i % 64];

		value = i;
		CHECK_OK(ARMCI_Put(&value, word, sizeof(value), k));
		CHECK_OK(ARMCI_Get(word, &got, sizeof(got), k));
		CHECK_INT(i, got, "a get after a put, rank %d", k);
		CHECK_OK(ARMCI_Acc(ARMCI_ACC_LNG, &one, &value, word, sizeof(value), k));
		CHECK_OK(ARMCI_Get(word, &got, sizeof(got), k));
		CHECK_INT(2 * i, got, "a get after an accumulate, rank %d", k);
		value = -i;
		CHECK_OK(ARMCI_Put(&value, word, sizeof(value), k));
		value = i + 1;
		CHECK_OK(ARMCI_Put(&value, word, sizeof(value), k));
		CHECK_OK(ARMCI_Get(word, &got, sizeof(got), k));
		CHECK_INT(i + 1, got, "a get after two puts, rank %d", k);
	}
}

/* As above with transfers of several sizes, whose ways through the library differ. */
static void test_own_order_of_sizes(void)
{
	static const int sizes[] = {1, 8, 100, 3000, 20000, BIG};
	unsigned char *got = conf_alloc(BIG);

	conf_section("order of transfers of different sizes");
	for (int k = 0; k < conf_size; k++) {
		unsigned char *there = part(k, conf_rank)->big;

		for (int i = 0; i < 36; i++) {
			int first = sizes[i / 6], second = sizes[i % 6];
			int least = first < second ? first : second;

			memset(got, 1, BIG);
			CHECK_OK(ARMCI_Put(got, there, first, k));
			conf_fill(pattern, (size_t)second, (uint64_t)i);
			CHECK_OK(ARMCI_Put(pattern, there, second, k));
			CHECK_OK(ARMCI_Get(there, got, least, k));
			CHECK_BYTES(pattern, got, (size_t)least,
				    "put of %d bytes after one of %d, rank %d", second, first,
				    k);
		}
	}
	free(got);
}

/* Put, fence, message: the receiver sees the data by plain loads, and a third rank by a get. */
static void test_fence(void)
{
	static const int sizes[] = {1, 8, 5000, BIG};
	unsigned char *got = conf_alloc(BIG);

	conf_section("put, fence, message");
	for (int i = 0; i < 12; i++) {
		int bytes = sizes[i % 4], token = i, third;

		conf_fill(pattern, (size_t)bytes, (uint64_t)(conf_rank + i));
		CHECK_OK(ARMCI_Put(pattern, part(right(), conf_rank)->big, bytes, right()));
		if (i % 2 == 0)
			ARMCI_Fence(right());
		else
			ARMCI_AllFence();
		armci_msg_snd(TAG, &token, sizeof(token), right());
		armci_msg_rcv(TAG, &token, sizeof(token), NULL, left());
		CHECK_INT(i, token, "message");
		conf_fill(pattern, (size_t)bytes, (uint64_t)(left() + i));
		CHECK_BYTES(pattern, part(conf_rank, left())->big, (size_t)bytes,
			    "%d bytes, seen by their owner", bytes);
		/* On to the right: it looks at what was put into my segment. */
		armci_msg_snd(TAG, &token, sizeof(token), right());
		armci_msg_rcv(TAG, &token, sizeof(token), NULL, left());
		third = (left() + conf_size - 1) % conf_size;
		conf_fill(pattern, (size_t)bytes, (uint64_t)(third + i));
		CHECK_OK(ARMCI_Get(part(left(), third)->big, got, bytes, left()));
		CHECK_BYTES(pattern, got, (size_t)bytes,
			    "%d bytes of rank %d at rank %d, seen by a third", bytes, third,
			    left());
		ARMCI_Barrier();
	}
	free(got);
}

/* ARMCI_Barrier alone completes everything of all, also accumulates and what has no handle. */
static void test_barrier(void)
{
	long one = 1, values[64];

	conf_section("a barrier completes everything");
	for (int i = 0; i < 64; i++)
		values[i] = i;
	for (int n = 0; n < conf_times(30); n++) {
		memset(part(conf_rank, 0)->words, 0, sizeof(values));
		ARMCI_Barrier();
		for (int k = 0; k < conf_size; k++) {
			struct part *to = part((conf_rank + k) % conf_size, 0);
			int proc = (conf_rank + k) % conf_size;

			CHECK_OK(ARMCI_Acc(ARMCI_ACC_LNG, &one, values, to->words,
					   sizeof(values), proc));
			CHECK_OK(ARMCI_NbPut(values, part(proc, conf_rank)->big, sizeof(values),
					     proc, NULL));
		}
		ARMCI_Barrier();
		for (int i = 0; i < 64; i++)
			CHECK_INT((long)i * conf_size, part(conf_rank, 0)->words[i],
				  "word %d, accumulated by all", i);
		for (int r = 0; r < conf_size; r++)
			CHECK_BYTES(values, part(conf_rank, r)->big, sizeof(values),
				    "put by rank %d without handle", r);
		ARMCI_Barrier();
	}
}

/*
 * One rank puts, its right neighbour spins on its own memory without any call; when it sees the
 * flag, all data must be there. The end is looked at first: it would be the last to come.
 */
static void test_put_flag(void)
{
	static const int sizes[] = {0, 1, 8, 700, 40000, BIG};
	struct part *to = part(right(), conf_rank), *from = part(conf_rank, left());

	conf_section("ARMCI_Put_flag: the data come before the flag");
	clear_flags();
	for (int i = 0; i < conf_often(24); i++) {
		int bytes = sizes[i % 6], sender = i / 6 % conf_size;

		conf_fill(pattern, (size_t)bytes, (uint64_t)i);
		ARMCI_Barrier();
		if (conf_rank == sender)
			CHECK_OK(ARMCI_Put_flag(pattern, to->big, bytes, &to->flag, i + 1,
						right()));
		if (left() == sender) {
			conf_await_int(&from->flag, i + 1, "the flag");
			if (bytes > 0)
				CHECK_INT(pattern[bytes - 1], from->big[bytes - 1],
					  "the last of %d bytes, when the flag is up", bytes);
			CHECK_BYTES(pattern, from->big, (size_t)bytes,
				    "%d bytes, when the flag is up", bytes);
		}
		ARMCI_Barrier();
	}
}

/* Rows of 40 bytes, 64 apart. */
static void test_puts_flag(void)
{
	enum { WIDTH = 40, APART = 64, ROWS = 5000 };
	int src_stride[] = {WIDTH}, dst_stride[] = {APART}, count[] = {WIDTH, ROWS};
	struct part *to = part(right(), conf_rank), *from = part(conf_rank, left());

	conf_section("ARMCI_PutS_flag: the data come before the flag");
	clear_flags();
	for (int i = 0; i < conf_often(16); i++) {
		int sender = i / 4 % conf_size, result = 0;

		count[1] = i % 4 == 0 ? ROWS : 1 + i;
		conf_fill(pattern, WIDTH * ROWS, (uint64_t)i);
		ARMCI_Barrier();
		if (conf_rank == sender)
			result = ARMCI_PutS_flag(pattern, src_stride, to->big, dst_stride,
						 count, 1, &to->flag, i + 1, right());
		if (!conf_reference()) /* whose result means nothing */
			CHECK_INT(0, result, "result of ARMCI_PutS_flag");
		if (left() == sender)
			conf_await_int(&from->flag, i + 1, "the flag");
		for (int row = count[1] - 1; left() == sender && row >= 0; row--)
			CHECK_BYTES(pattern + row * WIDTH, from->big + row * APART, WIDTH,
				    "row %d of %d, when the flag is up", row, count[1]);
		ARMCI_Barrier();
	}
}

/* Puts and accumulates arrive at a target that calls nothing. */
static void test_spin_on_memory(void)
{
	int one = 1, scale = 1;

	conf_section("a target that spins on plain memory");
	clear_flags();
	for (int i = 1; i <= conf_times(50); i++) {
		struct part *to = part(right(), conf_rank), *from = part(conf_rank, left());

		CHECK_OK(ARMCI_Put(&i, &to->flag, sizeof(i), right()));
		conf_await_int(&from->flag, i, "an int that is put");
		CHECK_OK(ARMCI_Acc(ARMCI_ACC_INT, &scale, &one, &to->counter, sizeof(one),
				   right()));
		conf_await_int(&from->counter, i, "an int that is accumulated");
		armci_msg_barrier(); /* that nobody is a value ahead */
	}
}

/* A store of the owner, a message, a get; with and without the calls around one's own accesses.
 */
static void test_owner_stores(void)
{
	long got;

	conf_section("stores of the owner are seen by others");
	for (int i = 0; i < conf_times(60); i++) {
		struct part *mine = part(conf_rank, conf_rank);
		int token = i;

		if (i % 2 == 0)
			ARMCI_Access_begin(mine);
		mine->words[i % 64] = 1000L * i + conf_rank;
		if (i % 2 == 0)
			ARMCI_Access_end(mine);
		armci_msg_snd(TAG, &token, sizeof(token), right());
		armci_msg_rcv(TAG, &token, sizeof(token), NULL, left());
		CHECK_OK(ARMCI_Get(&part(left(), left())->words[i % 64], &got, sizeof(got),
				   left()));
		CHECK_INT(1000L * i + left(), got, "what rank %d stored", left());
		armci_msg_barrier();
	}
}

/* Flags among all pairs, in a ring of passes: a value goes round by puts and plain loads alone.
 */
static void test_relay(void)
{
	int rounds = conf_times(30);

	conf_section("a value handed round by puts and plain loads");
	clear_flags();
	for (int i = 1; i <= rounds; i++) {
		int *mine = &part(conf_rank, 0)->flag, *next = &part(right(), 0)->flag;
		int value = 2 * i;

		if (conf_rank == 0) {
			CHECK_OK(ARMCI_PutValueInt(value, next, right()));
			conf_await_int(mine, value, "the value that came round");
		} else {
			conf_await_int(mine, value, "the value from the left");
			CHECK_OK(ARMCI_PutValueInt(value, next, right()));
		}
	}
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "fence");
	bases = conf_share(sizeof(struct part) * (size_t)conf_size);
	pattern = conf_alloc(BIG);
	test_own_order();
	test_own_order_of_sizes();
	test_fence();
	test_barrier();
	test_put_flag();
	test_puts_flag();
	test_spin_on_memory();
	test_owner_stores();
	test_relay();
	ARMCI_Barrier();
	conf_unshare(bases);
	free(pattern);
	return conf_end();
}
