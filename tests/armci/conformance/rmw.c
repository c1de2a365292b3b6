/* SPDX-License-Identifier: BSD-3-Clause */
/* Read-modify-write: four operations, contention of all ranks, coherence with the owner's
 * stores. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"

/* The two sets of constants: this header's and the original's. */
struct ops {
	const char *name;
	int add, add_long, swap, swap_long;
};

static const struct ops own_ops = {"this header's constants", ARMCI_FETCH_AND_ADD,
				   ARMCI_FETCH_AND_ADD_LONG, ARMCI_SWAP, ARMCI_SWAP_LONG};
static const struct ops original_ops = {"the original's constants", 12, 13, 10, 11};

struct words {
	long a_long;
	int before, an_int, after; /* the int is not aligned to 8 bytes */
	long counter;
	long stored; /* by its owner, in the counter's cache line */
};

static void **bases;

static struct words *words(int owner, int user)
{
	return (struct words *)bases[owner] + user;
}

static void set_words(int owner, int user, long a_long, int an_int)
{
	struct words value = {.a_long = a_long, .before = 11, .an_int = an_int, .after = 22};

	CHECK_OK(ARMCI_Put(&value, words(owner, user), sizeof(value), owner));
	ARMCI_Fence(owner);
}

static void check_words(int owner, int user, long a_long, int an_int, const char *what)
{
	struct words value;

	CHECK_OK(ARMCI_Get(words(owner, user), &value, sizeof(value), owner));
	CHECK_INT(a_long, value.a_long, "long at rank %d after %s", owner, what);
	CHECK_INT(an_int, value.an_int, "int at rank %d after %s", owner, what);
	CHECK_INT(11, value.before, "the int before that at rank %d after %s", owner, what);
	CHECK_INT(22, value.after, "the int behind that at rank %d after %s", owner, what);
}

static void test_operations(const struct ops *ops)
{
	conf_section(ops->name);
	for (int k = 0; k < conf_size; k++) {
		struct words *at = words(k, conf_rank);
		long wide = -1;
		int narrow = -1;

		set_words(k, conf_rank, 5000000000L, 7);
		CHECK_OK(ARMCI_Rmw(ops->add, &narrow, &at->an_int, 3, k));
		CHECK_INT(7, narrow, "old value of an int that was added to");
		CHECK_OK(ARMCI_Rmw(ops->add, &narrow, &at->an_int, -20, k));
		CHECK_INT(10, narrow, "old value of an int that was subtracted from");
		check_words(k, conf_rank, 5000000000L, -10, "fetch-and-add of an int");
		CHECK_OK(ARMCI_Rmw(ops->add_long, &wide, &at->a_long, 4, k));
		CHECK_INT(5000000000L, wide, "old value of a long that was added to");
		CHECK_OK(ARMCI_Rmw(ops->add_long, &wide, &at->a_long, -5, k));
		CHECK_INT(5000000004L, wide, "old value of a long that was subtracted from");
		check_words(k, conf_rank, 4999999999L, -10, "fetch-and-add of a long");
		narrow = 99;
		CHECK_OK(ARMCI_Rmw(ops->swap, &narrow, &at->an_int, 12345, k));
		CHECK_INT(-10, narrow, "old value of an int that was swapped");
		wide = LONG_MIN;
		CHECK_OK(ARMCI_Rmw(ops->swap_long, &wide, &at->a_long, 12345, k));
		CHECK_INT(4999999999L, wide, "old value of a long that was swapped");
		check_words(k, conf_rank, LONG_MIN, 99, "swaps");
	}
}

/* Every value from 0 to the last is fetched once: each rank marks those that it has fetched. */
static void draw_tickets(int owner, bool wide)
{
	int tickets = conf_often(200), all = tickets * conf_size;
	int *marks = conf_alloc(sizeof(int) * (size_t)all);
	struct words *at = words(owner, 0);

	if (conf_rank == owner)
		*at = (struct words){.before = 11, .after = 22};
	ARMCI_Barrier();
	for (int i = 0; i < tickets; i++) {
		long ticket = -1;
		int narrow = -1;

		if (wide) {
			CHECK_OK(ARMCI_Rmw(ARMCI_FETCH_AND_ADD_LONG, &ticket, &at->a_long, 1,
					   owner));
		} else {
			CHECK_OK(
				ARMCI_Rmw(ARMCI_FETCH_AND_ADD, &narrow, &at->an_int, 1, owner));
			ticket = narrow;
		}
		CHECK(ticket >= 0 && ticket < all, "ticket %ld of %d from rank %d", ticket, all,
		      owner);
		marks[ticket]++;
	}
	armci_msg_igop(marks, all, "+");
	for (int i = 0; i < all; i++)
		CHECK_INT(1, marks[i], "times that value %d of rank %d was fetched", i, owner);
	check_words(owner, 0, wide ? all : 0, wide ? 0 : all, "all tickets were drawn");
	ARMCI_Barrier();
	free(marks);
}

static void test_contention(void)
{
	conf_section("contention: each value is fetched once");
	for (int owner = 0; owner < conf_size; owner++) {
		draw_tickets(owner, true);
		draw_tickets(owner, false);
	}
}

/* Values that are swapped around are neither lost nor doubled. */
static void test_swap_contention(void)
{
	int rounds = conf_often(200);
	long token = 1L << (2 * conf_rank), all;

	conf_section("contention: swaps lose nothing");
	if (conf_rank == 0)
		*words(0, 0) = (struct words){.a_long = 1L << 60};
	ARMCI_Barrier();
	for (int i = 0; i < rounds; i++)
		CHECK_OK(ARMCI_Rmw(ARMCI_SWAP_LONG, &token, &words(0, 0)->a_long, 0, 0));
	ARMCI_Barrier();
	all = token;
	if (conf_rank == 0)
		all += words(0, 0)->a_long;
	armci_msg_lgop(&all, 1, "+");
	for (int r = 0; r < conf_size; r++)
		all -= 1L << (2 * r);
	CHECK_INT(1L << 60, all, "what is left of the sum of all tokens");
}

/* A counter that its owner resets by a plain store between barriers, as NWChem's NXTVAL does.
 */
static void test_reset_by_store(void)
{
	int owner = conf_size - 1;
	struct words *at = words(owner, 0);

	conf_section("a plain store of the owner between barriers");
	for (int i = 0; i < conf_times(60); i++) {
		long old = -1, sum;

		if (conf_rank == owner)
			*(volatile long *)&at->counter = 1000L * i;
		MPI_Barrier(MPI_COMM_WORLD);
		CHECK_OK(ARMCI_Rmw(ARMCI_FETCH_AND_ADD_LONG, &old, &at->counter, 1, owner));
		MPI_Barrier(MPI_COMM_WORLD);
		if (conf_rank == owner)
			CHECK_INT(1000L * i + conf_size, *(volatile long *)&at->counter,
				  "the counter, by a plain load");
		sum = old - 1000L * i;
		armci_msg_lgop(&sum, 1, "+");
		CHECK_INT((long)conf_size * (conf_size - 1) / 2, sum,
			  "sum of what was fetched after a reset to %ld", 1000L * i);
	}
}

/* The owner stores into the counter's cache line and adds with its own atomic instructions
 * meanwhile. */
static void test_owner_meanwhile(void)
{
	int rounds = conf_often(200);
	struct words *mine = words(conf_rank, 0);
	long old, last = -1;

	conf_section("the owner's atomic adds and stores meanwhile");
	*mine = (struct words){0};
	ARMCI_Barrier();
	for (int i = 0; i < rounds; i++) {
		int k = (conf_rank + 1) % conf_size;

		__atomic_fetch_add(&mine->counter, 1, __ATOMIC_SEQ_CST);
		__atomic_store_n(&mine->stored, i, __ATOMIC_SEQ_CST);
		CHECK_OK(
			ARMCI_Rmw(ARMCI_FETCH_AND_ADD_LONG, &old, &words(k, 0)->counter, 1, k));
		CHECK(old > last, "a counter at rank %d that only grows went from %ld to %ld",
		      k, last, old);
		last = old;
		CHECK_INT(i, __atomic_load_n(&mine->stored, __ATOMIC_SEQ_CST),
			  "what the owner stored beside a counter in use");
	}
	ARMCI_Barrier();
	CHECK_INT(2L * rounds, mine->counter, "counter of its owner and one other");
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "rmw");
	bases = conf_share(sizeof(struct words) * (size_t)conf_size);
	test_operations(&own_ops);
	if (!conf_beyond_reference(original_ops.name))
		test_operations(&original_ops);
	test_contention();
	test_swap_contention();
	test_reset_by_store();
	if (!conf_beyond_reference("the owner's atomic adds and stores meanwhile"))
		test_owner_meanwhile();
	ARMCI_Barrier();
	conf_unshare(bases);
	return conf_end();
}
