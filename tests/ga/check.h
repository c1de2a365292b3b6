/* SPDX-License-Identifier: BSD-3-Clause */
/* What the Global Arrays programs share: start and end, failing with a sentence, exact numbers
 * of every type, boxes. */
#ifndef STASIS_TESTS_GA_CHECK_H
#define STASIS_TESTS_GA_CHECK_H

#include <ga.h>
#include <macdecls.h>
#include <stddef.h>
#include <stdint.h>

enum { DIMS_MAX = 7 };

/* This process among all, and how many there are. */
extern int check_rank, check_ranks;

/* Start MPI, Global Arrays and its local memory. */
void check_begin(int *argc, char ***argv);

/* End all of it; rank 0 says ok. Returns the exit code of main(). */
int check_end(void);

/* Say what is wrong and end all ranks. */
void check_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 3, 4)));

#define CHECK(condition, ...)                                        \
	do {                                                         \
		if (!(condition))                                    \
			check_fail(__FILE__, __LINE__, __VA_ARGS__); \
	} while (0)

/* calloc() that does not fail. */
void *check_alloc(size_t count, size_t size);

/* A random word that depends on the position alone (splitmix64). */
uint64_t check_mix(uint64_t position);

/* A stream of small random numbers: the same on every rank that starts with the same seed. */
struct random {
	uint64_t seed;
	uint64_t position;
};

/* 0 ≤ result < below. */
int random_below(struct random *random, int below);

/*
 * A value of any type, as whole numbers small enough that sums and products are exact even in
 * single precision. Types that are not complex drop the imaginary part.
 */
struct num {
	long re, im;
};

struct type {
	int ga;
	const char *name;
	size_t size;
	int complex;
};

extern const struct type check_types[];
extern const int check_types_count;

const struct type *type_find(int ga);
/* The value that belongs at an index of what `tag` names. */
struct num num_at(const struct type *type, int tag, size_t index);
struct num num_add(struct num a, struct num b);
struct num num_mul(struct num a, struct num b);
void num_store(const struct type *type, void *place, struct num num);
/* Whether the value at the place is exactly num. */
int num_is(const struct type *type, const void *place, struct num num);
/* What is at the place, for messages; the text lives until the fourth call from now. */
const char *num_text(const struct type *type, const void *place);
const char *num_wanted(const struct type *type, struct num num);

/* A box of an array: its bounds are inside. */
struct box {
	int ndim;
	int lo[DIMS_MAX], hi[DIMS_MAX];
};

struct box box_whole(int ndim, const int *dims);
struct box box_random(struct random *random, int ndim, const int *dims);
size_t box_count(const struct box *box);
/* The first index of the box, then the next one in row-major order; box_next() returns 0 after
 * the last. */
void box_first(const struct box *box, int *at);
int box_next(const struct box *box, int *at);
/* The row-major position of an index in an array of these dimensions. */
size_t dims_offset(int ndim, const int *dims, const int *at);
size_t dims_count(int ndim, const int *dims);

/* The memory that a box is put from or got into: rows longer than the box by `padding`
 * elements. */
struct patch {
	const struct type *type;
	struct box box;
	int dims[DIMS_MAX]; /* of the memory */
	int ld[DIMS_MAX];   /* as Global Arrays wants it */
	size_t bytes;
	unsigned char *data;
};

/* All bytes are PATCH_GUARD. */
enum { PATCH_GUARD = 0xa5 };
struct patch patch_create(const struct type *type, const struct box *box, int padding);
void patch_destroy(struct patch *patch);
/* Where the element for an index of the array is. */
void *patch_at(const struct patch *patch, const int *at);
/* The padding must be as patch_create() left it. */
void patch_check_padding(const struct patch *patch, const char *what);

/* Get the whole array and compare each element with expected[]. */
void check_array(int g_a, const struct num *expected, const char *what);

#endif
