/* SPDX-License-Identifier: BSD-3-Clause */
/* The one way of every transfer that is not on the fast path: check, find, count, and go by
 * memory or network. */
#ifndef STASIS_ARMCI_API_TRANSFER_H
#define STASIS_ARMCI_API_TRANSFER_H

#include "armci/api/call.h"
#include "armci/remote/remote.h"

/* `handle` NULL: blocking. They are whole calls. call->src and dst say which side is
 * which. Return 0. */
int transfer_put(const struct call *call, const struct xfer *xfer,
		 struct remote_handle *handle);
int transfer_get(const struct call *call, const struct xfer *xfer,
		 struct remote_handle *handle);
/* `datatype` as the user gave it; every row must be whole elements. */
int transfer_acc(const struct call *call, int datatype, const void *scale,
		 const struct xfer *xfer);

#endif
