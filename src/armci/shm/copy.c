/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying rows at strides (built with -O3). */
#include "armci/shm/copy.h"

#include "armci/core/cpu.h"

typedef uint8_t copy_32 __attribute__((vector_size(32), may_alias, aligned(1)));

/* From here on a call for each row costs nothing. */
enum { ROW_CALL = 4096 };

/* Rows of one level. */
struct plane {
	char *dst;
	const char *src;
	ptrdiff_t dst_stride, src_stride;
	size_t rows, row;
};

/* `statement` for each row, which begins at dst and src. Locals, since the rows' bytes might be
 * the plane for all the compiler knows. */
#define ROWS_OF(plane, statement)                                \
	do {                                                     \
		const struct plane *plane_ = (plane);            \
		const ptrdiff_t dst_stride = plane_->dst_stride; \
		const ptrdiff_t src_stride = plane_->src_stride; \
		const char *src = plane_->src;                   \
		char *dst = plane_->dst;                         \
                                                                 \
		for (size_t i_ = plane_->rows; i_ > 0; i_--) {   \
			statement;                               \
			dst += dst_stride;                       \
			src += src_stride;                       \
		}                                                \
	} while (0)

/* 33 to 64 bytes, loaded before they are stored. */
CPU_BODY void row_64(char *dst, const char *src, size_t bytes)
{
	COPY_TWO_PARTS(copy_32, dst, src, bytes);
}

/*
 * More than 64 bytes that do not overlap: 128 at a time, while the next row is fetched; the
 * last ones once more where they do not come out even.
 */
CPU_BODY void row_long(char *dst, const char *src, size_t bytes, const char *dst_next,
		       const char *src_next)
{
	size_t at = 0;

	for (; at + 128 <= bytes; at += 128) {
		copy_32 a = *(const copy_32 *)(src + at), b = *(const copy_32 *)(src + at + 32);
		copy_32 c = *(const copy_32 *)(src + at + 64),
			d = *(const copy_32 *)(src + at + 96);

		__builtin_prefetch(src_next + at);
		__builtin_prefetch(src_next + at + 64);
		__builtin_prefetch(dst_next + at, 1);
		__builtin_prefetch(dst_next + at + 64, 1);
		*(copy_32 *)(dst + at) = a;
		*(copy_32 *)(dst + at + 32) = b;
		*(copy_32 *)(dst + at + 64) = c;
		*(copy_32 *)(dst + at + 96) = d;
	}
	if (at + 64 < bytes) {
		row_64(dst + at, src + at, 64);
		at += 64;
	}
	if (at < bytes)
		row_64(dst + bytes - 64, src + bytes - 64, 64);
}

/* The two places of a row have bytes in common. */
static inline int overlap(const char *dst, const char *src, size_t bytes)
{
	uintptr_t ahead = (uintptr_t)dst - (uintptr_t)src;

	return ahead < bytes || -ahead < bytes;
}

/* The ends in the plain way, so that what is between begins at a multiple of 32. */
CPU_WIDE static void stream(char *dst, const char *src, size_t bytes)
{
	size_t at = 32 - (uintptr_t)dst % 32;

	*(copy_32 *)dst = *(const copy_32 *)src;
	for (; at + 128 <= bytes; at += 128) {
		cpu_stream_32(dst + at, src + at);
		cpu_stream_32(dst + at + 32, src + at + 32);
		cpu_stream_32(dst + at + 64, src + at + 64);
		cpu_stream_32(dst + at + 96, src + at + 96);
	}
	cpu_stream_end();
	memcpy(dst + at, src + at, bytes - at);
}

void copy_large(char *dst, const char *src, size_t bytes)
{
	if (cpu_is_wide() && !overlap(dst, src, bytes))
		stream(dst, src, bytes);
	else
		memmove(dst, src, bytes);
}

CPU_BODY void row_any(char *dst, const char *src, size_t bytes, ptrdiff_t dst_stride,
		      ptrdiff_t src_stride)
{
	if (overlap(dst, src, bytes))
		memmove(dst, src, bytes);
	else
		row_long(dst, src, bytes, dst + dst_stride, src + src_stride);
}

CPU_BODY void plane_body(const struct plane *plane)
{
	const size_t row = plane->row;

	switch (row) {
	case 4: ROWS_OF(plane, *(copy_4 *)dst = *(const copy_4 *)src); return;
	case 8: ROWS_OF(plane, *(copy_8 *)dst = *(const copy_8 *)src); return;
	case 16: ROWS_OF(plane, *(copy_16 *)dst = *(const copy_16 *)src); return;
	case 32: ROWS_OF(plane, *(copy_32 *)dst = *(const copy_32 *)src); return;
	case 64: ROWS_OF(plane, row_64(dst, src, 64)); return;
	default: break;
	}
	if (row >= ROW_CALL)
		ROWS_OF(plane, copy_block(dst, src, row));
	else if (row > 64)
		ROWS_OF(plane, row_any(dst, src, row, dst_stride, src_stride));
	else if (row > 32)
		ROWS_OF(plane, row_64(dst, src, row));
	else
		ROWS_OF(plane, copy_small(dst, src, row));
}

CPU_WIDE static void plane_wide(const struct plane *plane)
{
	plane_body(plane);
}

static void plane_plain(const struct plane *plane)
{
	plane_body(plane);
}

void copy_rows(char *dst, const ptrdiff_t dst_stride[], const char *src,
	       const ptrdiff_t src_stride[], const struct xfer *xfer)
{
	void (*copy)(const struct plane *) = cpu_is_wide() ? plane_wide : plane_plain;
	struct plane plane = {dst,      src, dst_stride[0], src_stride[0], xfer->count[0],
			      xfer->row};
	size_t index[XFER_LEVELS_MAX];
	int level;

	for (level = 1; level < xfer->levels; level++)
		index[level] = 0;
	do {
		copy(&plane);
		for (level = 1; level < xfer->levels; level++) {
			plane.dst += dst_stride[level];
			plane.src += src_stride[level];
			if (++index[level] < xfer->count[level])
				break;
			plane.dst -= dst_stride[level] * (ptrdiff_t)xfer->count[level];
			plane.src -= src_stride[level] * (ptrdiff_t)xfer->count[level];
			index[level] = 0;
		}
	} while (level < xfer->levels);
}
