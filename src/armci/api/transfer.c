/* SPDX-License-Identifier: BSD-3-Clause */
/* Put, get and accumulate of any shape. */
#include "armci/api/transfer.h"

#include "armci/api/entry.h"
#include "armci/api/segments.h"
#include "armci/shm/local.h"

/* Check and find the far side; false: there is nothing to do. */
static bool begin(const struct call *call, const void *far, const struct xfer *xfer,
		  struct place *ret_place)
{
	call_check_rank(call);
	if (call->bytes < 0)
		call_fail(call, "a negative size");
	if (xfer->row == 0)
		return false;
	ptrdiff_t low, high;
	xfer_far_extent(xfer, &low, &high);
	*ret_place = segment_find(call, far, low, high);
	stats_count(call->stat, call->rank, xfer_bytes(xfer));
	return true;
}

int transfer_put(const struct call *call, const struct xfer *xfer, struct remote_handle *handle)
{
	struct place place;
	entry_begin("%s(src %p, dst %p, %lld bytes, rank %d)", call->name, call->src, call->dst,
		    (long long)call->bytes, call->rank);
	if (begin(call, call->dst, xfer, &place)) {
		if (place.near)
			local_put(place.near, call->src, xfer);
		else
			remote_put(place.node, place.far, call->src, xfer, handle);
	}
	entry_end();
	return 0;
}

int transfer_get(const struct call *call, const struct xfer *xfer, struct remote_handle *handle)
{
	struct place place;
	entry_begin("%s(src %p, dst %p, %lld bytes, rank %d)", call->name, call->src, call->dst,
		    (long long)call->bytes, call->rank);
	if (begin(call, call->src, xfer, &place)) {
		if (place.near)
			local_get((void *)call->dst, place.near, xfer);
		else
			remote_get(place.node, place.far, (void *)call->dst, xfer, handle);
	}
	entry_end();
	return 0;
}

int transfer_acc(const struct call *call, int datatype, const void *scale,
		 const struct xfer *xfer)
{
	struct place place;
	enum acc_type type;
	entry_begin("%s(src %p, dst %p, %lld bytes, rank %d)", call->name, call->src, call->dst,
		    (long long)call->bytes, call->rank);
	if (acc_type_parse(datatype, &type) < 0)
		call_fail(call, "%d is no type of accumulate (ARMCI_ACC_…)", datatype);
	if (xfer->row % acc_size(type))
		call_fail(call, "rows of %zu bytes are not whole elements of %zu bytes",
			  xfer->row, acc_size(type));
	if (begin(call, call->dst, xfer, &place)) {
		if (place.near)
			local_acc(type, scale, place.near, call->src, xfer);
		else
			remote_acc(place.node, type, scale, place.far, call->src, xfer);
	}
	entry_end();
	return 0;
}
