/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages: send and receive, broadcasts, all reductions in all types over the world and
 * groups, selection, trees. */
#include <stdlib.h>
#include <string.h>

#include <armcix.h>

#include "conf.h"

enum { TAG = 5, MOST = 3001, KINDS = 5 };

/* "-" is not an operation of ARMCI; "or" and its like are for integers. */
enum op { ADD, TIMES, MAX, MIN, ABSMAX, ABSMIN, OR, OPS };

static char *const op_names[OPS] = {"+", "*", "max", "min", "absmax", "absmin", "or"};

/* Types in the order of ARMCI_INT … ARMCI_DOUBLE. */
static const size_t type_bytes[KINDS] = {sizeof(int), sizeof(long), sizeof(long long),
					 sizeof(float), sizeof(double)};

static void set_element(int type, void *buf, int i, double value)
{
	switch (type) {
	case ARMCI_INT: ((int *)buf)[i] = (int)value; break;
	case ARMCI_LONG: ((long *)buf)[i] = (long)value; break;
	case ARMCI_LONG_LONG: ((long long *)buf)[i] = (long long)value; break;
	case ARMCI_FLOAT: ((float *)buf)[i] = (float)value; break;
	default: ((double *)buf)[i] = value; break;
	}
}

static double get_element(int type, const void *buf, int i)
{
	switch (type) {
	case ARMCI_INT: return ((const int *)buf)[i];
	case ARMCI_LONG: return (double)((const long *)buf)[i];
	case ARMCI_LONG_LONG: return (double)((const long long *)buf)[i];
	case ARMCI_FLOAT: return (double)((const float *)buf)[i];
	default: return ((const double *)buf)[i];
	}
}

/* What a rank gives for element i: small, of both signs; for products only -2 … 2 without 0. */
static double given(enum op op, int rank, int i)
{
	int value = (rank * 37 + i * 11) % 101 - 50;

	if (op == TIMES)
		return value % 2 == 0 ? 1 : value > 0 ? 2 : -1;
	if (op == OR)
		return 1 << (value + 50) % 20;
	return value;
}

static double magnitude(double value)
{
	return value < 0 ? -value : value;
}

static double combine(enum op op, double a, double b)
{
	switch (op) {
	case ADD: return a + b;
	case TIMES: return a * b;
	case MAX: return a > b ? a : b;
	case MIN: return a < b ? a : b;
	case ABSMAX: return magnitude(a) > magnitude(b) ? magnitude(a) : magnitude(b);
	case ABSMIN: return magnitude(a) < magnitude(b) ? magnitude(a) : magnitude(b);
	default: return (double)((long)a | (long)b);
	}
}

static double expected_of(enum op op, const int *members, int count, int i)
{
	double result = given(op, members[0], i);

	for (int m = 0; m < count; m++)
		result = combine(op, result,
				 m == 0 ? (op == ADD     ? 0
					   : op == TIMES ? 1
							 : result)
					: given(op, members[m], i));
	return result;
}

static int *everybody(void)
{
	int *all = conf_alloc(sizeof(int) * (size_t)conf_size);

	for (int r = 0; r < conf_size; r++)
		all[r] = r;
	return all;
}

/* By the function that the type has of its own, over the group or (NULL) the world. */
static void typed_gop(int type, void *x, int n, char *op, ARMCI_Group *group)
{
	switch (type) {
	case ARMCI_INT:
		group != NULL ? armci_msg_group_igop(x, n, op, group)
			      : armci_msg_igop(x, n, op);
		break;
	case ARMCI_LONG:
		group != NULL ? armci_msg_group_lgop(x, n, op, group)
			      : armci_msg_lgop(x, n, op);
		break;
	case ARMCI_LONG_LONG:
		group != NULL ? armci_msg_group_llgop(x, n, op, group)
			      : armci_msg_llgop(x, n, op);
		break;
	case ARMCI_FLOAT:
		group != NULL ? armci_msg_group_fgop(x, n, op, group)
			      : armci_msg_fgop(x, n, op);
		break;
	default:
		group != NULL ? armci_msg_group_dgop(x, n, op, group)
			      : armci_msg_dgop(x, n, op);
		break;
	}
}

/* Whether the library under test has the operation for the type. */
static bool has_op(enum op op, int type)
{
	if (op == OR && type != ARMCI_INT && type != ARMCI_LONG && type != ARMCI_LONG_LONG)
		return false;
	return !conf_reference() || op < ABSMAX;
}

static void check_reduction(int type, enum op op, const void *x, int n, const int *members,
			    int count, const char *what)
{
	for (int i = 0; i < n; i++)
		CHECK_REAL(expected_of(op, members, count, i), get_element(type, x, i),
			   "%s: element %d of %d, op %s, type %d", what, i, n, op_names[op],
			   type);
}

/* All operations, types and some lengths; group NULL: the world. */
static void all_reductions(ARMCI_Group *group, const int *members, int count)
{
	static const int lengths[] = {0, 1, 7, 130, MOST};
	double *x = conf_alloc(sizeof(double) * (MOST + 1));

	for (int t = 0; t < OPS * KINDS * 5; t++) {
		enum op op = (enum op)(t % OPS);
		int type = t / OPS % KINDS, n = lengths[t / OPS / KINDS];

		if (!has_op(op, type))
			continue;
		for (int i = 0; i <= n; i++)
			set_element(type, x, i, given(op, conf_rank, i));
		if (t % 2 == 0)
			typed_gop(type, x, n, op_names[op], group);
		else if (group != NULL)
			armci_msg_group_gop_scope(SCOPE_ALL, x, n, op_names[op], type, group);
		else
			armci_msg_gop_scope(SCOPE_ALL, x, n, op_names[op], type);
		check_reduction(type, op, x, n, members, count, "reduction");
		CHECK_REAL(given(op, conf_rank, n), get_element(type, x, n),
			   "the element behind %d of a reduction", n);
	}
	free(x);
}

static void test_reductions(void)
{
	int *all = everybody(), count = 0;
	ARMCI_Group world, half;

	conf_section("reductions over the world");
	all_reductions(NULL, all, conf_size);
	conf_section("reductions over groups");
	ARMCI_Group_get_world(&world);
	all_reductions(&world, all, conf_size);
	CHECK_OK(ARMCIX_Group_split(&world, conf_rank % 2, conf_rank, &half));
	for (int r = conf_rank % 2; r < conf_size; r += 2)
		all[count++] = r;
	all_reductions(&half, all, count);
	ARMCI_Group_free(&half);
	free(all);
}

/* Long enough for several pieces, and the same bits everywhere although sums of these round. */
static void test_long_reduction(void)
{
	enum { LONG = 200000 };
	double *x = conf_alloc(sizeof(double) * LONG),
	       *first = conf_alloc(sizeof(double) * LONG);

	conf_section("a long reduction, with the same bits on all ranks");
	for (int i = 0; i < LONG; i++)
		x[i] = 1.0 / (1 + i % 1000 + conf_rank * 3);
	armci_msg_dgop(x, LONG, "+");
	memcpy(first, x, sizeof(double) * LONG);
	armci_msg_brdcst(first, (int)sizeof(double) * LONG, 0);
	CHECK_BYTES(first, x, sizeof(double) * LONG, "a sum, against that of rank 0");
	free(x);
	free(first);
}

static void test_ring(void)
{
	static const int sizes[] = {0, 1, 9, 4000, 70000, 1500000};
	int right = (conf_rank + 1) % conf_size, left = (conf_rank + conf_size - 1) % conf_size;
	unsigned char *out = conf_alloc(1500000), *in = conf_alloc(1500000);

	conf_section("messages around a ring");
	for (int s = 0; s < 6; s++) {
		int got = -1;

		if (conf_size == 1 && sizes[s] > 1000)
			continue; /* to oneself only short ones need no receiver meanwhile */
		conf_fill(out, (size_t)sizes[s], (uint64_t)(conf_rank + s));
		memset(in, 0, (size_t)sizes[s] + 1 < 1500000 ? (size_t)sizes[s] + 1 : 1500000);
		/* Even ranks send first, so that somebody receives. */
		if (conf_rank % 2 == 0)
			armci_msg_snd(TAG + s, out, sizes[s], right);
		armci_msg_rcv(TAG + s, in, 1500000, s % 2 == 0 ? &got : NULL, left);
		if (conf_rank % 2 != 0)
			armci_msg_snd(TAG + s, out, sizes[s], right);
		if (s % 2 == 0)
			CHECK_INT(sizes[s], got, "length of a message");
		conf_fill(out, (size_t)sizes[s], (uint64_t)(left + s));
		CHECK_BYTES(out, in, (size_t)sizes[s], "message of %d bytes", sizes[s]);
	}
	free(out);
	free(in);
}

/* Tags are kept apart, order within one tag is kept, MPI's own messages are not ours. */
static void test_tags_and_order(void)
{
	enum { MESSAGES = 50 };
	int right = (conf_rank + 1) % conf_size, left = (conf_rank + conf_size - 1) % conf_size;
	int value, got;

	conf_section("tags and order");
	for (int i = 0; i < MESSAGES; i++) {
		value = 1000 * conf_rank + i;
		armci_msg_snd(i % 2 == 0 ? 100 : 200, &value, sizeof(value), right);
	}
	for (int i = 1; i < MESSAGES; i += 2) {
		armci_msg_rcv(200, &got, sizeof(got), NULL, left);
		CHECK_INT(1000 * left + i, got, "message of tag 200");
	}
	for (int i = 0; i < MESSAGES; i += 2) {
		armci_msg_rcv(100, &got, sizeof(got), NULL, left);
		CHECK_INT(1000 * left + i, got, "message of tag 100");
	}
	if (conf_size > 1 && conf_rank < 2) {
		int other = 1 - conf_rank;

		value = 10 + conf_rank;
		MPI_Send(&value, 1, MPI_INT, other, 100, MPI_COMM_WORLD);
		value = 20 + conf_rank;
		armci_msg_snd(100, &value, sizeof(value), other);
		armci_msg_rcv(100, &got, sizeof(got), NULL, other);
		CHECK_INT(20 + other, got, "ARMCI's message of two with one tag");
		MPI_Recv(&got, 1, MPI_INT, other, 100, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
		CHECK_INT(10 + other, got, "MPI's message of two with one tag");
	}
}

static void test_any_source(void)
{
	int *seen = conf_alloc(sizeof(int) * (size_t)conf_size), value, length;

	conf_section("messages from anybody");
	for (int round = 0; round < 5; round++) {
		memset(seen, 0, sizeof(int) * (size_t)conf_size);
		value = 7 * conf_rank;
		armci_msg_snd(33, &value, sizeof(value), 0);
		for (int i = 0; conf_rank == 0 && i < conf_size; i++) {
			int from = armci_msg_rcvany(33, &value, sizeof(value), &length);

			CHECK(from >= 0 && from < conf_size, "source %d of %d", from,
			      conf_size);
			CHECK_INT(7 * from, value, "value of rank %d", from);
			CHECK_INT((int)sizeof(value), length, "length of rank %d's", from);
			CHECK_INT(0, seen[from]++, "earlier messages of rank %d", from);
		}
		armci_msg_barrier();
	}
	free(seen);
}

static void test_broadcasts(void)
{
	static const int sizes[] = {0, 1, 8, 1000, 65537, 1200000};
	unsigned char *x = conf_alloc(1200000), *expected = conf_alloc(1200000);
	ARMCI_Group world;

	conf_section("broadcasts");
	ARMCI_Group_get_world(&world);
	for (int i = 0; i < 6 * conf_size * 4; i++) {
		int bytes = sizes[i % 6], root = i / 6 % conf_size, how = i / 6 / conf_size;

		conf_fill(x, (size_t)bytes, (uint64_t)(conf_rank + i));
		conf_fill(expected, (size_t)bytes, (uint64_t)(root + i));
		if (how == 0)
			armci_msg_brdcst(x, bytes, root);
		else if (how == 1)
			armci_msg_bcast(x, bytes, root);
		else if (how == 2)
			armci_msg_bcast_scope(SCOPE_ALL, x, bytes, root);
		else
			armci_msg_group_bcast_scope(SCOPE_ALL, x, bytes, root, &world);
		CHECK_BYTES(expected, x, (size_t)bytes, "broadcast %d of %d bytes from rank %d",
			    how, bytes, root);
	}
	free(x);
	free(expected);
}

/* A value and what goes along with it. */
struct choice {
	double value;
	int owner;
	char text[20];
};

static void test_selection(void)
{
	conf_section("selection");
	for (int i = 0; i < 4 * conf_size; i++) {
		char *op = i % 2 == 0 ? "max" : "min";
		int except = i / 2 % 2 == 0 || conf_size == 1 ? -1 : 0, best = -1;
		struct choice mine = {(conf_rank + i) % conf_size * 1.5, conf_rank, "along"};

		for (int r = 0; r < conf_size; r++) {
			double value = (r + i) % conf_size, most = (best + i) % conf_size;

			if (r != except &&
			    (best < 0 || (i % 2 == 0 ? value > most : value < most)))
				best = r;
		}
		if (i % 3 == 0)
			armci_msg_sel(&mine, sizeof(mine), op, ARMCI_DOUBLE,
				      conf_rank != except);
		else
			armci_msg_sel_scope(SCOPE_ALL, &mine, sizeof(mine), op, ARMCI_DOUBLE,
					    conf_rank != except);
		CHECK_INT(best, mine.owner, "owner of the %s", op);
		CHECK_REAL((best + i) % conf_size * 1.5, mine.value, "the %s", op);
		CHECK_BYTES("along", mine.text, 6, "what goes along with the %s", op);
	}
}

static void test_selection_types(void)
{
	double buf[2];

	if (conf_beyond_reference("selection in all types"))
		return;
	conf_section("selection in all types");
	for (int type = ARMCI_INT; type <= ARMCI_DOUBLE; type++) {
		set_element(type, buf, 0, -5.0 * conf_rank);
		armci_msg_sel(buf, (int)type_bytes[type], "min", type, 1);
		CHECK_REAL(-5.0 * (conf_size - 1), get_element(type, buf, 0), "min of type %d",
			   type);
		set_element(type, buf, 0, -5.0 * conf_rank);
		armci_msg_sel(buf, (int)type_bytes[type], "max", type, 1);
		CHECK_REAL(0, get_element(type, buf, 0), "max of type %d", type);
	}
}

/* Everybody's up, left and right fit together, and all hang on the root. */
static void test_tree(void)
{
	int mine[4] = {-2, -2, -2, -2}, *all = conf_alloc(sizeof(int) * 4 * (size_t)conf_size);

	conf_section("binary trees");
	armci_msg_bintree(SCOPE_ALL, &mine[0], &mine[1], &mine[2], &mine[3]);
	memcpy(all + 4 * conf_rank, mine, sizeof(mine));
	armci_msg_igop(all, 4 * conf_size, "+");
	for (int r = 0; r < conf_size; r++) {
		int *node = all + 4 * r, at = r, steps = 0;

		CHECK_INT(mine[0], node[0], "root of rank %d", r);
		CHECK_INT(r == node[0], node[1] < 0, "whether rank %d has nobody above", r);
		for (int side = 2; side <= 3; side++) {
			if (node[side] >= 0)
				CHECK_INT(r, all[4 * node[side] + 1], "who is above rank %d",
					  node[side]);
		}
		for (; all[4 * at + 1] >= 0 && steps <= conf_size; steps++)
			at = all[4 * at + 1];
		CHECK_INT(node[0], at, "root reached from rank %d", r);
	}
	free(all);
}

/* Each counts its barriers: when one returns, nobody is behind, nor further than the next. */
static void count_barriers(ARMCI_Group *group, void **bases, int partner)
{
	*(int *)bases[conf_rank] = 0;
	armci_msg_barrier();
	for (int i = 1; i <= conf_times(200); i++) {
		int value;

		__atomic_store_n((int *)bases[conf_rank], i, __ATOMIC_RELEASE);
		if (group != NULL)
			armci_msg_group_barrier(group);
		else
			armci_msg_barrier();
		value = ARMCI_GetValueInt(bases[partner], partner);
		CHECK(value == i || value == i + 1, "after barrier %d rank %d is at %d", i,
		      partner, value);
	}
	armci_msg_barrier();
}

static void test_barriers(void)
{
	void **bases = conf_share(sizeof(int));
	ARMCI_Group world, half;
	int partner = conf_rank + 2 < conf_size ? conf_rank + 2 : conf_rank % 2;

	conf_section("barriers of messages");
	count_barriers(NULL, bases, (conf_rank + 1) % conf_size);
	ARMCI_Group_get_world(&world);
	count_barriers(&world, bases, (conf_rank + 1) % conf_size);
	CHECK_OK(ARMCIX_Group_split(&world, conf_rank % 2, conf_rank, &half));
	count_barriers(&half, bases, partner);
	ARMCI_Group_free(&half);
	conf_unshare(bases);
}

static void test_timer(void)
{
	double first = armci_timer(), last = first;

	conf_section("the timer");
	for (int i = 0; i < 1000; i++) {
		double now = armci_timer();

		CHECK(now >= last, "armci_timer went from %.9f to %.9f", last, now);
		last = now;
	}
	CHECK(last - first < conf_patience(), "1000 calls of armci_timer took %.3f s",
	      last - first);
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "msg");
	test_ring();
	test_tags_and_order();
	test_any_source();
	test_broadcasts();
	test_reductions();
	test_long_reduction();
	test_selection();
	test_selection_types();
	test_tree();
	test_barriers();
	test_timer();
	return conf_end();
}
