/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages with scopes: collectives of nodes and of their first ranks, exchange of addresses,
 * all constants. */
#include <stdlib.h>
#include <string.h>

#include <armcix.h>

#include "conf.h"

/* The ranks of my node, and the first rank of each node. */
static int *node, node_size, *masters, node_count;
static bool is_master;

static void find_nodes(void)
{
	node = conf_alloc(sizeof(int) * (size_t)conf_size);
	masters = conf_alloc(sizeof(int) * (size_t)conf_size);
	for (int i = 0; i < conf_size; i++)
		if (ARMCI_Same_node(i))
			node[node_size++] = i;
	is_master = node[0] == conf_rank;
	masters[conf_rank] = is_master;
	armci_msg_igop(masters, conf_size, "+");
	for (int i = 0; i < conf_size; i++)
		if (masters[i])
			masters[node_count++] = i;
}

static long sum_of(const int *ranks, int count)
{
	long sum = 0;

	for (int i = 0; i < count; i++)
		sum += ranks[i] + 1;
	return sum;
}

static void test_gop_scopes(const int *scopes)
{
	long all, x;
	ARMCI_Group world;

	ARMCI_Group_get_world(&world);
	all = (long)conf_size * (conf_size + 1) / 2;
	for (int how = 0; how < 2; how++) {
		for (int s = 0; s < 3; s++) {
			long expected = s == 0      ? all
					: s == 1    ? sum_of(node, node_size)
					: is_master ? sum_of(masters, node_count)
						    : conf_rank + 1;

			x = conf_rank + 1;
			if (how == 0)
				armci_msg_gop_scope(scopes[s], &x, 1, "+", ARMCI_LONG);
			else
				armci_msg_group_gop_scope(scopes[s], &x, 1, "+", ARMCI_LONG,
							  &world);
			CHECK_INT(expected, x, "sum with scope %d (function %d)", scopes[s],
				  how);
		}
	}
}

static void test_bcast_scopes(const int *scopes)
{
	ARMCI_Group world;
	int roots[3] = {conf_size - 1, node[node_size - 1], masters[node_count - 1]};

	ARMCI_Group_get_world(&world);
	for (int how = 0; how < 2; how++) {
		for (int s = 0; s < 3; s++) {
			int x = conf_rank * 10 + 3, expected = roots[s] * 10 + 3;

			if (s == 2 && !is_master)
				expected = x;
			if (how == 0)
				armci_msg_bcast_scope(scopes[s], &x, sizeof(x), roots[s]);
			else
				armci_msg_group_bcast_scope(scopes[s], &x, sizeof(x), roots[s],
							    &world);
			CHECK_INT(expected, x, "broadcast with scope %d from rank %d",
				  scopes[s], roots[s]);
		}
	}
}

/* The result is at the lowest rank of the scope alone. */
static void test_reduce(const int *scopes)
{
	long x = conf_rank + 1;

	armci_msg_reduce(&x, 1, "+", ARMCI_LONG);
	if (conf_rank == 0)
		CHECK_INT((long)conf_size * (conf_size + 1) / 2, x, "armci_msg_reduce");
	for (int s = 0; s < 3; s++) {
		x = conf_rank + 1;
		armci_msg_reduce_scope(scopes[s], &x, 1, "+", ARMCI_LONG);
		if (s == 0 && conf_rank == 0)
			CHECK_INT((long)conf_size * (conf_size + 1) / 2, x,
				  "reduced to rank 0");
		if (s == 1 && is_master)
			CHECK_INT(sum_of(node, node_size), x, "reduced to the node's first");
		if (s == 2 && conf_rank == 0)
			CHECK_INT(sum_of(masters, node_count), x, "reduced from nodes' first");
	}
}

static void test_selection(const int *scopes)
{
	for (int s = 0; s < 3; s++) {
		int x[2] = {conf_rank + 5, conf_rank};
		int best = s == 0      ? conf_size - 1
			   : s == 1    ? node[node_size - 1]
			   : is_master ? masters[node_count - 1]
				       : conf_rank;

		armci_msg_sel_scope(scopes[s], x, sizeof(x), "max", ARMCI_INT, 1);
		CHECK_INT(best, x[1], "owner of the max with scope %d", scopes[s]);
		CHECK_INT(best + 5, x[0], "the max with scope %d", scopes[s]);
	}
}

/* Equal values: the lowest rank's; nobody offers any: nothing changes. */
static void test_selection_rules(void)
{
	int x[2] = {7, conf_rank};

	conf_section("selection among equals, and among none");
	armci_msg_sel(x, sizeof(x), "min", ARMCI_INT, 1);
	CHECK_INT(0, x[1], "owner of the min of equals");
	x[0] = x[1] = conf_rank + 50;
	armci_msg_sel(x, sizeof(x), "min", ARMCI_INT, 0);
	CHECK_INT(conf_rank + 50, x[0], "a value, when nobody offers one");
	CHECK_INT(conf_rank + 50, x[1], "what goes along, when nobody offers one");
}

static void test_trees(const int *scopes)
{
	int root, up, left, right;

	armci_msg_bintree(scopes[1], &root, &up, &left, &right);
	CHECK_INT(node[0], root, "root of the node's tree");
	CHECK_INT(is_master, up < 0, "whether there is nobody above in the node's tree");
	if (up >= 0)
		CHECK_INT(1, ARMCI_Same_node(up), "rank %d is here", up);
	armci_msg_bintree(scopes[2], &root, &up, &left, &right);
	CHECK_INT(masters[0], root, "root of the tree of nodes");
	if (!is_master)
		CHECK_INT(-3, up + left + right, "sum of who is near, for one not in the tree");
	else if (conf_rank != root)
		CHECK(up >= 0, "rank %d has nobody above in the tree of nodes", conf_rank);
}

static void test_cluster(void)
{
	long sum = sum_of(node, node_size), a_long = conf_rank + 1;
	long long longer = conf_rank + 1;
	double a_double = conf_rank + 1;
	float a_float = (float)(conf_rank + 1);
	int an_int = conf_rank + 1, text[5000];

	conf_section("collectives of a node");
	armci_msg_clus_igop(&an_int, 1, "+");
	CHECK_INT(sum, an_int, "armci_msg_clus_igop");
	armci_msg_clus_lgop(&a_long, 1, "+");
	CHECK_INT(sum, a_long, "armci_msg_clus_lgop");
	armci_msg_clus_llgop(&longer, 1, "+");
	CHECK_INT(sum, longer, "armci_msg_clus_llgop");
	armci_msg_clus_fgop(&a_float, 1, "+");
	CHECK_REAL(sum, a_float, "armci_msg_clus_fgop");
	armci_msg_clus_dgop(&a_double, 1, "max");
	CHECK_REAL(node[node_size - 1] + 1, a_double, "armci_msg_clus_dgop");
	for (int i = 0; i < 5000; i++)
		text[i] = conf_rank * 10000 + i;
	armci_msg_clus_brdcst(text, sizeof(text));
	for (int i = 0; i < 5000; i++)
		CHECK_INT(node[0] * 10000 + i, text[i], "armci_msg_clus_brdcst, word %d", i);
}

/* Pairs of successive ranks of a group that is the world turned round. */
static void test_group_cluster(void)
{
	ARMCI_Group world, turned;
	int mine, first, count, value = conf_rank + 100;

	conf_section("a broadcast to successive ranks of a group");
	ARMCI_Group_get_world(&world);
	CHECK_OK(ARMCIX_Group_split(&world, 0, -conf_rank, &turned));
	ARMCI_Group_rank(&turned, &mine);
	first = mine / 2 * 2;
	count = first + 2 <= conf_size ? 2 : 1;
	armci_grp_clus_brdcst(&value, sizeof(value), first, count, &turned);
	CHECK_INT(ARMCI_Absolute_id(&turned, first) + 100, value,
		  "value of the first of a pair");
	ARMCI_Group_free(&turned);
}

static void test_exchange(void)
{
	void **table = conf_alloc(sizeof(void *) * (size_t)conf_size);
	ARMCI_Group world, half;
	int members, mine;

	conf_section("exchange of addresses");
	table[conf_rank] = (void *)(uintptr_t)(0x1000 + conf_rank);
	armci_exchange_address(table, conf_size);
	for (int r = 0; r < conf_size; r++)
		CHECK_INT(0x1000 + r, (uintptr_t)table[r], "address of rank %d", r);
	ARMCI_Group_get_world(&world);
	CHECK_OK(ARMCIX_Group_split(&world, conf_rank % 2, conf_rank, &half));
	ARMCI_Group_rank(&half, &mine);
	ARMCI_Group_size(&half, &members);
	memset(table, 0, sizeof(void *) * (size_t)conf_size);
	table[mine] = (void *)(uintptr_t)(0x2000 + conf_rank);
	armci_exchange_address_grp(table, members, &half);
	for (int i = 0; i < members; i++)
		CHECK_INT(0x2000 + ARMCI_Absolute_id(&half, i), (uintptr_t)table[i],
			  "address of member %d", i);
	ARMCI_Group_free(&half);
	free(table);
}

static void test_bit_operations(void)
{
	static char *const names[] = {"or", "|", "bor", "&", "band", "||", "lor", "&&", "land"};
	long all_bits = 0, x[3];

	conf_section("bitwise and logical operations");
	for (int r = 0; r < conf_size; r++)
		all_bits |= 1L << (r + 1);
	for (int i = 0; i < 9; i++) {
		bool is_or = i < 3, is_and = i == 3 || i == 4, any = i == 5 || i == 6;

		x[0] = 1L << (conf_rank + 1);
		x[1] = 6 | x[0] << 8;
		x[2] = conf_rank == conf_size - 1 ? 0 : 1;
		armci_msg_lgop(x, 3, names[i]);
		if (is_or) {
			CHECK_INT(all_bits, x[0], "\"%s\" of one bit of each", names[i]);
			CHECK_INT(6 | all_bits << 8, x[1], "\"%s\" of bits", names[i]);
		} else if (is_and) {
			CHECK_INT(conf_size == 1 ? 2 : 0, x[0], "\"%s\" of one bit", names[i]);
			CHECK_INT(conf_size == 1 ? 6 | 2 << 8 : 6, x[1], "\"%s\" of bits",
				  names[i]);
		} else {
			CHECK_INT(1, x[0], "\"%s\" of values that are all true", names[i]);
			CHECK_INT(any && conf_size > 1, x[2],
				  "\"%s\" of values of which the last is false", names[i]);
		}
	}
}

/* The same types, named as the original ARMCI does. */
static void test_original_types(void)
{
	static const int original[] = {-99, -101, -102, -306, -307};
	long long words[1];
	double real;
	float single;
	int word;

	conf_section("the original's constants for types");
	word = 2;
	armci_msg_gop_scope(333, &word, 1, "+", original[0]);
	CHECK_INT(2 * conf_size, word, "sum of ints");
	for (int i = 1; i < 3; i++) {
		words[0] = 1LL << 40;
		armci_msg_gop_scope(333, words, 1, "+", original[i]);
		CHECK_INT(conf_size * (1LL << 40), words[0], "sum of type %d", original[i]);
	}
	single = 0.5F;
	armci_msg_gop_scope(333, &single, 1, "+", original[3]);
	CHECK_REAL(0.5 * conf_size, single, "sum of floats");
	real = 0.5;
	armci_msg_gop_scope(333, &real, 1, "+", original[4]);
	CHECK_REAL(0.5 * conf_size, real, "sum of doubles");
	real = conf_rank;
	armci_msg_sel(&real, sizeof(real), "max", original[4], 1);
	CHECK_REAL(conf_size - 1, real, "selection of doubles");
}

int main(int argc, char **argv)
{
	static const int own[] = {SCOPE_ALL, SCOPE_NODE, SCOPE_MASTERS};
	static const int original[] = {333, 337, 339};

	conf_begin(&argc, &argv, "msg_node");
	find_nodes();
	for (int i = 0; i < 2; i++) {
		conf_section(i == 0 ? "scopes" : "the original's constants for scopes");
		test_gop_scopes(i == 0 ? own : original);
		test_bcast_scopes(i == 0 ? own : original);
		test_reduce(i == 0 ? own : original);
		test_selection(i == 0 ? own : original);
		test_trees(i == 0 ? own : original);
	}
	test_selection_rules();
	test_cluster();
	test_group_cluster();
	test_exchange();
	test_bit_operations();
	test_original_types();
	free(node);
	free(masters);
	return conf_end();
}
