/* SPDX-License-Identifier: BSD-3-Clause */
/* Put, get and accumulate of patches, of every type, in one to four dimensions, from buffers
 * with padded rows. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { GETS = 12, ACCS = 5, TAG_PUT = 1, TAG_ACC = 100, TAG_SINGLE = 50 };

static const int shapes[4][4] = {{97}, {23, 17}, {9, 8, 11}, {5, 6, 4, 7}};

struct subject {
	const struct type *type;
	int g_a, ndim, dims[DIMS_MAX];
	size_t count;
	struct num *expected; /* what the whole array should hold */
};

static void fill(const struct subject *s, const struct patch *patch, int tag)
{
	int at[DIMS_MAX];

	box_first(&patch->box, at);
	do {
		size_t index = dims_offset(s->ndim, s->dims, at);

		num_store(s->type, patch_at(patch, at), num_at(s->type, tag, index));
	} while (box_next(&patch->box, at));
}

/* Each rank puts slabs across the last dimension, which no owner holds alone. */
static void put_slabs(struct subject *s)
{
	int last = s->ndim - 1;

	for (int i = 0; i < s->dims[last]; i++) {
		struct box box = box_whole(s->ndim, s->dims);
		struct patch patch;

		if ((i + 1) % check_ranks != check_rank)
			continue;
		box.lo[last] = box.hi[last] = i;
		patch = patch_create(s->type, &box, i % 3);
		fill(s, &patch, TAG_PUT);
		NGA_Put(s->g_a, box.lo, box.hi, patch.data, patch.ld);
		/* A put has read its buffer when it returns. */
		memset(patch.data, 0, patch.bytes);
		patch_destroy(&patch);
	}
	for (size_t i = 0; i < s->count; i++)
		s->expected[i] = num_at(s->type, TAG_PUT, i);
	GA_Sync();
	check_array(s->g_a, s->expected, "after put");
}

static void get_boxes(const struct subject *s)
{
	struct random random = {.seed = 77 + (uint64_t)check_rank};

	for (int i = 0; i < GETS; i++) {
		struct box box = box_random(&random, s->ndim, s->dims);
		struct patch patch = patch_create(s->type, &box, random_below(&random, 4));
		int at[DIMS_MAX];

		NGA_Get(s->g_a, box.lo, box.hi, patch.data, patch.ld);
		patch_check_padding(&patch, "get");
		box_first(&box, at);
		do {
			size_t index = dims_offset(s->ndim, s->dims, at);
			const void *place = patch_at(&patch, at);

			CHECK(num_is(s->type, place, s->expected[index]),
			      "get of a box: element %zu of %s is %s instead of %s", index,
			      s->type->name, num_text(s->type, place),
			      num_wanted(s->type, s->expected[index]));
		} while (box_next(&box, at));
		patch_destroy(&patch);
	}
	GA_Sync();
}

static void add_to_expected(struct subject *s, const struct box *box, struct num alpha, int tag)
{
	int at[DIMS_MAX];

	box_first(box, at);
	do {
		size_t index = dims_offset(s->ndim, s->dims, at);
		struct num term = num_mul(alpha, num_at(s->type, tag, index));

		s->expected[index] = num_add(s->expected[index], term);
	} while (box_next(box, at));
}

/* All ranks accumulate into overlapping boxes at once; each knows what the others add. */
static void acc_boxes(struct subject *s)
{
	for (int rank = 0; rank < check_ranks; rank++) {
		struct random random = {.seed = 1000 + (uint64_t)rank};

		for (int i = 0; i < ACCS; i++) {
			struct box box = box_random(&random, s->ndim, s->dims);
			struct num alpha = {.re = random_below(&random, 7) - 3};
			int padding = random_below(&random, 3), tag = TAG_ACC + rank * ACCS + i;
			unsigned char scale[16] __attribute__((aligned(16)));
			struct patch patch;

			if (s->type->complex)
				alpha.im = 2 - alpha.re;
			add_to_expected(s, &box, alpha, tag);
			if (rank != check_rank)
				continue;
			patch = patch_create(s->type, &box, padding);
			fill(s, &patch, tag);
			num_store(s->type, scale, alpha);
			NGA_Acc(s->g_a, box.lo, box.hi, patch.data, patch.ld, scale);
			patch_check_padding(&patch, "acc");
			patch_destroy(&patch);
		}
	}
	GA_Sync();
	check_array(s->g_a, s->expected, "after acc");
	GA_Sync();
}

/* Neighbouring single elements come from different ranks: no write may touch more than its
 * bytes. */
static void put_singles(struct subject *s)
{
	struct box whole = box_whole(s->ndim, s->dims);
	int at[DIMS_MAX], ld[DIMS_MAX] = {1, 1, 1, 1};
	size_t index = 0;

	box_first(&whole, at);
	do {
		unsigned char element[16] __attribute__((aligned(16)));

		if (index % 3 == 0) {
			s->expected[index] = num_at(s->type, TAG_SINGLE, index);
			num_store(s->type, element, s->expected[index]);
			if (index / 3 % (size_t)check_ranks == (size_t)check_rank)
				NGA_Put(s->g_a, at, at, element, ld);
		}
		index++;
	} while (box_next(&whole, at));
	GA_Sync();
	check_array(s->g_a, s->expected, "after puts of single elements");
}

/* A process sees its own blocking put at once, whoever owns the place. */
static void put_then_get(const struct subject *s)
{
	struct box box = box_whole(s->ndim, s->dims);
	int slab = check_rank, last = s->ndim - 1;

	GA_Sync();
	if (slab < s->dims[last]) {
		box.lo[last] = box.hi[last] = slab;
		for (int round = 0; round < 4; round++) {
			struct patch put = patch_create(s->type, &box, 1);
			struct patch got = patch_create(s->type, &box, 1);

			fill(s, &put, 500 + round * 8 + check_rank);
			NGA_Put(s->g_a, box.lo, box.hi, put.data, put.ld);
			NGA_Get(s->g_a, box.lo, box.hi, got.data, got.ld);
			CHECK(memcmp(put.data, got.data, put.bytes) == 0,
			      "a get after a put of %s in %d dimensions brings old data",
			      s->type->name, s->ndim);
			patch_destroy(&put);
			patch_destroy(&got);
		}
	}
	GA_Sync();
}

int main(int argc, char **argv)
{
	check_begin(&argc, &argv);
	for (int t = 0; t < check_types_count; t++) {
		for (int ndim = 1; ndim <= 4; ndim++) {
			struct subject s = {.type = &check_types[t], .ndim = ndim};

			memcpy(s.dims, shapes[ndim - 1], sizeof(int) * (size_t)ndim);
			s.count = dims_count(ndim, s.dims);
			s.expected = check_alloc(s.count, sizeof(*s.expected));
			s.g_a = NGA_Create(s.type->ga, ndim, s.dims, "patches", NULL);
			CHECK(s.g_a, "NGA_Create fails for %s", s.type->name);
			put_slabs(&s);
			get_boxes(&s);
			acc_boxes(&s);
			put_singles(&s);
			put_then_get(&s);
			GA_Destroy(s.g_a);
			free(s.expected);
		}
	}
	return check_end();
}
