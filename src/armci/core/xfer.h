/* SPDX-License-Identifier: BSD-3-Clause */
/* The shape of a transfer: rows at strides on two sides, and a walk over its rows. Pure
 * arithmetic. */
#ifndef STASIS_ARMCI_CORE_XFER_H
#define STASIS_ARMCI_CORE_XFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { XFER_LEVELS_MAX = 7 };

/*
 * `row` bytes at each place; level i repeats count[i] times at near_stride[i] and far_stride[i]
 * bytes. "near" is the caller's memory, "far" the target's. Levels are innermost first. Made by
 * xfer_make(), which merges levels that are contiguous on both sides and drops those with a
 * count of one, so that levels == 0 means one contiguous block.
 */
struct xfer {
	size_t row;
	int levels;
	size_t count[XFER_LEVELS_MAX];
	ptrdiff_t near_stride[XFER_LEVELS_MAX];
	ptrdiff_t far_stride[XFER_LEVELS_MAX];
};

/*
 * From ARMCI's arguments (count[0] in bytes, count[i], strides in bytes for level i of
 * `levels`). Returns 0, -EINVAL for a negative level, count or more than XFER_LEVELS_MAX
 * levels, -EOVERFLOW for a total or an extent over PTRDIFF_MAX. Any count of zero gives row 0
 * (nothing to do).
 */
int xfer_make(struct xfer *ret_xfer, const int count[], int levels, const int near_stride[],
	      const int far_stride[]);

/* One contiguous block. */
static inline struct xfer xfer_block(size_t bytes)
{
	return (struct xfer){.row = bytes};
}

/* Rows in all, and bytes in all. */
size_t xfer_rows(const struct xfer *xfer);
size_t xfer_bytes(const struct xfer *xfer);

/* Lowest and one past the highest byte touched on the far side, relative to its first byte. */
void xfer_far_extent(const struct xfer *xfer, ptrdiff_t *ret_low, ptrdiff_t *ret_high);
void xfer_near_extent(const struct xfer *xfer, ptrdiff_t *ret_low, ptrdiff_t *ret_high);

/* A walk over the rows, innermost level first. */
struct xfer_walk {
	const struct xfer *xfer;
	size_t index[XFER_LEVELS_MAX];
	ptrdiff_t near, far; /* offsets of the present row */
	bool done;
};
void xfer_walk_begin(struct xfer_walk *walk, const struct xfer *xfer);
void xfer_walk_next(struct xfer_walk *walk);

#endif
