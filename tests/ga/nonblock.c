/* SPDX-License-Identifier: BSD-3-Clause */
/* Non-blocking put, get and accumulate: many at once, waited for in another order, tested for,
 * with work between. */
#include "check.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { FLIGHT = 24, WAVES = 3, TAG_PUT = 1, TAG_ACC = 400 };

static const int shapes[3][3] = {{1200}, {48, 40}, {12, 14, 13}};

struct subject {
	const struct type *type;
	int g_a, ndim, dims[DIMS_MAX];
	size_t count;
	struct num *expected;
};

/* A permutation of the flight: the order in which its members are waited for. */
static int waited_at(int i)
{
	return i * 7 % FLIGHT;
}

static void fill(const struct subject *s, const struct patch *patch, int tag)
{
	int at[DIMS_MAX];

	box_first(&patch->box, at);
	do {
		num_store(s->type, patch_at(patch, at),
			  num_at(s->type, tag, dims_offset(s->ndim, s->dims, at)));
	} while (box_next(&patch->box, at));
}

/* The slab i along the first dimension. */
static struct box slab(const struct subject *s, int i)
{
	struct box box = box_whole(s->ndim, s->dims);

	box.lo[0] = box.hi[0] = i;
	return box;
}

/* Slabs in flights; a buffer may be used again after its wait, and is. */
static void puts_in_flight(struct subject *s, int tag)
{
	struct patch patches[FLIGHT];
	ga_nbhdl_t handles[FLIGHT];
	int begin = check_rank, step = check_ranks;

	while (begin < s->dims[0]) {
		int n = 0;

		for (int i = begin; i < s->dims[0] && n < FLIGHT; i += step, n++) {
			struct box box = slab(s, i);

			patches[n] = patch_create(s->type, &box, n % 3);
			fill(s, &patches[n], tag);
			NGA_NbPut(s->g_a, box.lo, box.hi, patches[n].data, patches[n].ld,
				  &handles[n]);
		}
		for (int i = 0; i < FLIGHT; i++) {
			int k = waited_at(i);

			if (k >= n)
				continue;
			NGA_NbWait(&handles[k]);
			memset(patches[k].data, 0, patches[k].bytes);
			patch_destroy(&patches[k]);
		}
		begin += n * step;
	}
	for (size_t i = 0; i < s->count; i++)
		s->expected[i] = num_at(s->type, tag, i);
	GA_Sync();
	check_array(s->g_a, s->expected, "after NGA_NbPut");
}

static void check_box(const struct subject *s, const struct patch *patch, const char *what)
{
	int at[DIMS_MAX];

	patch_check_padding(patch, what);
	box_first(&patch->box, at);
	do {
		size_t index = dims_offset(s->ndim, s->dims, at);
		const void *place = patch_at(patch, at);

		CHECK(num_is(s->type, place, s->expected[index]),
		      "%s: element %zu of %d dimensions of %s is %s instead of %s", what, index,
		      s->ndim, s->type->name, num_text(s->type, place),
		      num_wanted(s->type, s->expected[index]));
	} while (box_next(&patch->box, at));
}

/* Some handles are tested until done, the others waited for. */
static void gets_in_flight(const struct subject *s)
{
	struct random random = {.seed = 11 + (uint64_t)check_rank};
	struct patch patches[FLIGHT];
	ga_nbhdl_t handles[FLIGHT];

	for (int wave = 0; wave < WAVES; wave++) {
		for (int i = 0; i < FLIGHT; i++) {
			struct box box = box_random(&random, s->ndim, s->dims);

			patches[i] = patch_create(s->type, &box, random_below(&random, 3));
			NGA_NbGet(s->g_a, box.lo, box.hi, patches[i].data, patches[i].ld,
				  &handles[i]);
		}
		for (int i = 0; i < FLIGHT; i++) {
			int k = waited_at(i);

			if (k % 4 != 0)
				NGA_NbWait(&handles[k]);
			while (k % 4 == 0 && !NGA_NbTest(&handles[k]))
				sched_yield();
			check_box(s, &patches[k], "NGA_NbGet");
			patch_destroy(&patches[k]);
		}
	}
	GA_Sync();
}

/* Overlapping boxes of all ranks at once. */
static void accs_in_flight(struct subject *s)
{
	for (int rank = 0; rank < check_ranks; rank++) {
		struct random random = {.seed = 600 + (uint64_t)rank};
		struct patch patches[FLIGHT];
		ga_nbhdl_t handles[FLIGHT];

		for (int i = 0; i < FLIGHT; i++) {
			struct box box = box_random(&random, s->ndim, s->dims);
			struct num alpha = {random_below(&random, 5) - 2,
					    s->type->complex ? 1 : 0};
			unsigned char scale[16] __attribute__((aligned(16)));
			int at[DIMS_MAX], tag = TAG_ACC + rank * FLIGHT + i;

			box_first(&box, at);
			do {
				size_t index = dims_offset(s->ndim, s->dims, at);
				struct num term = num_mul(alpha, num_at(s->type, tag, index));

				s->expected[index] = num_add(s->expected[index], term);
			} while (box_next(&box, at));
			if (rank != check_rank)
				continue;
			patches[i] = patch_create(s->type, &box, i % 2);
			fill(s, &patches[i], tag);
			num_store(s->type, scale, alpha);
			NGA_NbAcc(s->g_a, box.lo, box.hi, patches[i].data, patches[i].ld, scale,
				  &handles[i]);
		}
		for (int i = 0; rank == check_rank && i < FLIGHT; i++) {
			NGA_NbWait(&handles[waited_at(i)]);
			patch_destroy(&patches[waited_at(i)]);
		}
	}
	GA_Sync();
	check_array(s->g_a, s->expected, "after NGA_NbAcc");
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
			s.g_a = NGA_Create(s.type->ga, ndim, s.dims, "in flight", NULL);
			CHECK(s.g_a, "NGA_Create fails for %s", s.type->name);
			puts_in_flight(&s, TAG_PUT + t);
			gets_in_flight(&s);
			accs_in_flight(&s);
			GA_Destroy(s.g_a);
			free(s.expected);
		}
	}
	return check_end();
}
