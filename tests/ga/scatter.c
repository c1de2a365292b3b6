/* SPDX-License-Identifier: BSD-3-Clause */
/* Scatter, gather and scatter-accumulate of single elements, in one to three dimensions, by
 * lists and by flat indices. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { GATHERED = 150, ADDED = 60, TAG_SCATTER = 1, TAG_ADD = 10 };

static const int shapes[3][3] = {{331}, {19, 23}, {7, 9, 8}};

/* Subscripts and values of the elements of one call. */
struct elements {
	const struct type *type;
	int ndim, count;
	int *flat;   /* ndim subscripts of each element */
	int **lists; /* into flat */
	unsigned char *values;
};

static struct elements elements_create(const struct type *type, int ndim, int count)
{
	struct elements e = {.type = type, .ndim = ndim, .count = count};

	e.flat = check_alloc((size_t)(count * ndim), sizeof(*e.flat));
	e.lists = check_alloc((size_t)count, sizeof(*e.lists));
	e.values = check_alloc((size_t)count, type->size);
	for (int i = 0; i < count; i++)
		e.lists[i] = e.flat + i * ndim;
	return e;
}

static void elements_destroy(struct elements *e)
{
	free(e->flat);
	free(e->lists);
	free(e->values);
}

static void *elements_value(const struct elements *e, int i)
{
	return e->values + (size_t)i * e->type->size;
}

static void elements_set_index(struct elements *e, int i, size_t index, const int *dims)
{
	for (int d = e->ndim - 1; d >= 0; d--) {
		e->lists[i][d] = (int)(index % (size_t)dims[d]);
		index /= (size_t)dims[d];
	}
}

struct subject {
	const struct type *type;
	int g_a, ndim, dims[DIMS_MAX];
	size_t count;
	struct num *expected;
};

/* Every element is written once, in an order that jumps between the owners. */
static void scatter_all(struct subject *s, int flat)
{
	int count = ((int)s->count - check_rank + check_ranks - 1) / check_ranks;
	struct elements e = elements_create(s->type, s->ndim, count);
	int tag = TAG_SCATTER + flat;

	for (int i = 0; i < count; i++) {
		/* 1009 is a prime that divides no count of the shapes. */
		size_t index = (size_t)(i * check_ranks + check_rank) * 1009 % s->count;

		elements_set_index(&e, i, index, s->dims);
		num_store(s->type, elements_value(&e, i), num_at(s->type, tag, index));
	}
	if (flat)
		NGA_Scatter_flat(s->g_a, e.values, e.flat, count);
	else
		NGA_Scatter(s->g_a, e.values, e.lists, count);
	elements_destroy(&e);
	for (size_t i = 0; i < s->count; i++)
		s->expected[i] = num_at(s->type, tag, i);
	GA_Sync();
	check_array(s->g_a, s->expected, flat ? "after scatter_flat" : "after scatter");
}

/* Any elements in any order, some of them more than once. */
static void gather_some(const struct subject *s, int flat)
{
	struct random random = {.seed = 5 + (uint64_t)(check_rank * 2 + flat)};
	struct elements e = elements_create(s->type, s->ndim, GATHERED);

	memset(e.values, PATCH_GUARD, GATHERED * s->type->size);
	for (int i = 0; i < GATHERED; i++)
		elements_set_index(&e, i, (size_t)random_below(&random, (int)s->count),
				   s->dims);
	if (flat)
		NGA_Gather_flat(s->g_a, e.values, e.flat, GATHERED);
	else
		NGA_Gather(s->g_a, e.values, e.lists, GATHERED);
	for (int i = 0; i < GATHERED; i++) {
		size_t index = dims_offset(s->ndim, s->dims, e.lists[i]);

		CHECK(num_is(s->type, elements_value(&e, i), s->expected[index]),
		      "gather: element %zu of %s is %s instead of %s", index, s->type->name,
		      num_text(s->type, elements_value(&e, i)),
		      num_wanted(s->type, s->expected[index]));
	}
	elements_destroy(&e);
	GA_Sync();
}

/* All ranks add at once to places that coincide, within a call and between ranks. */
static void scatter_acc(struct subject *s, int flat)
{
	for (int rank = 0; rank < check_ranks; rank++) {
		struct random random = {.seed = 900 + (uint64_t)(rank * 2 + flat)};
		struct elements e = elements_create(s->type, s->ndim, ADDED);
		struct num alpha = {.re = rank - 2, .im = s->type->complex ? 3 : 0};
		unsigned char scale[16] __attribute__((aligned(16)));

		for (int i = 0; i < ADDED; i++) {
			size_t index = (size_t)random_below(&random, (int)s->count);
			struct num value = num_at(s->type, TAG_ADD + rank, (size_t)i);

			elements_set_index(&e, i, index, s->dims);
			num_store(s->type, elements_value(&e, i), value);
			s->expected[index] = num_add(s->expected[index], num_mul(alpha, value));
		}
		num_store(s->type, scale, alpha);
		if (rank == check_rank && flat)
			NGA_Scatter_acc_flat(s->g_a, e.values, e.flat, ADDED, scale);
		else if (rank == check_rank)
			NGA_Scatter_acc(s->g_a, e.values, e.lists, ADDED, scale);
		elements_destroy(&e);
	}
	GA_Sync();
	check_array(s->g_a, s->expected, flat ? "after scatter_acc_flat" : "after scatter_acc");
	GA_Sync();
}

int main(int argc, char **argv)
{
	check_begin(&argc, &argv);
	for (int t = 0; t < check_types_count; t++) {
		for (int ndim = 1; ndim <= 3; ndim++) {
			struct subject s = {.type = &check_types[t], .ndim = ndim};

			memcpy(s.dims, shapes[ndim - 1], sizeof(int) * (size_t)ndim);
			s.count = dims_count(ndim, s.dims);
			s.expected = check_alloc(s.count, sizeof(*s.expected));
			s.g_a = NGA_Create(s.type->ga, ndim, s.dims, "scattered", NULL);
			CHECK(s.g_a, "NGA_Create fails for %s", s.type->name);
			for (int flat = 0; flat < 2; flat++) {
				scatter_all(&s, flat);
				gather_some(&s, flat);
				scatter_acc(&s, flat);
			}
			GA_Destroy(s.g_a);
			free(s.expected);
		}
	}
	return check_end();
}
