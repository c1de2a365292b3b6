/* SPDX-License-Identifier: BSD-3-Clause */
/* Put and get of single values, blocking and not, of all four types. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"

enum { VALUES = 5 };

/* One of each type of value, with room around them that must not change. */
struct cell {
	int before, an_int, after_int;
	float a_float;
	long a_long;
	double a_double;
	int after;
};

static const int ints[VALUES] = {0, -1, 42, INT_MAX, INT_MIN};
static const long longs[VALUES] = {0, -1, 1L << 40, LONG_MAX, LONG_MIN};
static const float floats[VALUES] = {0.0F, -1.5F, 3e30F, 1e-30F, 0.125F};
static const double doubles[VALUES] = {0.0, -1.5, 3e300, 1e-300, 0.1};

static void **bases;

static struct cell *cell(int owner, int writer)
{
	return (struct cell *)bases[owner] + writer;
}

/* What rank's i-th round puts. */
static struct cell cell_value(int rank, int i)
{
	struct cell value = {.before = 1, .after_int = 2, .after = 3};

	value.an_int = ints[(rank + i) % VALUES];
	value.a_float = floats[(rank + i) % VALUES];
	value.a_long = longs[(rank + i) % VALUES];
	value.a_double = doubles[(rank + i) % VALUES];
	return value;
}

static void reset(void)
{
	for (int r = 0; r < conf_size; r++)
		*cell(conf_rank, r) = (struct cell){.before = 1, .after_int = 2, .after = 3};
	ARMCI_Barrier();
}

/* By plain loads, on the owner. */
static void check_cells(int i, const char *what)
{
	ARMCI_Barrier();
	for (int r = 0; r < conf_size; r++) {
		struct cell expected = cell_value(r, i), *mine = cell(conf_rank, r);

		CHECK_INT(1, mine->before, "%s by rank %d: before the int", what, r);
		CHECK_INT(expected.an_int, mine->an_int, "%s by rank %d: int", what, r);
		CHECK_INT(2, mine->after_int, "%s by rank %d: behind the int", what, r);
		CHECK_REAL(expected.a_float, mine->a_float, "%s by rank %d: float", what, r);
		CHECK_INT(expected.a_long, mine->a_long, "%s by rank %d: long", what, r);
		CHECK_REAL(expected.a_double, mine->a_double, "%s by rank %d: double", what, r);
		CHECK_INT(3, mine->after, "%s by rank %d: behind all", what, r);
	}
	ARMCI_Barrier();
}

static void test_put(void)
{
	conf_section("ARMCI_PutValue…");
	for (int i = 0; i < VALUES; i++) {
		struct cell value = cell_value(conf_rank, i);

		reset();
		for (int k = 0; k < conf_size; k++) {
			struct cell *to = cell(k, conf_rank);

			CHECK_OK(ARMCI_PutValueInt(value.an_int, &to->an_int, k));
			CHECK_OK(ARMCI_PutValueLong(value.a_long, &to->a_long, k));
			CHECK_OK(ARMCI_PutValueFloat(value.a_float, &to->a_float, k));
			CHECK_OK(ARMCI_PutValueDouble(value.a_double, &to->a_double, k));
		}
		check_cells(i, "blocking put");
	}
}

static void test_nonblocking_put(bool explicit)
{
	conf_section(explicit ? "ARMCI_NbPutValue… with handles"
			      : "ARMCI_NbPutValue… without handles");
	for (int i = 0; i < VALUES; i++) {
		struct cell value = cell_value(conf_rank, i);

		reset();
		for (int k = 0; k < conf_size; k++) {
			struct cell *to = cell(k, conf_rank);
			armci_hdl_t handles[4], *use[4];

			for (int h = 0; h < 4; h++) {
				ARMCI_INIT_HANDLE(&handles[h]);
				use[h] = explicit ? &handles[h] : NULL;
			}
			CHECK_OK(ARMCI_NbPutValueInt(value.an_int, &to->an_int, k, use[0]));
			CHECK_OK(ARMCI_NbPutValueLong(value.a_long, &to->a_long, k, use[1]));
			CHECK_OK(ARMCI_NbPutValueFloat(value.a_float, &to->a_float, k, use[2]));
			CHECK_OK(ARMCI_NbPutValueDouble(value.a_double, &to->a_double, k,
							use[3]));
			for (int h = 0; explicit && h < 4; h++)
				CHECK_OK(ARMCI_Wait(use[h]));
		}
		CHECK_OK(ARMCI_WaitAll());
		check_cells(i, "non-blocking put");
	}
}

static void test_get(void)
{
	conf_section("ARMCI_GetValue…");
	for (int i = 0; i < VALUES; i++) {
		*cell(conf_rank, 0) = cell_value(conf_rank, i);
		ARMCI_Barrier();
		for (int k = 0; k < conf_size; k++) {
			struct cell expected = cell_value(k, i), *from = cell(k, 0);

			CHECK_INT(expected.an_int, ARMCI_GetValueInt(&from->an_int, k),
				  "ARMCI_GetValueInt of rank %d", k);
			CHECK_INT(expected.a_long, ARMCI_GetValueLong(&from->a_long, k),
				  "ARMCI_GetValueLong of rank %d", k);
			CHECK_REAL(expected.a_float, ARMCI_GetValueFloat(&from->a_float, k),
				   "ARMCI_GetValueFloat of rank %d", k);
			CHECK_REAL(expected.a_double, ARMCI_GetValueDouble(&from->a_double, k),
				   "ARMCI_GetValueDouble of rank %d", k);
		}
		ARMCI_Barrier();
	}
}

/* Each put is seen by the get that follows it. */
static void test_put_then_get(void)
{
	conf_section("a value put is the value got");
	reset();
	for (int i = 0; i < conf_times(300); i++) {
		int k = (conf_rank + i) % conf_size;
		struct cell *there = cell(k, conf_rank);

		CHECK_OK(ARMCI_PutValueLong(i * 7919L, &there->a_long, k));
		CHECK_INT(i * 7919L, ARMCI_GetValueLong(&there->a_long, k),
			  "value put to rank %d just before", k);
		CHECK_OK(ARMCI_PutValueInt(-i, &there->an_int, k));
		CHECK_INT(-i, ARMCI_GetValueInt(&there->an_int, k),
			  "value put to rank %d just before", k);
	}
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "value");
	bases = conf_share(sizeof(struct cell) * (size_t)conf_size);
	test_put();
	test_nonblocking_put(true);
	test_nonblocking_put(false);
	test_get();
	test_put_then_get();
	ARMCI_Barrier();
	conf_unshare(bases);
	return conf_end();
}
