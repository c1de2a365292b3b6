/* SPDX-License-Identifier: BSD-3-Clause */
/* The arithmetic of reductions, for five types and six operations. */
#include "armci/coll/combine.h"

#include <stdint.h>

/* Integers are summed and multiplied as unsigned ones, which may wrap around. */
typedef unsigned int wrap_int;
typedef unsigned long wrap_long;
typedef unsigned long long wrap_llong;
typedef float wrap_float;
typedef double wrap_double;
typedef int type_int;
typedef long type_long;
typedef long long type_llong;
typedef float type_float;
typedef double type_double;

typedef void (*combine_fn)(void *restrict dst, const void *restrict src, size_t count);

#define COMBINE(name, op, type, expression)                                                 \
	static void op##_##name(void *restrict dst, const void *restrict src, size_t count) \
	{                                                                                   \
		type *restrict a = dst;                                                     \
		const type *restrict b = src;                                               \
                                                                                            \
		for (size_t i = 0; i < count; i++)                                          \
			a[i] = expression;                                                  \
	}

#define COMBINE_NUMBERS(name)                                      \
	COMBINE(name, sum, wrap_##name, a[i] + b[i])               \
	COMBINE(name, prod, wrap_##name, a[i] * b[i])              \
	COMBINE(name, max, type_##name, b[i] > a[i] ? b[i] : a[i]) \
	COMBINE(name, min, type_##name, b[i] < a[i] ? b[i] : a[i])

#define COMBINE_BITS(name)                          \
	COMBINE(name, or, wrap_##name, a[i] | b[i]) \
	COMBINE(name, and, wrap_##name, a[i] & b[i])

COMBINE_NUMBERS(int)
COMBINE_NUMBERS(long)
COMBINE_NUMBERS(llong)
COMBINE_NUMBERS(float)
COMBINE_NUMBERS(double)
COMBINE_BITS(int)
COMBINE_BITS(long)
COMBINE_BITS(llong)

#define ROW_NUMBERS(name)                                                            \
	[COLL_SUM] = sum_##name, [COLL_PROD] = prod_##name, [COLL_MAX] = max_##name, \
	[COLL_MIN] = min_##name
#define ROW_BITS(name) [COLL_OR] = or_##name, [COLL_AND] = and_##name

static const combine_fn combines[COLL_TYPES][COLL_OPS] = {
	[COLL_INT] = {ROW_NUMBERS(int), ROW_BITS(int)},
	[COLL_LONG] = {ROW_NUMBERS(long), ROW_BITS(long)},
	[COLL_LLONG] = {ROW_NUMBERS(llong), ROW_BITS(llong)},
	[COLL_FLOAT] = {ROW_NUMBERS(float)},
	[COLL_DOUBLE] = {ROW_NUMBERS(double)},
};

#define ABSOLUTE(name)                                                  \
	static void absolute_##name(void *data, size_t count)           \
	{                                                               \
		wrap_##name *wrap = data;                               \
		const type_##name *value = data;                        \
                                                                        \
		for (size_t i = 0; i < count; i++)                      \
			wrap[i] = value[i] < 0 ? 0 - wrap[i] : wrap[i]; \
	}
#define TRUTH(name)                                        \
	static void truth_##name(void *data, size_t count) \
	{                                                  \
		type_##name *value = data;                 \
                                                           \
		for (size_t i = 0; i < count; i++)         \
			value[i] = value[i] != 0;          \
	}

ABSOLUTE(int)
ABSOLUTE(long)
ABSOLUTE(llong)
TRUTH(int)
TRUTH(long)
TRUTH(llong)

static void absolute_float(void *data, size_t count)
{
	float *value = data;

	for (size_t i = 0; i < count; i++)
		value[i] = __builtin_fabsf(value[i]);
}

static void absolute_double(void *data, size_t count)
{
	double *value = data;

	for (size_t i = 0; i < count; i++)
		value[i] = __builtin_fabs(value[i]);
}

typedef void (*prepare_fn)(void *data, size_t count);

static const prepare_fn absolutes[COLL_TYPES] = {absolute_int, absolute_long, absolute_llong,
						 absolute_float, absolute_double};
static const prepare_fn truths[COLL_TYPES] = {truth_int, truth_long, truth_llong};

static const size_t sizes[COLL_TYPES] = {sizeof(int), sizeof(long), sizeof(long long),
					 sizeof(float), sizeof(double)};

size_t combine_size(enum coll_type type)
{
	return sizes[type];
}

bool combine_is_defined(enum coll_type type, enum coll_op op)
{
	return op < COLL_OR || type == COLL_INT || type == COLL_LONG || type == COLL_LLONG;
}

enum coll_op combine_prepare(enum coll_type type, enum coll_op op, void *data, size_t count)
{
	switch (op) {
	case COLL_ABSMAX: absolutes[type](data, count); return COLL_MAX;
	case COLL_ABSMIN: absolutes[type](data, count); return COLL_MIN;
	case COLL_LOR: truths[type](data, count); return COLL_OR;
	case COLL_LAND: truths[type](data, count); return COLL_AND;
	default: return op;
	}
}

void combine(enum coll_type type, enum coll_op op, void *dst, const void *src, size_t count)
{
	combines[type][op](dst, src, count);
}
