/* SPDX-License-Identifier: BSD-3-Clause */
/* Accumulate: dst += scale * src, for ARMCI's six types. */
#ifndef STASIS_ARMCI_CORE_ACC_H
#define STASIS_ARMCI_CORE_ACC_H

#include <stddef.h>

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
int acc_type_parse(int datatype, enum acc_type *ret_type);

/* Bytes of one element. */
size_t acc_size(enum acc_type type);

/* True if *scale is one: then scale may be left out of what is sent. */
int acc_scale_is_one(enum acc_type type, const void *scale);

/*
 * dst[i] += *scale * src[i] for `count` elements. No alignment is asked of dst and src. scale
 * NULL means one. Not atomic: the caller holds the lock of the memory (shm/lock.h).
 */
void acc_add(enum acc_type type, const void *scale, void *dst, const void *src, size_t count);

#endif
