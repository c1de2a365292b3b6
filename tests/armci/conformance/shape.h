/* SPDX-License-Identifier: BSD-3-Clause */
/* Strided shapes and a reference model of what strided operations do with them. */
#ifndef STASIS_TESTS_ARMCI_SHAPE_H
#define STASIS_TESTS_ARMCI_SHAPE_H

#include <stddef.h>
#include <stdint.h>

enum { SHAPE_LEVELS = 7 };

/* count[0] is bytes, count[1…levels] are rows; the strides of source and destination are bytes.
 */
struct shape {
	int levels;
	int count[SHAPE_LEVELS + 1];
	int src_stride[SHAPE_LEVELS];
	int dst_stride[SHAPE_LEVELS];
};

enum shape_source {
	SHAPE_SOURCE_APART, /* the rows of the source are apart, as those of the destination */
	SHAPE_SOURCE_OVERLAPS, /* they may overlap: strides smaller than the rows, even 0 */
};

/* A random shape: rows of whole units of unit bytes, about max_bytes in all at most. */
struct shape shape_random(uint64_t *state, int levels, int unit, int max_bytes,
			  enum shape_source source);

/* Bytes from the first to behind the last of one side; 0 if a count is 0. */
size_t shape_span(const struct shape *shape, const int *stride);

/* Bytes without the gaps. */
size_t shape_bytes(const struct shape *shape);

/* Calls row for each row, the first dimension fastest, with the offsets of both sides. */
typedef void shape_row_fn(void *arg, size_t src_offset, size_t dst_offset, int bytes);
void shape_walk(const struct shape *shape, shape_row_fn *row, void *arg);

/* The reference model of put and get. */
void shape_copy(const struct shape *shape, const void *src, void *dst);

/* "levels 2, count 7 3 2, …" for messages; the text is static. */
const char *shape_text(const struct shape *shape);

#endif
