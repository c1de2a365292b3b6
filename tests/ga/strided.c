/* SPDX-License-Identifier: BSD-3-Clause */
/* Puts, gets and accumulates with a step between elements, and across the edges as if the array
 * were periodic. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { CASES = 12, TAG_PUT = 10, TAG_ACC = 5000 };

static const int shapes[3][3] = {{83}, {21, 26}, {9, 14, 15}};

/*
 * The first of three dimensions stays whole: Global Arrays 5.8.2 miscounts the place in the
 * buffer of a block that begins later in it, whatever ARMCI library is below.
 */
static const int chunks[3][3] = {{-1}, {-1, -1}, {9, -1, -1}};

struct subject {
	const struct type *type;
	int g_a, ndim, dims[DIMS_MAX];
	size_t count;
	struct num *expected;
};

/* The elements of one call: an element at(i) of the array for each position of a dense buffer.
 */
struct selection {
	struct box box; /* as the call gets it */
	int skip[DIMS_MAX];
	int counts[DIMS_MAX], ld[DIMS_MAX];
	unsigned char *data;
};

static void selection_size(struct selection *sel, const struct subject *s)
{
	for (int i = 0; i < s->ndim; i++)
		sel->counts[i] = (sel->box.hi[i] - sel->box.lo[i]) / sel->skip[i] + 1;
	for (int i = 0; i + 1 < s->ndim; i++)
		sel->ld[i] = sel->counts[i + 1];
	sel->data = check_alloc(dims_count(s->ndim, sel->counts), s->type->size);
}

static struct selection selection_strided(struct random *random, const struct subject *s)
{
	struct selection sel = {.box = box_random(random, s->ndim, s->dims)};

	for (int i = 0; i < s->ndim; i++)
		sel.skip[i] = 1 + random_below(random, 4);
	selection_size(&sel, s);
	return sel;
}

/* Shifted up to a whole array beyond an edge, and never longer than the array. */
static struct selection selection_periodic(struct random *random, const struct subject *s)
{
	struct selection sel = {.box = box_random(random, s->ndim, s->dims)};

	for (int i = 0; i < s->ndim; i++) {
		int shift = random_below(random, 2 * s->dims[i]) - s->dims[i];

		sel.box.lo[i] += shift;
		sel.box.hi[i] += shift;
		sel.skip[i] = 1;
	}
	selection_size(&sel, s);
	return sel;
}

/* The array's index of a position of the buffer. */
static size_t selection_index(const struct selection *sel, const struct subject *s,
			      const int *at)
{
	int inside[DIMS_MAX];

	for (int i = 0; i < s->ndim; i++) {
		int dim = s->dims[i];

		inside[i] = ((sel->box.lo[i] + at[i] * sel->skip[i]) % dim + dim) % dim;
	}
	return dims_offset(s->ndim, s->dims, inside);
}

/* Fill the buffer, and add alpha times it to keep times what is expected. */
static void selection_fill(struct selection *sel, struct subject *s, int tag, struct num alpha,
			   long keep)
{
	struct box box = box_whole(s->ndim, sel->counts);
	unsigned char *place = sel->data;
	int at[DIMS_MAX];

	box_first(&box, at);
	do {
		size_t index = selection_index(sel, s, at);
		struct num value = num_at(s->type, tag, index);
		struct num *expected = &s->expected[index];

		num_store(s->type, place, value);
		*expected = (struct num){expected->re * keep, expected->im * keep};
		*expected = num_add(*expected, num_mul(alpha, value));
		place += s->type->size;
	} while (box_next(&box, at));
}

static void selection_check(const struct selection *sel, const struct subject *s,
			    const char *what)
{
	struct box box = box_whole(s->ndim, sel->counts);
	const unsigned char *place = sel->data;
	int at[DIMS_MAX];

	box_first(&box, at);
	do {
		size_t index = selection_index(sel, s, at);

		CHECK(num_is(s->type, place, s->expected[index]),
		      "%s: element %zu of %d dimensions of %s is %s instead of %s", what, index,
		      s->ndim, s->type->name, num_text(s->type, place),
		      num_wanted(s->type, s->expected[index]));
		place += s->type->size;
	} while (box_next(&box, at));
}

static struct selection selection_create(struct random *random, const struct subject *s,
					 int periodic)
{
	return periodic ? selection_periodic(random, s) : selection_strided(random, s);
}

/* One rank after the other puts, so that the result is certain. */
static void puts_in_turn(struct subject *s, int periodic)
{
	struct random random = {.seed = 40 + (uint64_t)periodic};

	for (int i = 0; i < CASES; i++) {
		struct selection sel = selection_create(&random, s, periodic);

		selection_fill(&sel, s, TAG_PUT + i, (struct num){1, 0}, 0);
		if (i % check_ranks == check_rank && periodic)
			NGA_Periodic_put(s->g_a, sel.box.lo, sel.box.hi, sel.data, sel.ld);
		else if (i % check_ranks == check_rank)
			NGA_Strided_put(s->g_a, sel.box.lo, sel.box.hi, sel.skip, sel.data,
					sel.ld);
		GA_Sync();
		free(sel.data);
	}
	check_array(s->g_a, s->expected,
		    periodic ? "after NGA_Periodic_put" : "after NGA_Strided_put");
	GA_Sync();
}

static void gets(const struct subject *s, int periodic)
{
	struct random random = {.seed = 60 + (uint64_t)(check_rank * 2 + periodic)};

	for (int i = 0; i < CASES; i++) {
		struct selection sel = selection_create(&random, s, periodic);

		if (periodic)
			NGA_Periodic_get(s->g_a, sel.box.lo, sel.box.hi, sel.data, sel.ld);
		else
			NGA_Strided_get(s->g_a, sel.box.lo, sel.box.hi, sel.skip, sel.data,
					sel.ld);
		selection_check(&sel, s, periodic ? "NGA_Periodic_get" : "NGA_Strided_get");
		free(sel.data);
	}
	GA_Sync();
}

/* All at once. */
static void accs(struct subject *s, int periodic)
{
	struct random random = {.seed = 80 + (uint64_t)periodic};

	for (int i = 0; i < CASES; i++) {
		struct selection sel = selection_create(&random, s, periodic);
		struct num alpha = {.re = i % 5 - 2, .im = s->type->complex ? i % 3 : 0};
		unsigned char scale[16] __attribute__((aligned(16)));

		selection_fill(&sel, s, TAG_ACC + i, alpha, 1);
		num_store(s->type, scale, alpha);
		if (i % check_ranks == check_rank && periodic)
			NGA_Periodic_acc(s->g_a, sel.box.lo, sel.box.hi, sel.data, sel.ld,
					 scale);
		else if (i % check_ranks == check_rank)
			NGA_Strided_acc(s->g_a, sel.box.lo, sel.box.hi, sel.skip, sel.data,
					sel.ld, scale);
		free(sel.data);
	}
	GA_Sync();
	check_array(s->g_a, s->expected,
		    periodic ? "after NGA_Periodic_acc" : "after NGA_Strided_acc");
	GA_Sync();
}

int main(int argc, char **argv)
{
	check_begin(&argc, &argv);
	for (int t = 0; t < check_types_count; t++) {
		for (int ndim = 1; ndim <= 3; ndim++) {
			struct subject s = {.type = &check_types[t], .ndim = ndim};
			int chunk[DIMS_MAX];

			memcpy(s.dims, shapes[ndim - 1], sizeof(int) * (size_t)ndim);
			s.count = dims_count(ndim, s.dims);
			s.expected = check_alloc(s.count, sizeof(*s.expected));
			memcpy(chunk, chunks[ndim - 1], sizeof(int) * (size_t)ndim);
			s.g_a = NGA_Create(s.type->ga, ndim, s.dims, "strided", chunk);
			CHECK(s.g_a, "NGA_Create fails for %s", s.type->name);
			GA_Zero(s.g_a);
			for (int periodic = 0; periodic < 2; periodic++) {
				puts_in_turn(&s, periodic);
				gets(&s, periodic);
				accs(&s, periodic);
			}
			GA_Destroy(s.g_a);
			free(s.expected);
		}
	}
	return check_end();
}
