/* SPDX-License-Identifier: BSD-3-Clause */
/* Strided put and get of 0 to 7 levels against a reference model, blocking and not. */
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "shape.h"

enum { SLOT = 128 * 1024, MAX_BYTES = 24 * 1024 };

static void **bases;
static unsigned char *local;    /* what is put from, or got into */
static unsigned char *remote;   /* what my slot at the target must hold */
static unsigned char *expected; /* what local must hold after a get */

static unsigned char *my_slot(int target)
{
	return (unsigned char *)bases[target] + (size_t)conf_rank * SLOT;
}

static void set_remote(int target, uint64_t seed)
{
	conf_fill(remote, SLOT, seed);
	CHECK_OK(ARMCI_Put(remote, my_slot(target), SLOT, target));
	ARMCI_Fence(target);
}

static void check_remote(int target, const struct shape *shape, const char *what)
{
	static unsigned char now[SLOT];

	ARMCI_Fence(target);
	CHECK_OK(ARMCI_Get(my_slot(target), now, SLOT, target));
	CHECK_BYTES(remote, now, SLOT, "%s at rank %d: %s", what, target, shape_text(shape));
}

static void put_case(struct shape *shape, int target, uint64_t seed, bool nonblocking)
{
	size_t src_offset = seed % 5, dst_offset = seed % 7;
	armci_hdl_t handle;

	CHECK(src_offset + shape_span(shape, shape->src_stride) <= SLOT &&
		      dst_offset + shape_span(shape, shape->dst_stride) <= SLOT,
	      "the shape does not fit: %s", shape_text(shape));
	set_remote(target, seed);
	conf_fill(local, SLOT, seed + 1);
	shape_copy(shape, local + src_offset, remote + dst_offset);
	if (nonblocking) {
		ARMCI_INIT_HANDLE(&handle);
		CHECK_OK(ARMCI_NbPutS(local + src_offset, shape->src_stride,
				      my_slot(target) + dst_offset, shape->dst_stride,
				      shape->count, shape->levels, target, &handle));
		CHECK_OK(ARMCI_Wait(&handle));
	} else {
		CHECK_OK(ARMCI_PutS(local + src_offset, shape->src_stride,
				    my_slot(target) + dst_offset, shape->dst_stride,
				    shape->count, shape->levels, target));
	}
	check_remote(target, shape, nonblocking ? "ARMCI_NbPutS" : "ARMCI_PutS");
}

static void get_case(struct shape *shape, int target, uint64_t seed, bool nonblocking)
{
	size_t src_offset = seed % 7, dst_offset = seed % 3;
	armci_hdl_t handle;

	set_remote(target, seed);
	conf_fill(local, SLOT, seed + 2);
	memcpy(expected, local, SLOT);
	shape_copy(shape, remote + src_offset, expected + dst_offset);
	if (nonblocking) {
		ARMCI_INIT_HANDLE(&handle);
		CHECK_OK(ARMCI_NbGetS(my_slot(target) + src_offset, shape->src_stride,
				      local + dst_offset, shape->dst_stride, shape->count,
				      shape->levels, target, &handle));
		CHECK_OK(ARMCI_Wait(&handle));
	} else {
		CHECK_OK(ARMCI_GetS(my_slot(target) + src_offset, shape->src_stride,
				    local + dst_offset, shape->dst_stride, shape->count,
				    shape->levels, target));
	}
	CHECK_BYTES(expected, local, SLOT, "%s of rank %d: %s",
		    nonblocking ? "ARMCI_NbGetS" : "ARMCI_GetS", target, shape_text(shape));
	check_remote(target, shape, "what was only read");
}

static void both_cases(struct shape *shape, int target, uint64_t seed)
{
	put_case(shape, target, seed, seed % 2 == 0);
	get_case(shape, target, seed, seed % 2 != 0);
}

static void test_levels(uint64_t seed)
{
	uint64_t state = seed + (uint64_t)conf_rank;

	conf_section("random shapes of 0 to 7 levels");
	for (int levels = 0; levels <= SHAPE_LEVELS; levels++) {
		for (int i = 0; i < conf_times(12); i++) {
			struct shape shape =
				shape_random(&state, levels, 1, MAX_BYTES, SHAPE_SOURCE_APART);

			both_cases(&shape, (conf_rank + i) % conf_size, conf_random(&state));
		}
	}
}

static void test_overlapping_source(uint64_t seed)
{
	uint64_t state = seed + (uint64_t)conf_rank;

	conf_section("rows that overlap in the source");
	for (int i = 0; i < conf_times(40); i++) {
		struct shape shape = shape_random(&state, 1 + i % SHAPE_LEVELS, 1, MAX_BYTES,
						  SHAPE_SOURCE_OVERLAPS);

		both_cases(&shape, (conf_rank + i) % conf_size, conf_random(&state));
	}
}

/* The inner stride larger than the outer one: what a transposed patch looks like. */
static void test_interleaved(void)
{
	conf_section("inner stride above the outer stride");
	for (int width = 1; width <= 16; width *= 2) {
		struct shape shape = {.levels = 2, .count = {width, 9, 7}};

		shape.src_stride[0] = width * 7;
		shape.src_stride[1] = width;
		shape.dst_stride[0] = width;
		shape.dst_stride[1] = width * 9;
		both_cases(&shape, (conf_rank + width) % conf_size, (uint64_t)width);
		shape.dst_stride[0] = width * 11;
		shape.dst_stride[1] = width;
		both_cases(&shape, (conf_rank + width) % conf_size, (uint64_t)width + 1);
	}
}

static void test_zero_counts(void)
{
	if (conf_beyond_reference("counts of zero"))
		return;
	conf_section("counts of zero");
	for (int levels = 0; levels <= SHAPE_LEVELS; levels++) {
		for (int zero = 0; zero <= levels; zero++) {
			struct shape shape = {.levels = levels};

			shape.count[0] = 8;
			for (int i = 0; i < levels; i++) {
				shape.count[i + 1] = 2;
				shape.src_stride[i] = shape.dst_stride[i] = 8 << i;
			}
			shape.count[zero] = 0;
			both_cases(&shape, (conf_rank + zero) % conf_size, (uint64_t)zero);
		}
	}
}

/* Rows taken backwards: the pointers are those of the last row. */
static void test_negative_strides(void)
{
	if (conf_beyond_reference("negative strides"))
		return;
	conf_section("negative strides");
	for (int k = 0; k < conf_size; k++) {
		enum { ROWS = 40, WIDTH = 12, APART = 16 };
		int backwards[] = {-APART}, forwards[] = {APART}, count[] = {WIDTH, ROWS};
		unsigned char *slot = my_slot(k);

		set_remote(k, (uint64_t)k);
		conf_fill(local, SLOT, (uint64_t)k + 1);
		for (int i = 0; i < ROWS; i++)
			memcpy(remote + i * APART, local + (ROWS - 1 - i) * APART, WIDTH);
		CHECK_OK(ARMCI_PutS(local, forwards, slot + (ROWS - 1) * APART, backwards,
				    count, 1, k));
		check_remote(k, &(struct shape){.levels = 0}, "rows put backwards");
		memcpy(expected, local, SLOT);
		for (int i = 0; i < ROWS; i++)
			memcpy(expected + i * APART, remote + (ROWS - 1 - i) * APART, WIDTH);
		CHECK_OK(ARMCI_GetS(slot + (ROWS - 1) * APART, backwards, local, forwards,
				    count, 1, k));
		CHECK_BYTES(expected, local, SLOT, "rows got backwards from rank %d", k);
	}
}

/* Shapes that programs use most, and sizes around those where an implementation changes its
 * ways. */
static void test_matrices(void)
{
	static const int widths[] = {1, 2, 4, 8, 12, 16, 24, 32, 64, 100, 255, 256, 512, 1000};

	conf_section("patches of a matrix");
	for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++) {
		for (int rows = 1; rows <= 64; rows = rows * 3 + 1) {
			struct shape shape = {.levels = 1, .count = {widths[w], rows}};

			shape.src_stride[0] = widths[w];
			shape.dst_stride[0] = 1024;
			both_cases(&shape, (conf_rank + rows) % conf_size, (uint64_t)w);
			shape.src_stride[0] = 1024;
			both_cases(&shape, (conf_rank + rows + 1) % conf_size, (uint64_t)w);
		}
	}
}

/* Many rows in one call, and long rows. */
static void test_many_and_long_rows(void)
{
	struct shape many = {.levels = 1, .count = {4, 12000}, .src_stride = {8}};
	struct shape deep = {.levels = 3,
			     .count = {4, 16, 16, 16},
			     .src_stride = {4, 64, 1024},
			     .dst_stride = {8, 192, 4096}};
	struct shape longs = {.levels = 1, .count = {20001, 3}, .src_stride = {30001}};

	many.dst_stride[0] = 10;
	longs.dst_stride[0] = 40001;
	conf_section("many rows and long rows");
	for (int k = 0; k < conf_size; k++) {
		both_cases(&many, k, 11);
		both_cases(&deep, k, 12);
		both_cases(&longs, k, 13);
	}
}

int main(int argc, char **argv)
{
	uint64_t seed;

	conf_begin(&argc, &argv, "strided");
	seed = conf_seed();
	bases = conf_share((size_t)conf_size * SLOT);
	local = conf_alloc(SLOT);
	remote = conf_alloc(SLOT);
	expected = conf_alloc(SLOT);
	test_levels(seed);
	test_overlapping_source(seed);
	test_interleaved();
	test_zero_counts();
	test_negative_strides();
	test_matrices();
	test_many_and_long_rows();
	ARMCI_Barrier();
	conf_unshare(bases);
	free(local);
	free(remote);
	free(expected);
	return conf_end();
}
