/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying between mapped places: small blocks without a call, rows at strides. */
#ifndef STASIS_ARMCI_SHM_COPY_H
#define STASIS_ARMCI_SHM_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "armci/core/xfer.h"

/* The application's data: of any alignment, and seen as other types elsewhere. */
#define COPY_ANY __attribute__((may_alias, aligned(1)))

typedef uint16_t copy_2 COPY_ANY;
typedef uint32_t copy_4 COPY_ANY;
typedef uint64_t copy_8 COPY_ANY;
typedef uint8_t copy_16 __attribute__((vector_size(16), may_alias, aligned(1)));

/* Between 2 and 16 (…) bytes in two parts that may overlap. All is loaded before anything is
 * stored, as memmove does. */
#define COPY_TWO_PARTS(type, dst, src, bytes)                                               \
	do {                                                                                \
		type first_ = *(const type *)(src);                                         \
		type last_ = *(const type *)((const char *)(src) + (bytes) - sizeof(type)); \
		*(type *)(dst) = first_;                                                    \
		*(type *)((char *)(dst) + (bytes) - sizeof(type)) = last_;                  \
	} while (0)

/* At most 64 bytes. Aligned words of 8, 4 and 2 bytes are copied in one access each. */
static inline void copy_small(void *dst, const void *src, size_t bytes)
{
	if (bytes == 8) {
		*(copy_8 *)dst = *(const copy_8 *)src;
	} else if (bytes > 32) {
		copy_16 a = ((const copy_16 *)src)[0], b = ((const copy_16 *)src)[1];
		const copy_16 *end = (const copy_16 *)((const char *)src + bytes);
		copy_16 c = end[-2], d = end[-1];
		copy_16 *dst_end = (copy_16 *)((char *)dst + bytes);

		((copy_16 *)dst)[0] = a;
		((copy_16 *)dst)[1] = b;
		dst_end[-2] = c;
		dst_end[-1] = d;
	} else if (bytes >= 16) {
		COPY_TWO_PARTS(copy_16, dst, src, bytes);
	} else if (bytes > 8) {
		COPY_TWO_PARTS(copy_8, dst, src, bytes);
	} else if (bytes >= 4) {
		COPY_TWO_PARTS(copy_4, dst, src, bytes);
	} else if (bytes >= 2) {
		COPY_TWO_PARTS(copy_2, dst, src, bytes);
	} else if (bytes == 1) {
		*(char *)dst = *(const char *)src;
	}
}

/* From here on the caches are in the way: twice as much as is in the second level of common
 * processors, and more. Less would be read back from there. */
#define COPY_LARGE ((size_t)8 << 20)

/* COPY_LARGE bytes or more; the two may overlap. */
void copy_large(char *dst, const char *src, size_t bytes);

/* One block of any size; the two may overlap. */
static inline void copy_block(void *dst, const void *src, size_t bytes)
{
	if (bytes <= 64)
		copy_small(dst, src, bytes);
	else if (bytes < COPY_LARGE)
		memmove(dst, src, bytes);
	else
		copy_large(dst, src, bytes);
}

/* All rows of a transfer of at least one level, with the strides of either side; the two places
 * of each row may overlap. */
void copy_rows(char *dst, const ptrdiff_t dst_stride[], const char *src,
	       const ptrdiff_t src_stride[], const struct xfer *xfer);

#endif
