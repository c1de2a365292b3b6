/* SPDX-License-Identifier: BSD-3-Clause */
/* Transfers inside a node: plain loads and stores by the caller. */
#ifndef STASIS_ARMCI_SHM_LOCAL_H
#define STASIS_ARMCI_SHM_LOCAL_H

#include <stdint.h>

#include "armci/core/acc.h"
#include "armci/core/cpu.h"
#include "armci/core/xfer.h"
#include "armci/shm/copy.h"
#include "armci/shm/lock.h"

/*
 * Copy `far` → `near` or `near` → `far`: small sizes without a call, COPY_LARGE and more with
 * non-temporal stores. Source and destination may overlap, per row, as memmove allows.
 */
static inline void local_get(void *near, const void *far, const struct xfer *xfer)
{
	if (xfer->levels == 0)
		copy_block(near, far, xfer->row);
	else
		copy_rows(near, xfer->near_stride, far, xfer->far_stride, xfer);
}

static inline void local_put(void *far, const void *near, const struct xfer *xfer)
{
	if (xfer->levels == 0)
		copy_block(far, near, xfer->row);
	else
		copy_rows(far, xfer->far_stride, near, xfer->near_stride, xfer);
}

static inline void local_acc(enum acc_type type, const void *scale, void *far, const void *near,
			     const struct xfer *xfer)
{
	lock_acc_rows(type, scale, far, near, xfer);
}

/* Read-modify-write by CPU atomics (seq_cst); the old value is returned. */
static inline int32_t local_fetch_add_int(void *far, int32_t value)
{
	return __atomic_fetch_add((int32_t *)far, value, __ATOMIC_SEQ_CST);
}

static inline int64_t local_fetch_add_long(void *far, int64_t value)
{
	return __atomic_fetch_add((int64_t *)far, value, __ATOMIC_SEQ_CST);
}

static inline int32_t local_swap_int(void *far, int32_t value)
{
	return __atomic_exchange_n((int32_t *)far, value, __ATOMIC_SEQ_CST);
}

static inline int64_t local_swap_long(void *far, int64_t value)
{
	return __atomic_exchange_n((int64_t *)far, value, __ATOMIC_SEQ_CST);
}

extern CPU_NEAR_DATA int local_fence_word;

/* Make earlier stores visible before later loads and stores: what a fence is inside a node. An
 * exchange orders as a fence does, and the thread sanitizer knows it. The word is not on the
 * stack: the exchange would wait for its initialisation. */
static inline void local_fence(void)
{
	__atomic_exchange_n(&local_fence_word, 1, __ATOMIC_SEQ_CST);
}

#endif
