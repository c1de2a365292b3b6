/* SPDX-License-Identifier: BSD-3-Clause */
/* The six types of accumulate: how to make, scale, add and compare their elements. */
#ifndef STASIS_TESTS_ARMCI_ACC_H
#define STASIS_TESTS_ARMCI_ACC_H

#include <stddef.h>
#include <stdint.h>

enum { ACC_TYPES = 6 };

struct acc_type {
	const char *name;
	int type;     /* this header's constant */
	int original; /* the original ARMCI's constant for it */
	int bytes;    /* of one element */
	int parts;    /* 2 for complex */
};

extern const struct acc_type acc_types[ACC_TYPES];

/* Elements with small whole parts, so that sums and products are exact in every type. */
void acc_fill(const struct acc_type *type, void *buf, int elements, uint64_t seed);
/* Scale factor number i (0 … ACC_SCALES-1), in the element's type: 1, 0, -1, 2, -3, and one
 * with a fraction or imaginary part. */
enum { ACC_SCALES = 6 };
void acc_scale(const struct acc_type *type, int i, void *ret_scale);
/* dst += scale × src: the reference model. */
void acc_model(const struct acc_type *type, const void *scale, const void *src, void *dst,
	       int elements);

#endif
