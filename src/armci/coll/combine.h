/* SPDX-License-Identifier: BSD-3-Clause */
/* The arithmetic of reductions: one array combined into another, element by element. Pure. */
#ifndef STASIS_ARMCI_COLL_COMBINE_H
#define STASIS_ARMCI_COLL_COMBINE_H

#include <stdbool.h>
#include <stddef.h>

enum coll_type { COLL_INT, COLL_LONG, COLL_LLONG, COLL_FLOAT, COLL_DOUBLE, COLL_TYPES };
enum coll_op {
	COLL_SUM,
	COLL_PROD,
	COLL_MAX,
	COLL_MIN,
	COLL_ABSMAX,
	COLL_ABSMIN,
	COLL_OR,  /* bitwise; this and those below: integers only */
	COLL_AND, /* bitwise */
	COLL_LOR, /* logical: the result is 0 or 1 */
	COLL_LAND,
	COLL_OPS
};

/* Bytes of one element. */
size_t combine_size(enum coll_type type);

bool combine_is_defined(enum coll_type type, enum coll_op op);

/*
 * Every contribution passes through here before it is combined: absmax and absmin become max
 * and min of absolute values, the logical operations bitwise ones of 0 and 1. Returns the
 * operation for combine(), one of SUM PROD MAX MIN OR AND.
 */
enum coll_op combine_prepare(enum coll_type type, enum coll_op op, void *data, size_t count);

/* dst[i] = dst[i] op src[i]. Integers wrap around. Of equal values max and min keep dst's.
 * Arrays do not overlap and are aligned to their elements. */
void combine(enum coll_type type, enum coll_op op, void *dst, const void *src, size_t count);

#endif
