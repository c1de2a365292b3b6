/* SPDX-License-Identifier: BSD-3-Clause */
/* Arrays are created in every shape, duplicated, copied and destroyed; each process holds what
 * the distribution says. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIVE = 24, ROUNDS = 4, TAG_FIRST = 1, TAG_SECOND = 2 };

static const int shapes[][DIMS_MAX] = {
	{41},
	{13, 19},
	{7, 9, 8},
	{5, 6, 4, 5},
	{4, 3, 5, 3, 4},
	{3, 4, 2, 3, 2, 4},
	{2, 3, 2, 3, 2, 2, 3},
};

static void put_all(int g_a, const struct type *type, int ndim, const int *dims, int tag)
{
	struct box box = box_whole(ndim, dims);
	int slab = 0, at[DIMS_MAX];

	/* The rows of the first dimension in turn. */
	for (int i = 0; i < dims[0]; i++, slab++) {
		struct patch patch;

		if (slab % check_ranks != check_rank)
			continue;
		box.lo[0] = box.hi[0] = i;
		patch = patch_create(type, &box, 0);
		box_first(&box, at);
		do {
			num_store(type, patch_at(&patch, at),
				  num_at(type, tag, dims_offset(ndim, dims, at)));
		} while (box_next(&box, at));
		NGA_Put(g_a, box.lo, box.hi, patch.data, patch.ld);
		patch_destroy(&patch);
	}
}

static void check_all(int g_a, const struct type *type, int ndim, const int *dims, int tag,
		      const char *what)
{
	size_t count = dims_count(ndim, dims);
	struct num *expected = check_alloc(count, sizeof(*expected));

	for (size_t i = 0; i < count; i++)
		expected[i] = num_at(type, tag, i);
	check_array(g_a, expected, what);
	free(expected);
}

/* The blocks of all processes cover the array, each element once; NGA_Locate() agrees. */
static void check_distribution(int g_a, int ndim, const int *dims)
{
	size_t count = dims_count(ndim, dims);
	int *owner = check_alloc(count, sizeof(*owner));
	struct box whole = box_whole(ndim, dims);
	int at[DIMS_MAX];

	for (int rank = 0; rank < check_ranks; rank++) {
		struct box block = {.ndim = ndim};

		NGA_Distribution(g_a, rank, block.lo, block.hi);
		if (block.hi[0] < block.lo[0])
			continue;
		box_first(&block, at);
		do {
			size_t index = dims_offset(ndim, dims, at);

			CHECK(index < count && owner[index] == 0,
			      "element %zu of %d dimensions belongs to two processes", index,
			      ndim);
			owner[index] = rank + 1;
		} while (box_next(&block, at));
	}
	box_first(&whole, at);
	do {
		size_t index = dims_offset(ndim, dims, at);
		int located = NGA_Locate(g_a, at);

		CHECK(owner[index] == located + 1,
		      "NGA_Locate says that element %zu is at %d, the distribution %d", index,
		      located, owner[index] - 1);
	} while (box_next(&whole, at));
	free(owner);
}

static void check_inquire(int g_a, const struct type *type, int ndim, const int *dims,
			  const char *name)
{
	int got_type, got_ndim, got_dims[DIMS_MAX];

	NGA_Inquire(g_a, &got_type, &got_ndim, got_dims);
	CHECK(got_type == type->ga, "NGA_Inquire gives type %d, not %s", got_type, type->name);
	CHECK(got_ndim == ndim, "NGA_Inquire gives %d dimensions, not %d", got_ndim, ndim);
	for (int i = 0; i < ndim; i++)
		CHECK(got_dims[i] == dims[i], "NGA_Inquire gives dimension %d as %d, not %d", i,
		      got_dims[i], dims[i]);
	CHECK(strcmp(GA_Inquire_name(g_a), name) == 0, "the array is called %s, not %s",
	      GA_Inquire_name(g_a), name);
}

static void do_shape(const struct type *type, int ndim)
{
	int dims[DIMS_MAX], g_a, g_b;

	memcpy(dims, shapes[ndim - 1], sizeof(dims));
	g_a = NGA_Create(type->ga, ndim, dims, "first", NULL);
	CHECK(g_a, "NGA_Create fails for %d dimensions of %s", ndim, type->name);
	check_inquire(g_a, type, ndim, dims, "first");
	check_distribution(g_a, ndim, dims);
	put_all(g_a, type, ndim, dims, TAG_FIRST);

	g_b = GA_Duplicate(g_a, "second");
	CHECK(g_b && g_b != g_a, "GA_Duplicate gives handle %d for %d", g_b, g_a);
	check_inquire(g_b, type, ndim, dims, "second");
	CHECK(GA_Compare_distr(g_a, g_b) == 0, "a duplicate is distributed in another way");
	GA_Copy(g_a, g_b);
	check_all(g_b, type, ndim, dims, TAG_FIRST, "the copy");
	GA_Sync();
	put_all(g_b, type, ndim, dims, TAG_SECOND);
	GA_Sync();
	check_all(g_a, type, ndim, dims, TAG_FIRST, "the original, after a put to its copy");
	GA_Sync();
	GA_Destroy(g_a);
	check_all(g_b, type, ndim, dims, TAG_SECOND, "the copy, without the original");
	GA_Zero(g_b);
	for (struct box one = box_whole(ndim, dims); one.ndim; one.ndim = 0) {
		struct num *zeros = check_alloc(dims_count(ndim, dims), sizeof(*zeros));

		check_array(g_b, zeros, "after GA_Zero");
		free(zeros);
	}
	GA_Destroy(g_b);
}

/* A distribution of our own: the rows in uneven parts, all columns together. */
static void do_irregular(void)
{
	const struct type *type = type_find(C_DBL);
	int dims[2] = {0, 11}, block[2] = {check_ranks, 1};
	int *map = check_alloc((size_t)check_ranks + 1, sizeof(*map));
	int g_a, lo[2], hi[2];

	for (int rank = 0; rank < check_ranks; rank++) {
		map[rank] = dims[0];
		dims[0] += 1 + rank * 3 % 5;
	}
	map[check_ranks] = 0; /* where the columns begin */
	g_a = NGA_Create_irreg(C_DBL, 2, dims, "irregular", block, map);
	CHECK(g_a, "NGA_Create_irreg fails");
	check_distribution(g_a, 2, dims);
	NGA_Distribution(g_a, check_rank, lo, hi);
	CHECK(lo[0] == map[check_rank] && lo[1] == 0 && hi[1] == dims[1] - 1 &&
		      hi[0] == lo[0] + check_rank * 3 % 5,
	      "the block is (%d,%d)-(%d,%d), not as the map says", lo[0], lo[1], hi[0], hi[1]);
	put_all(g_a, type, 2, dims, TAG_FIRST);
	GA_Sync();
	check_all(g_a, type, 2, dims, TAG_FIRST, "the irregular array");
	GA_Destroy(g_a);
	free(map);
}

/* By handle and properties; a chunk keeps a dimension whole. */
static void do_handle(void)
{
	const struct type *type = type_find(C_LONG);
	int dims[2] = {17, 29}, chunk[2] = {17, -1}, lo[2], hi[2];
	int g_a = GA_Create_handle();

	GA_Set_data(g_a, 2, dims, C_LONG);
	GA_Set_chunk(g_a, chunk);
	GA_Set_array_name(g_a, "by handle");
	CHECK(GA_Allocate(g_a), "GA_Allocate fails");
	check_inquire(g_a, type, 2, dims, "by handle");
	NGA_Distribution(g_a, check_rank, lo, hi);
	CHECK(hi[0] < lo[0] || (lo[0] == 0 && hi[0] == 16),
	      "a chunk of all rows is split: rows %d-%d", lo[0], hi[0]);
	put_all(g_a, type, 2, dims, TAG_SECOND);
	GA_Sync();
	check_all(g_a, type, 2, dims, TAG_SECOND, "the array made by its handle");
	GA_Destroy(g_a);
}

/* Fewer elements than processes: some hold nothing. */
static void do_small(void)
{
	for (int n = 1; n <= 3; n++) {
		int g_a = NGA_Create(C_INT, 1, &n, "small", NULL);

		CHECK(g_a, "NGA_Create of %d elements fails", n);
		check_distribution(g_a, 1, &n);
		put_all(g_a, type_find(C_INT), 1, &n, n);
		GA_Sync();
		check_all(g_a, type_find(C_INT), 1, &n, n, "an array of few elements");
		GA_Destroy(g_a);
	}
}

/* Many arrays at once, destroyed in another order than created; the memory is used again. */
static void do_many(void)
{
	const struct type *type = type_find(C_DBL);
	int handles[ALIVE] = {0}, tags[ALIVE] = {0};
	int dims[ALIVE][2];

	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < ALIVE; i++) {
			char name[32];

			if (handles[i])
				continue;
			dims[i][0] = 3 + (i * 7 + round * 5) % 40;
			dims[i][1] = 1 + (i * 11 + round * 3) % 30;
			snprintf(name, sizeof(name), "array %d", i);
			handles[i] = NGA_Create(C_DBL, 2, dims[i], name, NULL);
			CHECK(handles[i], "NGA_Create of array %d in round %d fails", i, round);
			tags[i] = 1000 + round * ALIVE + i;
			put_all(handles[i], type, 2, dims[i], tags[i]);
		}
		GA_Sync();
		for (int i = 0; i < ALIVE; i++)
			check_all(handles[i], type, 2, dims[i], tags[i], "one of many arrays");
		for (int i = 0; i < ALIVE; i++) {
			if ((i * 5 + round) % 3 == 0 && round + 1 < ROUNDS)
				continue;
			GA_Destroy(handles[i]);
			handles[i] = 0;
		}
	}
}

int main(int argc, char **argv)
{
	check_begin(&argc, &argv);
	for (int t = 0; t < check_types_count; t++) {
		for (int ndim = 1; ndim <= DIMS_MAX; ndim++)
			do_shape(&check_types[t], ndim);
	}
	do_irregular();
	do_handle();
	do_small();
	do_many();
	return check_end();
}
