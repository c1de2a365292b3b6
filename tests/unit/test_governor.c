/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the choice of the compression level, from figures that are fed to it. */
#include "backend_fixture.h"

#include "base/clock.h"
#include "store/governor.h"
#include "store/store.h"

enum { SEGMENT = 256 << 10, MANY = 200 };

/* A medium of so many MB/s, seen often enough. */
static void medium(struct governor *g, double mb_per_s)
{
	const uint64_t bytes = 64 << 20;

	for (int i = 0; i < 20; i++)
		governor_wrote(g, bytes, (int64_t)((double)bytes / (mb_per_s * 1e6) * 1e9));
}

/* Cores that compress at so many MB/s to 1/ratio at what is chosen now, again and again. */
static void cores(struct governor *g, unsigned int threads, double mb_per_s, double ratio)
{
	for (int i = 0; i < MANY; i++) {
		int level = governor_choose(g, threads);

		if (level != STORE_LEVEL_RAW)
			governor_compressed(g, level, SEGMENT, (size_t)(SEGMENT / ratio),
					    (int64_t)(SEGMENT / (mb_per_s * 1e6) * 1e9));
	}
}

/* A level, or one above all others for raw. */
static int strength(struct governor *g, unsigned int threads)
{
	int level = governor_choose(g, threads);

	return level == STORE_LEVEL_RAW ? -1000 : level;
}

static void test_fixed(void **state)
{
	static const int levels[] = {STORE_LEVEL_RAW, -20, 1, 19};
	struct governor g;

	(void)state;
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		governor_init(&g, levels[i]);
		medium(&g, 10000);
		assert_int_equal(governor_choose(&g, 1), levels[i]);
		medium(&g, 1);
		assert_int_equal(governor_choose(&g, 64), levels[i]);
		governor_destroy(&g);
	}
}

static void test_medium(void **state)
{
	static const double speeds[] = {20000, 4000, 1500, 700, 300, 100, 10};
	int before = -1001;
	struct governor g;

	(void)state;
	governor_init(&g, STORE_LEVEL_AUTO);
	for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++) {
		int now;

		medium(&g, speeds[i]);
		now = strength(&g, 2);
		assert_true(now >= before); /* slower medium: never lighter */
		before = now;
	}
	assert_true(before >= 6);
	medium(&g, 20000);
	assert_int_equal(strength(&g, 2), -1000);
	/* More threads: heavier. */
	medium(&g, 500);
	assert_true(strength(&g, 16) > strength(&g, 1));
	governor_destroy(&g);
}

static void test_busy_cores(void **state)
{
	struct governor g;
	int free_level;

	(void)state;
	governor_init(&g, STORE_LEVEL_AUTO);
	medium(&g, 400);
	free_level = strength(&g, 2);
	assert_true(free_level >= 1);
	/* The guests take the cores: what is left compresses at 20 MB/s whatever is chosen. */
	cores(&g, 2, 20, 2);
	assert_int_equal(strength(&g, 2), -1000);
	/* It tries now and then, and recovers when they are free again. */
	for (int i = 0; i < 100; i++)
		cores(&g, 2, 1200, 2.5);
	assert_true(strength(&g, 2) > -1000);
	governor_destroy(&g);
}

static void test_incompressible(void **state)
{
	struct governor g;
	int tried = 0;

	(void)state;
	governor_init(&g, STORE_LEVEL_AUTO);
	medium(&g, 200);
	cores(&g, 2, 1000, 1);
	cores(&g, 2, 1000, 1);
	for (int i = 0; i < MANY; i++)
		tried += governor_choose(&g, 2) != STORE_LEVEL_RAW;
	assert_true(tried < MANY / 10); /* it is not worth it, but looked at now and then */
	assert_true(tried > 0);
	for (int i = 0; i < 100; i++)
		cores(&g, 2, 1000, 3);
	assert_true(strength(&g, 2) > -1000);
	governor_destroy(&g);
}

/* Figures that say nothing change nothing. */
static void test_nonsense(void **state)
{
	struct governor g;
	int before;

	(void)state;
	governor_init(&g, STORE_LEVEL_AUTO);
	before = governor_choose(&g, 2);
	governor_wrote(&g, 100, 1);
	governor_wrote(&g, UINT64_C(1) << 30, 0);
	governor_wrote(&g, 0, NS_PER_S);
	governor_compressed(&g, 1, SEGMENT, 0, 5);
	governor_compressed(&g, 1, SEGMENT, 5, 0);
	governor_compressed(&g, 12345, SEGMENT, 5, 5);
	assert_int_equal(governor_choose(&g, 2), before);
	governor_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixed),      cmocka_unit_test(test_medium),
		cmocka_unit_test(test_busy_cores), cmocka_unit_test(test_incompressible),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
