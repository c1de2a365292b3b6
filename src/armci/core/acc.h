/* SPDX-License-Identifier: BSD-3-Clause */
/* Accumulate: dst += scale * src, for ARMCI's six types. */
#ifndef STASIS_ARMCI_CORE_ACC_H
#define STASIS_ARMCI_CORE_ACC_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

enum acc_type {
	ACC_INT,
	ACC_LONG,
	ACC_FLOAT,
	ACC_DOUBLE,
	ACC_COMPLEX,
	ACC_DCOMPLEX,
	ACC_TYPES
};

/* From a constant of ARMCI-MPI's (0–5) or ComEx's (37–42) headers; -EINVAL for others. */
static inline int acc_type_parse(int datatype, enum acc_type *ret_type)
{
	static const enum acc_type comex[] = {ACC_INT,     ACC_DOUBLE,   ACC_FLOAT,
					      ACC_COMPLEX, ACC_DCOMPLEX, ACC_LONG};

	if (datatype >= 0 && datatype < ACC_TYPES)
		*ret_type = (enum acc_type)datatype;
	else if (datatype >= 37 && datatype < 37 + ACC_TYPES)
		*ret_type = comex[datatype - 37];
	else
		return -EINVAL;
	return 0;
}

/* Bytes of one element: a power of two. */
static inline size_t acc_size(enum acc_type type)
{
	static const uint8_t sizes[ACC_TYPES] = {4, 8, 4, 8, 8, 16};

	return sizes[type];
}

/* True if *scale is one: then scale may be left out of what is sent. */
int acc_scale_is_one(enum acc_type type, const void *scale);

/*
 * dst[i] += *scale * src[i] for `count` elements. No alignment is asked of dst and src. scale
 * NULL means one. Not atomic: the caller holds the lock of the memory (shm/lock.h).
 */
void acc_add(enum acc_type type, const void *scale, void *dst, const void *src, size_t count);

/* The application's data: of any alignment, seen as these types here and as others elsewhere.
 * Integers wrap. */
#define ACC_ANY __attribute__((may_alias, aligned(1)))

typedef uint32_t acc_int ACC_ANY;
typedef uint64_t acc_long ACC_ANY;
typedef float acc_float ACC_ANY;
typedef double acc_double ACC_ANY;

#endif
