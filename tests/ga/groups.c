/* SPDX-License-Identifier: BSD-3-Clause */
/* Process groups: made from lists, by splitting and by colour, with arrays, broadcasts and sums
 * of their own, and as default. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 6, ROWS = 14, COLUMNS = 9 };

/* A group, as this process knows that it should be. */
struct group {
	int handle, count, rank;
	int *members; /* world ranks */
};

/* The ranks with rank % parts == the own one's. */
static struct group group_interleaved(int parts)
{
	struct group group = {.members = check_alloc((size_t)check_ranks, sizeof(int))};

	for (int rank = check_rank % parts; rank < check_ranks; rank += parts) {
		if (rank == check_rank)
			group.rank = group.count;
		group.members[group.count++] = rank;
	}
	return group;
}

static void check_members(const struct group *group, const char *how)
{
	CHECK(GA_Pgroup_nnodes(group->handle) == group->count,
	      "a group %s has %d members, not %d", how, GA_Pgroup_nnodes(group->handle),
	      group->count);
	CHECK(GA_Pgroup_nodeid(group->handle) == group->rank,
	      "rank %d is %d in a group %s, not %d", check_rank,
	      GA_Pgroup_nodeid(group->handle), how, group->rank);
	for (int i = 0; i < group->count; i++)
		CHECK(GA_Pgroup_absolute_id(group->handle, i) == group->members[i],
		      "member %d of a group %s is rank %d, not %d", i, how,
		      GA_Pgroup_absolute_id(group->handle, i), group->members[i]);
}

static long word(int round, int rank, int i)
{
	return (long)(check_mix((uint64_t)(round * 1000 + rank * 100 + i)) % 2001) - 1000;
}

/* Broadcasts from each member, and sums, largest and smallest of every type. */
static void check_collectives(const struct group *g)
{
	for (int round = 0; round < ROUNDS; round++) {
		int root = round % g->count, ints[20];
		long longs[20], sum[20] = {0}, most[20], least[20];
		double doubles[20];
		DoubleComplex complexes[20];

		for (int i = 0; i < 20; i++) {
			most[i] = least[i] = word(round, g->members[0], i);
			for (int m = 0; m < g->count; m++) {
				long w = word(round, g->members[m], i);

				sum[i] += w;
				most[i] = w > most[i] ? w : most[i];
				least[i] = w < least[i] ? w : least[i];
			}
			longs[i] = word(round, check_rank, i);
			ints[i] = (int)longs[i];
			doubles[i] = (double)longs[i];
			complexes[i] = (DoubleComplex){doubles[i], -2 * doubles[i]};
		}
		GA_Pgroup_igop(g->handle, ints, 20, "max");
		GA_Pgroup_lgop(g->handle, longs, 20, "min");
		GA_Pgroup_dgop(g->handle, doubles, 20, "+");
		GA_Pgroup_zgop(g->handle, complexes, 20, "+");
		for (int i = 0; i < 20; i++) {
			CHECK(ints[i] == most[i], "the largest of a group is %d, not %ld",
			      ints[i], most[i]);
			CHECK(longs[i] == least[i], "the smallest of a group is %ld, not %ld",
			      longs[i], least[i]);
			CHECK(doubles[i] == (double)sum[i], "the sum of a group is %g, not %ld",
			      doubles[i], sum[i]);
			CHECK(complexes[i].real == doubles[i] &&
				      complexes[i].imag == -2 * doubles[i],
			      "the complex sum of a group is (%g,%g), not (%ld,%ld)",
			      complexes[i].real, complexes[i].imag, sum[i], -2 * sum[i]);
			longs[i] = word(round, check_rank, i);
		}
		GA_Pgroup_brdcst(g->handle, longs, sizeof(longs), root);
		for (int i = 0; i < 20; i++)
			CHECK(longs[i] == word(round, g->members[root], i),
			      "a broadcast in a group brings %ld instead of %ld", longs[i],
			      word(round, g->members[root], i));
		GA_Pgroup_sync(g->handle);
	}
}

/* Rows by the group's ranks in turn; each member's row is written by its neighbour in the
 * group. */
static void put_rows(const struct group *g, int g_a, int tag)
{
	const struct type *type = type_find(C_DBL);

	for (int i = g->rank; i < ROWS; i += g->count) {
		int lo[2] = {i, 0}, hi[2] = {i, COLUMNS - 1}, ld[1] = {COLUMNS};
		double row[COLUMNS];

		for (int j = 0; j < COLUMNS; j++)
			num_store(type, &row[j], num_at(type, tag, (size_t)(i * COLUMNS + j)));
		NGA_Put(g_a, lo, hi, row, ld);
	}
}

/* An array of the group: put, accumulated by all its members, compared; other groups do the
 * same at once. */
static void check_group_array(const struct group *g)
{
	const struct type *type = type_find(C_DBL);
	int dims[2] = {ROWS, COLUMNS}, tag = 10 + g->members[0], ticket[1] = {0}, one = 1;
	int lo[2] = {0, 0}, hi[2] = {ROWS - 1, COLUMNS - 1}, ld[1] = {COLUMNS};
	int g_a = NGA_Create_config(C_DBL, 2, dims, "of a group", NULL, g->handle);
	int g_n = NGA_Create_config(C_LONG, 1, &one, "counter of a group", NULL, g->handle);
	struct num expected[ROWS * COLUMNS];
	double ones[ROWS * COLUMNS], scale = g->rank + 1;
	long drawn = 0, before;

	CHECK(g_a && g_n, "NGA_Create_config fails");
	CHECK(GA_Get_pgroup(g_a) == g->handle,
	      "an array of group %d says that it is of group %d", g->handle,
	      GA_Get_pgroup(g_a));
	GA_Zero(g_n);
	put_rows(g, g_a, tag);
	GA_Pgroup_sync(g->handle);
	for (int i = 0; i < ROWS * COLUMNS; i++) {
		ones[i] = i % 5;
		expected[i] = num_add(num_at(type, tag, (size_t)i),
				      (struct num){i % 5 * g->count * (g->count + 1) / 2, 0});
	}
	NGA_Acc(g_a, lo, hi, ones, ld, &scale);
	do {
		before = NGA_Read_inc(g_n, ticket, 1);
		drawn += before < 40;
	} while (before < 40);
	GA_Pgroup_lgop(g->handle, &drawn, 1, "+");
	CHECK(drawn == 40, "%ld tickets of 40 are drawn in a group", drawn);
	GA_Pgroup_sync(g->handle);
	check_array(g_a, expected, "in the array of a group");
	GA_Pgroup_sync(g->handle);
	GA_Destroy(g_n);
	GA_Destroy(g_a);
}

/* With the group as default all calls mean it, as in a program that was written for the world.
 */
static void check_default(const struct group *g)
{
	int world = GA_Pgroup_get_world(), dims[2] = {ROWS, COLUMNS}, g_a;
	struct num expected[ROWS * COLUMNS];
	double members = 1;

	GA_Pgroup_set_default(g->handle);
	CHECK(GA_Pgroup_get_default() == g->handle, "the default group is not the one set");
	CHECK(GA_Nnodes() == g->count && GA_Nodeid() == g->rank,
	      "with a default group, this is %d of %d instead of %d of %d", GA_Nodeid(),
	      GA_Nnodes(), g->rank, g->count);
	g_a = NGA_Create(C_DBL, 2, dims, "by default", NULL);
	CHECK(g_a, "NGA_Create in a default group fails");
	put_rows(g, g_a, 500 + g->members[0]);
	GA_Sync();
	for (int i = 0; i < ROWS * COLUMNS; i++)
		expected[i] = num_at(type_find(C_DBL), 500 + g->members[0], (size_t)i);
	check_array(g_a, expected, "in the array of the default group");
	GA_Dgop(&members, 1, "+");
	CHECK(members == g->count, "GA_Dgop sums over %g of %d members", members, g->count);
	GA_Sync();
	GA_Destroy(g_a);
	GA_Pgroup_set_default(world);
	CHECK(GA_Nodeid() == check_rank, "the world's rank is %d after %d", GA_Nodeid(),
	      check_rank);
}

static void check_group(const struct group *g, const char *how)
{
	check_members(g, how);
	check_collectives(g);
	check_group_array(g);
	check_default(g);
	GA_Pgroup_sync(g->handle);
}

static void do_lists(void)
{
	for (int parts = 1; parts <= 3 && parts <= check_ranks; parts++) {
		struct group g = group_interleaved(parts);

		g.handle = GA_Pgroup_create(g.members, g.count);
		check_group(&g, "from a list");
		GA_Sync();
		CHECK(GA_Pgroup_destroy(g.handle), "GA_Pgroup_destroy fails");
		free(g.members);
	}
}

static void do_colours(void)
{
	struct group g = group_interleaved(2);

	g.handle = GA_Pgroup_split_irreg(GA_Pgroup_get_world(), check_rank % 2);
	check_group(&g, "by colour");
	GA_Sync();
	CHECK(GA_Pgroup_destroy(g.handle), "GA_Pgroup_destroy fails");
	free(g.members);
}

/* How a split divides is its own affair: each rank is in one group, and all members agree. */
static void do_split(int parts)
{
	int handle = GA_Pgroup_split(GA_Pgroup_get_world(), parts);
	struct group g = {.handle = handle, .count = GA_Pgroup_nnodes(handle)};
	int first;

	g.rank = GA_Pgroup_nodeid(handle);
	g.members = check_alloc((size_t)g.count, sizeof(int));
	for (int i = 0; i < g.count; i++)
		g.members[i] = GA_Pgroup_absolute_id(handle, i);
	CHECK(g.rank >= 0 && g.rank < g.count && g.members[g.rank] == check_rank,
	      "after a split rank %d is member %d of %d", check_rank, g.rank, g.count);
	first = g.members[0];
	GA_Pgroup_brdcst(handle, &first, sizeof(first), 0);
	CHECK(first == g.members[0], "members of a group disagree on its first: %d and %d",
	      first, g.members[0]);
	check_group(&g, "by a split");
	GA_Sync();
	CHECK(GA_Pgroup_destroy(handle), "GA_Pgroup_destroy fails");
	free(g.members);
}

/* Groups inside a group, and of one process. */
static void do_nested(void)
{
	struct group outer = group_interleaved(2), inner;
	int half = (outer.count + 1) / 2, upper = outer.rank >= half;
	struct group self = {.count = 1, .members = &check_rank, .handle = GA_Pgroup_self()};

	outer.handle = GA_Pgroup_create(outer.members, outer.count);
	inner = (struct group){.count = upper ? outer.count - half : half,
			       .rank = upper ? outer.rank - half : outer.rank};
	inner.members = outer.members + (upper ? half : 0);
	GA_Pgroup_set_default(outer.handle);
	inner.handle = GA_Pgroup_split_irreg(outer.handle, upper);
	GA_Pgroup_set_default(GA_Pgroup_get_world());
	check_group(&inner, "inside a group");
	check_group(&outer, "around a group");
	check_group(&self, "of one process");
	GA_Sync();
	free(outer.members);
}

/* Collectives on the world between those of groups. */
static void do_interleaved(void)
{
	struct group g = group_interleaved(check_ranks > 1 ? 2 : 1);

	g.handle = GA_Pgroup_create(g.members, g.count);
	for (int round = 0; round < 40; round++) {
		long mine = word(round, check_rank, 0), all = 0, ours = 0, got = mine;

		for (int rank = 0; rank < check_ranks; rank++)
			all += word(round, rank, 0);
		for (int i = 0; i < g.count; i++)
			ours += word(round, g.members[i], 0);
		GA_Pgroup_lgop(g.handle, &got, 1, "+");
		CHECK(got == ours, "round %d: the group's sum is %ld, not %ld", round, got,
		      ours);
		got = mine;
		GA_Lgop(&got, 1, "+");
		CHECK(got == all, "round %d: the world's sum is %ld, not %ld", round, got, all);
	}
	GA_Sync();
	GA_Pgroup_destroy(g.handle);
	free(g.members);
}

int main(int argc, char **argv)
{
	check_begin(&argc, &argv);
	do_lists();
	do_colours();
	for (int parts = 1; parts <= 4 && parts <= check_ranks; parts *= 2)
		do_split(parts);
	do_nested();
	do_interleaved();
	return check_end();
}
