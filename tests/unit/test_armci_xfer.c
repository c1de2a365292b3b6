/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of transfer shapes, of copying by them and of accumulates, against brute force. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "arena_fixture.h"
#include "armci/shm/local.h"

enum { AREA = 1 << 16, SHAPES = 3000, SLICE = 4 << 20 };

/* ARMCI's arguments. */
struct shape {
	int levels;
	int count[XFER_LEVELS_MAX + 1];
	int near[XFER_LEVELS_MAX], far[XFER_LEVELS_MAX];
};

static uint64_t random_state = 88172645463325252ULL;

static int random_below(int limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (int)(random_state % (unsigned)limit);
}

/* One stride of a side: tight, with a gap, or such that places overlap; at times backwards. */
static int random_stride(int inner)
{
	int stride;

	switch (random_below(6)) {
	case 0: stride = inner + random_below(40); break;
	case 1: stride = random_below(inner + 1); break;
	default: stride = inner; break;
	}
	return random_below(12) == 0 ? -stride : stride;
}

static struct shape random_shape(void)
{
	static const int rows[] = {1,  2,  3,  4,  7,  8,   15,  16,  17,  24,  31, 32,
				   33, 48, 63, 64, 65, 100, 128, 129, 200, 511, 640};
	struct shape shape = {.levels = random_below(XFER_LEVELS_MAX + 1)};
	int near, far, budget = 60;

	shape.count[0] = rows[random_below((int)(sizeof(rows) / sizeof(rows[0])))];
	near = far = shape.count[0];
	for (int i = 0; i < shape.levels; i++) {
		shape.count[i + 1] = 1 + random_below(budget < 6 ? budget : 6);
		budget /= shape.count[i + 1];
		shape.near[i] = random_stride(near);
		shape.far[i] = random_below(2) ? shape.near[i] : random_stride(far);
		near = abs(shape.near[i]) * shape.count[i + 1];
		far = abs(shape.far[i]) * shape.count[i + 1];
		near = near > 0 ? near : 1;
		far = far > 0 ? far : 1;
	}
	return shape;
}

/* Calls visit(near, far) for every row of the arguments, innermost level first. */
struct rows {
	const struct shape *shape;
	int index[XFER_LEVELS_MAX];
	ptrdiff_t near, far;
	bool done;
};

static void rows_next(struct rows *rows)
{
	for (int i = 0; i < rows->shape->levels; i++) {
		rows->near += rows->shape->near[i];
		rows->far += rows->shape->far[i];
		if (++rows->index[i] < rows->shape->count[i + 1])
			return;
		rows->near -= (ptrdiff_t)rows->shape->near[i] * rows->index[i];
		rows->far -= (ptrdiff_t)rows->shape->far[i] * rows->index[i];
		rows->index[i] = 0;
	}
	rows->done = true;
}

static int make(struct xfer *ret_xfer, const struct shape *shape)
{
	return xfer_make(ret_xfer, shape->count, shape->levels, shape->near, shape->far);
}

/* The walk visits the same bytes in the same order as the arguments say, in rows that may be
 * longer. */
static void test_walk_is_the_arguments_order(void **state)
{
	(void)state;
	for (int n = 0; n < SHAPES; n++) {
		struct shape shape = random_shape();
		struct rows rows = {.shape = &shape};
		struct xfer_walk walk;
		struct xfer xfer;
		ptrdiff_t low[2] = {0}, high[2] = {0}, seen_low, seen_high;
		size_t bytes = 0, in_row = 0, walked = 0;

		assert_int_equal(make(&xfer, &shape), 0);
		xfer_walk_begin(&walk, &xfer);
		for (; !rows.done; rows_next(&rows)) {
			assert_false(walk.done);
			assert_int_equal(rows.near, walk.near + (ptrdiff_t)in_row);
			assert_int_equal(rows.far, walk.far + (ptrdiff_t)in_row);
			in_row += (size_t)shape.count[0];
			bytes += (size_t)shape.count[0];
			low[0] = rows.near < low[0] ? rows.near : low[0];
			low[1] = rows.far < low[1] ? rows.far : low[1];
			high[0] = rows.near + shape.count[0] > high[0]
					  ? rows.near + shape.count[0]
					  : high[0];
			high[1] = rows.far + shape.count[0] > high[1]
					  ? rows.far + shape.count[0]
					  : high[1];
			assert_true(in_row <= xfer.row);
			if (in_row == xfer.row) {
				xfer_walk_next(&walk);
				in_row = 0;
				walked++;
			}
		}
		assert_true(walk.done);
		assert_int_equal(xfer_bytes(&xfer), bytes);
		assert_int_equal(xfer_rows(&xfer), walked);
		xfer_near_extent(&xfer, &seen_low, &seen_high);
		assert_int_equal(seen_low, low[0]);
		assert_int_equal(seen_high, high[0]);
		xfer_far_extent(&xfer, &seen_low, &seen_high);
		assert_int_equal(seen_low, low[1]);
		assert_int_equal(seen_high, high[1]);
	}
}

static void test_merging(void **state)
{
	const int count[] = {64, 4, 1, 8, 3};
	const int tight[] = {64, 999, 256, 2048}, apart[] = {100, 7, 400, 3200};
	struct xfer xfer;

	(void)state;
	assert_int_equal(xfer_make(&xfer, count, 4, tight, tight), 0);
	assert_int_equal(xfer.levels, 0);
	assert_int_equal(xfer.row, 64 * 4 * 8 * 3);
	assert_int_equal(xfer_make(&xfer, count, 4, apart, tight), 0);
	assert_int_equal(xfer.levels, 1);
	assert_int_equal(xfer.row, 64);
	assert_int_equal(xfer.count[0], 4 * 8 * 3);
	assert_int_equal(xfer.near_stride[0], 100);
	assert_int_equal(xfer.far_stride[0], 64);
}

static void test_nothing_and_nonsense(void **state)
{
	int count[XFER_LEVELS_MAX + 2] = {8, 2, 2, 2, 2, 2, 2, 2, 2};
	int strides[XFER_LEVELS_MAX + 1] = {16, 32, 64, 128, 256, 512, 1024, 2048};
	struct xfer_walk walk;
	struct xfer xfer;

	(void)state;
	assert_int_equal(xfer_make(&xfer, count, XFER_LEVELS_MAX, strides, strides), 0);
	assert_int_equal(xfer_make(&xfer, count, XFER_LEVELS_MAX + 1, strides, strides),
			 -EINVAL);
	assert_int_equal(xfer_make(&xfer, count, -1, strides, strides), -EINVAL);
	count[3] = 0;
	assert_int_equal(xfer_make(&xfer, count, 5, strides, strides), 0);
	assert_int_equal(xfer.row, 0);
	assert_int_equal(xfer_rows(&xfer), 0);
	assert_int_equal(xfer_bytes(&xfer), 0);
	xfer_walk_begin(&walk, &xfer);
	assert_true(walk.done);
	count[5] = -1;
	assert_int_equal(xfer_make(&xfer, count, 5, strides, strides), -EINVAL);
	assert_int_equal(xfer_make(&xfer, count, 4, strides, strides), 0);
}

static void test_overflow(void **state)
{
	int count[] = {INT_MAX, INT_MAX, INT_MAX, INT_MAX, INT_MAX, INT_MAX, INT_MAX, INT_MAX};
	int most[] = {INT_MAX, INT_MAX, INT_MAX, INT_MAX, INT_MAX, INT_MAX, INT_MAX};
	int least[] = {INT_MIN, INT_MIN, INT_MIN, INT_MIN, INT_MIN, INT_MIN, INT_MIN};
	int zero[7] = {0};
	struct xfer xfer;

	(void)state;
	assert_int_equal(xfer_make(&xfer, count, 1, most, most), 0);
	assert_int_equal(xfer_bytes(&xfer), (size_t)INT_MAX * INT_MAX);
	assert_int_equal(xfer_make(&xfer, count, 1, least, most), 0);
	for (int levels = 2; levels <= XFER_LEVELS_MAX; levels++) {
		assert_int_equal(xfer_make(&xfer, count, levels, most, most), -EOVERFLOW);
		assert_int_equal(xfer_make(&xfer, count, levels, least, most), -EOVERFLOW);
		assert_int_equal(xfer_make(&xfer, count, levels, most, least), -EOVERFLOW);
		assert_int_equal(xfer_make(&xfer, count, levels, zero, zero), -EOVERFLOW);
	}
	count[0] = 1;
	count[1] = 1;
	/* Few bytes, but over an extent that no memory has: three levels of 2 to the 61 each
	 * fit, the next does not. */
	for (int i = 2; i < 8; i++)
		count[i] = 1 << 30;
	for (int i = 0; i < 7; i++)
		most[i] = INT_MAX;
	assert_int_equal(xfer_make(&xfer, count, 2, most, zero), 0);
	assert_int_equal(xfer_make(&xfer, count, 3, most, zero), 0);
	assert_int_equal(xfer_make(&xfer, count, 5, most, zero), -EOVERFLOW);
}

/* Bytes that differ from place to place. */
static void area_fill(unsigned char *area)
{
	for (size_t i = 0; i < AREA; i++)
		area[i] = (unsigned char)random_below(256);
}

static ptrdiff_t area_start(ptrdiff_t low)
{
	return 64 - low + random_below(64);
}

static void test_copies_against_brute_force(void **state)
{
	unsigned char *near = malloc(AREA), *far = malloc(AREA), *expected = malloc(AREA);
	int compared = 0;

	(void)state;
	area_fill(near);
	area_fill(far);
	for (int n = 0; n < SHAPES; n++) {
		struct shape shape = random_shape();
		struct rows rows = {.shape = &shape};
		bool put = random_below(2), self = random_below(8) == 0;
		unsigned char *dst = put ? far : near, *src = put ? near : far;
		struct xfer xfer;
		ptrdiff_t low, high, near_at, far_at;

		assert_int_equal(make(&xfer, &shape), 0);
		xfer_near_extent(&xfer, &low, &high);
		near_at = area_start(low);
		if (near_at + high > AREA)
			continue;
		xfer_far_extent(&xfer, &low, &high);
		far_at = area_start(low);
		if (far_at + high > AREA)
			continue;
		/* Onto itself rows may overlap rows: as memmove, row after row as the transfer
		 * has them. */
		if (self)
			src = dst;
		if (!self && n % 16 == 0)
			area_fill(src);
		memcpy(expected, dst, AREA);
		if (self) {
			struct xfer_walk walk;

			for (xfer_walk_begin(&walk, &xfer); !walk.done; xfer_walk_next(&walk))
				memmove(expected +
						(put ? far_at + walk.far : near_at + walk.near),
					expected +
						(put ? near_at + walk.near : far_at + walk.far),
					xfer.row);
		} else {
			for (; !rows.done; rows_next(&rows))
				memcpy(expected +
					       (put ? far_at + rows.far : near_at + rows.near),
				       src + (put ? near_at + rows.near : far_at + rows.far),
				       (size_t)shape.count[0]);
		}
		if (put)
			local_put(dst + far_at, src + near_at, &xfer);
		else
			local_get(dst + near_at, src + far_at, &xfer);
		assert_memory_equal(dst, expected, AREA);
		compared++;
	}
	assert_true(compared > SHAPES / 2);
	free(near);
	free(far);
	free(expected);
}

static void test_blocks_of_every_small_size(void **state)
{
	unsigned char src[400], dst[400], expected[400];

	(void)state;
	for (size_t i = 0; i < sizeof(src); i++)
		src[i] = (unsigned char)(i * 7 + 1);
	for (size_t bytes = 0; bytes <= 300; bytes++)
		for (size_t odd = 0; odd < 9; odd++) {
			struct xfer xfer = xfer_block(bytes);

			memset(dst, 0xee, sizeof(dst));
			memset(expected, 0xee, sizeof(expected));
			memcpy(expected + 8 - odd, src + odd, bytes);
			local_put(dst + 8 - odd, src + odd, &xfer);
			assert_memory_equal(dst, expected, sizeof(dst));
			memcpy(expected, src, sizeof(src));
			memcpy(dst, src, sizeof(src));
			memmove(expected + 3 * odd, expected + 10, bytes);
			local_get(dst + 3 * odd, dst + 10, &xfer);
			assert_memory_equal(dst, expected, sizeof(dst));
		}
}

static void test_large_blocks(void **state)
{
	static const size_t odd[] = {0, 1, 31, 32, 77};
	const size_t area = COPY_LARGE + 1024;
	unsigned char *src = malloc(area), *dst = malloc(area);

	(void)state;
	for (size_t i = 0; i < area; i++)
		src[i] = (unsigned char)(i * 2654435761u >> 13);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct xfer xfer = xfer_block(COPY_LARGE + odd[i] * 3);
		unsigned char *to = dst + 100 + odd[i];

		memset(dst, 0xee, area);
		local_get(to, src + i, &xfer);
		assert_memory_equal(to, src + i, xfer.row);
		assert_int_equal(to[-1], 0xee);
		assert_int_equal(to[xfer.row], 0xee);
		/* Onto itself, both ways. */
		local_put(to + 5, to, &xfer);
		assert_memory_equal(to + 5, src + i, xfer.row);
		local_put(to + 2, to + 5, &xfer);
		assert_memory_equal(to + 2, src + i, xfer.row);
	}
	free(src);
	free(dst);
}

/* Accumulates: what each type adds, computed in the plain way. Values are small whole numbers,
 * so that results are exact. */
union element {
	int i;
	long l;
	float f;
	double d;
	float c[2];
	double z[2];
	unsigned char bytes[16];
};

static union element element_of(enum acc_type type, int re, int im)
{
	union element element = {0};

	switch (type) {
	case ACC_INT: element.i = re; break;
	case ACC_LONG: element.l = re; break;
	case ACC_FLOAT: element.f = (float)re; break;
	case ACC_DOUBLE: element.d = re; break;
	case ACC_COMPLEX:
		element.c[0] = (float)re;
		element.c[1] = (float)im;
		break;
	default:
		element.z[0] = re;
		element.z[1] = im;
		break;
	}
	return element;
}

static void test_acc_add(void **state)
{
	unsigned char dst[16 * 80], src[16 * 80], expected[16 * 80];

	(void)state;
	for (int n = 0; n < 6000; n++) {
		enum acc_type type = (enum acc_type)(n % ACC_TYPES);
		size_t size = acc_size(type), count = (size_t)random_below(70),
		       odd = (size_t)random_below(17);
		bool complex_type = type >= ACC_COMPLEX;
		int re = random_below(7) - 3, im = complex_type ? random_below(5) - 2 : 0;
		union element scale = element_of(type, re, im);
		bool none = random_below(4) == 0;

		if (none) {
			re = 1;
			im = 0;
		} else {
			assert_int_equal(acc_scale_is_one(type, &scale), re == 1 && im == 0);
		}
		memset(dst, 0xee, sizeof(dst));
		memcpy(expected, dst, sizeof(dst));
		for (size_t i = 0; i < count; i++) {
			int a = random_below(100) - 50, b = random_below(100) - 50;
			int c = random_below(100), d = random_below(100);
			union element old = element_of(type, a, b),
				      add = element_of(type, c, d);
			union element sum = complex_type ? element_of(type, a + re * c - im * d,
								      b + re * d + im * c)
							 : element_of(type, a + re * c, 0);

			memcpy(dst + odd + i * size, &old, size);
			memcpy(src + (i + 1) * size - 1, &add, size);
			memcpy(expected + odd + i * size, &sum, size);
		}
		acc_add(type, none ? NULL : &scale, dst + odd, src + size - 1, count);
		assert_memory_equal(dst, expected, sizeof(dst));
	}
}

static void test_acc_types(void **state)
{
	static const int constants[ACC_TYPES] = {37, 42, 39, 38, 40, 41};
	enum acc_type type;
	int most = INT_MAX, two = 2;
	long most_long = LONG_MAX, two_long = 2;

	(void)state;
	for (int i = 0; i < ACC_TYPES; i++) {
		assert_int_equal(acc_type_parse(i, &type), 0);
		assert_int_equal(type, i);
		assert_int_equal(acc_type_parse(constants[i], &type), 0);
		assert_int_equal(type, i);
	}
	assert_int_equal(acc_type_parse(-1, &type), -EINVAL);
	assert_int_equal(acc_type_parse(6, &type), -EINVAL);
	assert_int_equal(acc_type_parse(36, &type), -EINVAL);
	assert_int_equal(acc_type_parse(43, &type), -EINVAL);
	acc_add(ACC_INT, &two, &most, &most, 1);
	assert_int_equal(most, INT_MAX - 2);
	acc_add(ACC_LONG, &two_long, &most_long, &most_long, 1);
	assert_true(most_long == LONG_MAX - 2);
}

static int arena_setup(void **state)
{
	(void)state;
	return fixture_open(2, SLICE);
}

static int arena_teardown(void **state)
{
	(void)state;
	fixture_close();
	return 0;
}

/* Several processes add to the same places, at an odd address, so that elements straddle pages
 * and locks. */
enum { ADDERS = 4, ADDS = 300, ELEMENTS = 1500 };

static void adds(double *far)
{
	double ones[ELEMENTS], half = 0.5;
	struct xfer rows = {.row = 80,
			    .levels = 1,
			    .count = {ELEMENTS / 10},
			    .near_stride = {80},
			    .far_stride = {80}};

	for (int i = 0; i < ELEMENTS; i++)
		ones[i] = 1;
	for (int i = 0; i < ADDS; i++) {
		lock_acc(ACC_DOUBLE, NULL, far, ones, sizeof(ones));
		local_acc(ACC_DOUBLE, &half, far, ones, &rows);
	}
}

static void check_adds(const char *far, int adders)
{
	for (int i = 0; i < ELEMENTS; i++) {
		double sum;

		memcpy(&sum, far + i * (ptrdiff_t)sizeof(sum), sizeof(sum));
		assert_true(sum == adders * ADDS * 1.5);
	}
}

static void test_acc_is_atomic_between_processes(void **state)
{
	char *far = heap_alloc((ELEMENTS + 1) * sizeof(double), HEAP_GLOBAL, NULL);
	int status;

	(void)state;
	far += 4;
	memset(far, 0, ELEMENTS * sizeof(double));
	for (int i = 0; i < ADDERS; i++)
		if (fork() == 0) {
			adds((double *)far);
			_exit(0);
		}
	for (int i = 0; i < ADDERS; i++) {
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	check_adds(far, ADDERS);
}

static void *adder(void *far)
{
	adds(far);
	return NULL;
}

/* Two mappings' worth of threads: what a service thread and its process do. */
static void test_acc_is_atomic_between_threads(void **state)
{
	char *far = heap_alloc((ELEMENTS + 1) * sizeof(double), HEAP_GLOBAL, NULL);
	pthread_t thread[ADDERS];

	(void)state;
	far += 4;
	memset(far, 0, ELEMENTS * sizeof(double));
	for (int i = 0; i < ADDERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, adder, far), 0);
	for (int i = 0; i < ADDERS; i++)
		pthread_join(thread[i], NULL);
	check_adds(far, ADDERS);
}

static void test_rmw(void **state)
{
	char *far = heap_alloc(64, HEAP_GLOBAL, NULL);

	(void)state;
	memset(far, 0, 64);
	assert_int_equal(local_fetch_add_int(far, 5), 0);
	assert_int_equal(local_fetch_add_int(far, -7), 5);
	assert_int_equal(local_swap_int(far, INT_MAX), -2);
	assert_int_equal(local_fetch_add_int(far, 1), INT_MAX);
	assert_int_equal(local_swap_int(far, 0), INT_MIN);
	assert_true(local_fetch_add_long(far + 8, LONG_MAX) == 0);
	assert_true(local_fetch_add_long(far + 8, 1) == LONG_MAX);
	assert_true(local_swap_long(far + 8, 3) == LONG_MIN);
	assert_true(local_swap_long(far + 8, 3) == 3);
	assert_int_equal(local_swap_int(far + 4, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk_is_the_arguments_order),
		cmocka_unit_test(test_merging),
		cmocka_unit_test(test_nothing_and_nonsense),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_copies_against_brute_force),
		cmocka_unit_test(test_blocks_of_every_small_size),
		cmocka_unit_test(test_large_blocks),
		cmocka_unit_test(test_acc_add),
		cmocka_unit_test(test_acc_types),
		cmocka_unit_test_setup_teardown(test_acc_is_atomic_between_processes,
						arena_setup, arena_teardown),
		cmocka_unit_test_setup_teardown(test_acc_is_atomic_between_threads, arena_setup,
						arena_teardown),
		cmocka_unit_test_setup_teardown(test_rmw, arena_setup, arena_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
