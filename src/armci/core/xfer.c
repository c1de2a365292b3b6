/* SPDX-License-Identifier: BSD-3-Clause */
/* The shape of a transfer: checking and merging of ARMCI's arguments, extents, and the walk
 * over rows. */
#include "armci/core/xfer.h"

#include <errno.h>
#include <stdint.h>

/* The side that xfer_extent() looks at. */
enum side { NEAR, FAR };

static ptrdiff_t stride_of(const struct xfer *xfer, enum side side, int level)
{
	return side == NEAR ? xfer->near_stride[level] : xfer->far_stride[level];
}

static int extent(const struct xfer *xfer, enum side side, ptrdiff_t *ret_low,
		  ptrdiff_t *ret_high)
{
	ptrdiff_t low = 0, high = (ptrdiff_t)xfer->row, reach;

	for (int i = 0; i < xfer->levels; i++) {
		ptrdiff_t *end;

		if (__builtin_mul_overflow(stride_of(xfer, side, i), xfer->count[i] - 1,
					   &reach))
			return -EOVERFLOW;
		end = reach < 0 ? &low : &high;
		if (__builtin_add_overflow(*end, reach, end))
			return -EOVERFLOW;
	}
	/* Nobody subtracts the two without harm otherwise. */
	if (__builtin_sub_overflow(high, low, &reach))
		return -EOVERFLOW;
	*ret_low = low;
	*ret_high = high;
	return 0;
}

/* Add a level outside of those there are, or let it go up in the present outermost. */
static inline int level_add(struct xfer *xfer, size_t count, ptrdiff_t near_stride,
			    ptrdiff_t far_stride)
{
	int last = xfer->levels - 1;
	ptrdiff_t near_span, far_span;

	if (count == 1)
		return 0;
	if (xfer->levels == 0) {
		if (near_stride == far_stride && near_stride == (ptrdiff_t)xfer->row)
			return __builtin_mul_overflow(xfer->row, count, &xfer->row) ||
					       xfer->row > PTRDIFF_MAX
				       ? -EOVERFLOW
				       : 0;
	} else if (!__builtin_mul_overflow(xfer->near_stride[last], xfer->count[last],
					   &near_span) &&
		   !__builtin_mul_overflow(xfer->far_stride[last], xfer->count[last],
					   &far_span) &&
		   near_span == near_stride && far_span == far_stride &&
		   !__builtin_mul_overflow(xfer->count[last], count, &count)) {
		xfer->count[last] = count;
		return 0;
	}
	xfer->count[xfer->levels] = count;
	xfer->near_stride[xfer->levels] = near_stride;
	xfer->far_stride[xfer->levels] = far_stride;
	xfer->levels++;
	return 0;
}

static int total_check(const struct xfer *xfer)
{
	size_t total = xfer->row;
	ptrdiff_t low, high;

	for (int i = 0; i < xfer->levels; i++)
		if (__builtin_mul_overflow(total, xfer->count[i], &total))
			return -EOVERFLOW;
	if (total > PTRDIFF_MAX)
		return -EOVERFLOW;
	if (extent(xfer, NEAR, &low, &high) < 0)
		return -EOVERFLOW;
	return extent(xfer, FAR, &low, &high);
}

int xfer_make(struct xfer *ret_xfer, const int count[], int levels, const int near_stride[],
	      const int far_stride[])
{
	bool nothing = false;

	if (levels < 0 || levels > XFER_LEVELS_MAX)
		return -EINVAL;
	for (int i = 0; i <= levels; i++) {
		if (count[i] < 0)
			return -EINVAL;
		nothing |= count[i] == 0;
	}
	ret_xfer->levels = 0;
	ret_xfer->row = nothing ? 0 : (size_t)count[0];
	if (nothing)
		return 0;
	for (int i = 0; i < levels; i++)
		if (level_add(ret_xfer, (size_t)count[i + 1], near_stride[i], far_stride[i]) <
		    0)
			return -EOVERFLOW;
	/* With one level the products of two ints cannot overflow. */
	return levels <= 1 ? 0 : total_check(ret_xfer);
}

size_t xfer_rows(const struct xfer *xfer)
{
	size_t rows = xfer->row > 0;

	for (int i = 0; i < xfer->levels; i++)
		rows *= xfer->count[i];
	return rows;
}

size_t xfer_bytes(const struct xfer *xfer)
{
	return xfer_rows(xfer) * xfer->row;
}

void xfer_far_extent(const struct xfer *xfer, ptrdiff_t *ret_low, ptrdiff_t *ret_high)
{
	extent(xfer, FAR, ret_low, ret_high);
}

void xfer_near_extent(const struct xfer *xfer, ptrdiff_t *ret_low, ptrdiff_t *ret_high)
{
	extent(xfer, NEAR, ret_low, ret_high);
}

void xfer_walk_begin(struct xfer_walk *walk, const struct xfer *xfer)
{
	walk->xfer = xfer;
	for (int i = 0; i < xfer->levels; i++)
		walk->index[i] = 0;
	walk->near = 0;
	walk->far = 0;
	walk->done = xfer->row == 0;
}

void xfer_walk_next(struct xfer_walk *walk)
{
	const struct xfer *xfer = walk->xfer;

	for (int i = 0; i < xfer->levels; i++) {
		walk->near += xfer->near_stride[i];
		walk->far += xfer->far_stride[i];
		if (++walk->index[i] < xfer->count[i])
			return;
		walk->near -= xfer->near_stride[i] * (ptrdiff_t)xfer->count[i];
		walk->far -= xfer->far_stride[i] * (ptrdiff_t)xfer->count[i];
		walk->index[i] = 0;
	}
	walk->done = true;
}
