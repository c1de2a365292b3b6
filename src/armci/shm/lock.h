/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks that make accumulates atomic to each other: ARENA_LOCKS of them, chosen by the page
 * accumulated into. */
#ifndef STASIS_ARMCI_SHM_LOCK_H
#define STASIS_ARMCI_SHM_LOCK_H

#include <stddef.h>
#include <stdint.h>

#include "armci/core/acc.h"
#include "armci/core/xfer.h"

/*
 * dst += scale * src for a run of elements in the arena, atomic per element against every other
 * accumulate of the node's ranks and service threads. bytes is a multiple of the element's
 * size. scale NULL means one.
 */
void lock_acc(enum acc_type type, const void *scale, void *dst, const void *src, size_t bytes);

/* The same for all rows of a transfer, whose far side is in the arena. */
void lock_acc_rows(enum acc_type type, const void *scale, void *far, const void *near,
		   const struct xfer *xfer);

#endif
