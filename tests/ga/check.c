/* SPDX-License-Identifier: BSD-3-Clause */
/* Start and end, failing with a sentence, exact numbers of every type, boxes and patches. */
#include "check.h"

#include <mpi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int check_rank, check_ranks;

const struct type check_types[] = {
	{C_INT, "int", sizeof(int), 0},
	{C_LONG, "long", sizeof(long), 0},
	{C_FLOAT, "float", sizeof(float), 0},
	{C_DBL, "double", sizeof(double), 0},
	{C_DCPL, "double complex", sizeof(DoubleComplex), 1},
	{C_SCPL, "single complex", sizeof(SingleComplex), 1},
};
const int check_types_count = sizeof(check_types) / sizeof(check_types[0]);

/* When the test wants nodes of so many ranks, there must be as many nodes as that makes. */
static void check_nodes(void)
{
	const char *text = getenv("STASIS_ARMCI_NODE_RANKS");
	int each = text ? atoi(text) : 0, wanted = each ? (check_ranks + each - 1) / each : 0;

	CHECK(!each || GA_Cluster_nnodes() == wanted,
	      "%d ranks are on %d nodes, not on %d of %d ranks each", check_ranks,
	      GA_Cluster_nnodes(), wanted, each);
}

void check_begin(int *argc, char ***argv)
{
	MPI_Init(argc, argv);
	GA_Initialize();
	check_rank = GA_Nodeid();
	check_ranks = GA_Nnodes();
	check_nodes();
	CHECK(MA_init(C_DBL, 1 << 19, 1 << 19), "MA_init gives no memory");
}

int check_end(void)
{
	GA_Sync();
	GA_Terminate();
	MPI_Finalize();
	if (check_rank == 0)
		puts("ok");
	return 0;
}

void check_fail(const char *file, int line, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	fprintf(stderr, "rank %d of %d: %s (%s:%d)\n", check_rank, check_ranks, text, file,
		line);
	fflush(stderr);
	MPI_Abort(MPI_COMM_WORLD, 1);
	exit(1);
}

void *check_alloc(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	CHECK(memory, "no memory for %zu times %zu bytes", count, size);
	return memory;
}

uint64_t check_mix(uint64_t position)
{
	uint64_t z = (position + 1) * 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

int random_below(struct random *random, int below)
{
	uint64_t word = check_mix(check_mix(random->seed) + random->position++);

	return (int)(word % (uint64_t)below);
}

const struct type *type_find(int ga)
{
	for (int i = 0; i < check_types_count; i++) {
		if (check_types[i].ga == ga)
			return &check_types[i];
	}
	check_fail(__FILE__, __LINE__, "type %d is unknown", ga);
}

struct num num_at(const struct type *type, int tag, size_t index)
{
	uint64_t word = check_mix(check_mix((uint64_t)tag) ^ index);

	return (struct num){.re = (long)(word % 199) - 99,
			    .im = type->complex ? (long)(word / 199 % 199) - 99 : 0};
}

struct num num_add(struct num a, struct num b)
{
	return (struct num){a.re + b.re, a.im + b.im};
}

struct num num_mul(struct num a, struct num b)
{
	return (struct num){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

void num_store(const struct type *type, void *place, struct num num)
{
	switch (type->ga) {
	case C_INT: *(int *)place = (int)num.re; break;
	case C_LONG: *(long *)place = num.re; break;
	case C_FLOAT: *(float *)place = (float)num.re; break;
	case C_DBL: *(double *)place = (double)num.re; break;
	case C_DCPL:
		*(DoubleComplex *)place = (DoubleComplex){(double)num.re, (double)num.im};
		break;
	case C_SCPL:
		*(SingleComplex *)place = (SingleComplex){(float)num.re, (float)num.im};
		break;
	default: CHECK(0, "no type %d", type->ga);
	}
}

int num_is(const struct type *type, const void *place, struct num num)
{
	double re = (double)num.re, im = (double)num.im;

	switch (type->ga) {
	case C_INT: return *(const int *)place == num.re;
	case C_LONG: return *(const long *)place == num.re;
	case C_FLOAT: return *(const float *)place == (float)re;
	case C_DBL: return *(const double *)place == re;
	case C_DCPL: {
		const DoubleComplex *z = place;

		return z->real == re && z->imag == im;
	}
	case C_SCPL: {
		const SingleComplex *c = place;

		return c->real == (float)re && c->imag == (float)im;
	}
	default: check_fail(__FILE__, __LINE__, "no type %d", type->ga);
	}
}

const char *num_text(const struct type *type, const void *place)
{
	static char texts[4][80];
	static int turn;
	char *text = texts[turn++ % 4];
	size_t size = sizeof(texts[0]);

	switch (type->ga) {
	case C_INT: snprintf(text, size, "%d", *(const int *)place); break;
	case C_LONG: snprintf(text, size, "%ld", *(const long *)place); break;
	case C_FLOAT: snprintf(text, size, "%g", (double)*(const float *)place); break;
	case C_DBL: snprintf(text, size, "%.17g", *(const double *)place); break;
	case C_DCPL:
		snprintf(text, size, "(%.17g,%.17g)", ((const DoubleComplex *)place)->real,
			 ((const DoubleComplex *)place)->imag);
		break;
	case C_SCPL:
		snprintf(text, size, "(%g,%g)", (double)((const SingleComplex *)place)->real,
			 (double)((const SingleComplex *)place)->imag);
		break;
	default: CHECK(0, "no type %d", type->ga);
	}
	return text;
}

const char *num_wanted(const struct type *type, struct num num)
{
	unsigned char place[sizeof(DoubleComplex)] __attribute__((aligned(16)));

	num_store(type, place, num);
	return num_text(type, place);
}

struct box box_whole(int ndim, const int *dims)
{
	struct box box = {.ndim = ndim};

	for (int i = 0; i < ndim; i++)
		box.hi[i] = dims[i] - 1;
	return box;
}

struct box box_random(struct random *random, int ndim, const int *dims)
{
	struct box box = {.ndim = ndim};

	for (int i = 0; i < ndim; i++) {
		int a = random_below(random, dims[i]), b = random_below(random, dims[i]);

		box.lo[i] = a < b ? a : b;
		box.hi[i] = a < b ? b : a;
	}
	return box;
}

size_t box_count(const struct box *box)
{
	size_t count = 1;

	for (int i = 0; i < box->ndim; i++)
		count *= (size_t)(box->hi[i] - box->lo[i] + 1);
	return count;
}

void box_first(const struct box *box, int *at)
{
	memcpy(at, box->lo, sizeof(int) * (size_t)box->ndim);
}

int box_next(const struct box *box, int *at)
{
	for (int i = box->ndim - 1; i >= 0; i--) {
		if (++at[i] <= box->hi[i])
			return 1;
		at[i] = box->lo[i];
	}
	return 0;
}

size_t dims_offset(int ndim, const int *dims, const int *at)
{
	size_t offset = 0;

	for (int i = 0; i < ndim; i++)
		offset = offset * (size_t)dims[i] + (size_t)at[i];
	return offset;
}

size_t dims_count(int ndim, const int *dims)
{
	struct box box = box_whole(ndim, dims);

	return box_count(&box);
}

struct patch patch_create(const struct type *type, const struct box *box, int padding)
{
	struct patch patch = {.type = type, .box = *box};

	for (int i = 0; i < box->ndim; i++)
		patch.dims[i] = box->hi[i] - box->lo[i] + 1 + (i > 0 ? padding : 0);
	for (int i = 0; i + 1 < box->ndim; i++)
		patch.ld[i] = patch.dims[i + 1];
	patch.bytes = dims_count(box->ndim, patch.dims) * type->size;
	patch.data = check_alloc(patch.bytes, 1);
	memset(patch.data, PATCH_GUARD, patch.bytes);
	return patch;
}

void patch_destroy(struct patch *patch)
{
	free(patch->data);
	patch->data = NULL;
}

void *patch_at(const struct patch *patch, const int *at)
{
	int inside[DIMS_MAX];

	for (int i = 0; i < patch->box.ndim; i++)
		inside[i] = at[i] - patch->box.lo[i];
	return patch->data +
	       dims_offset(patch->box.ndim, patch->dims, inside) * patch->type->size;
}

void patch_check_padding(const struct patch *patch, const char *what)
{
	struct box memory = box_whole(patch->box.ndim, patch->dims);
	const unsigned char *byte = patch->data;
	int at[DIMS_MAX];

	box_first(&memory, at);
	do {
		int inside = 1;

		for (int i = 0; i < memory.ndim; i++)
			inside &= at[i] <= patch->box.hi[i] - patch->box.lo[i];
		for (size_t i = 0; !inside && i < patch->type->size; i++) {
			CHECK(byte[i] == PATCH_GUARD,
			      "%s: byte %zu of the buffer, which is padding, is overwritten",
			      what, (size_t)(byte - patch->data) + i);
		}
		byte += patch->type->size;
	} while (box_next(&memory, at));
}

void check_array(int g_a, const struct num *expected, const char *what)
{
	int ga_type, ndim, dims[DIMS_MAX], at[DIMS_MAX];
	const struct type *type;
	struct patch patch;
	struct box box;
	size_t index = 0;

	NGA_Inquire(g_a, &ga_type, &ndim, dims);
	type = type_find(ga_type);
	box = box_whole(ndim, dims);
	patch = patch_create(type, &box, 0);
	NGA_Get(g_a, box.lo, box.hi, patch.data, patch.ld);
	box_first(&box, at);
	do {
		const void *place = patch_at(&patch, at);

		CHECK(num_is(type, place, expected[index]),
		      "%s: element %zu of %d dimensions of %s is %s instead of %s", what, index,
		      ndim, type->name, num_text(type, place),
		      num_wanted(type, expected[index]));
		index++;
	} while (box_next(&box, at));
	patch_destroy(&patch);
}
