/* SPDX-License-Identifier: BSD-3-Clause */
/* Strided put, get and accumulate, with a fast path for one level on the caller's node. */
#include <armci.h>

#include "armci/api/entry.h"
#include "armci/api/handle.h"
#include "armci/api/near.h"
#include "armci/api/profile.h"
#include "armci/api/transfer.h"
#include "armci/shm/local.h"

/* The common case: one level, forward strides. The far address, and the shape, if it is that
 * and lies in one segment of this node. */
static inline char *fast(int rank, const void *address, const int count[], int levels,
			 const int near_stride[], const int far_stride[], struct xfer *ret_xfer)
{
	if (levels != 1 || count[0] <= 0 || count[1] <= 0 || far_stride[0] < 0)
		return NULL;
	size_t extent = (size_t)far_stride[0] * (size_t)(count[1] - 1) + (size_t)count[0];
	ret_xfer->row = (size_t)count[0];
	ret_xfer->levels = 1;
	ret_xfer->count[0] = (size_t)count[1];
	ret_xfer->near_stride[0] = near_stride[0];
	ret_xfer->far_stride[0] = far_stride[0];
	return near_address(rank, address, extent);
}

static int put(const char *name, void *src, int src_stride[], void *dst, int dst_stride[],
	       int count[], int levels, int rank, struct remote_handle *handle)
{
	struct xfer xfer;
	char *far = fast(rank, dst, count, levels, src_stride, dst_stride, &xfer);
	if (far) {
		local_put(far, src, &xfer);
		return 0;
	}
	struct call call = {name, STAT_PUTS, src, dst, count[0], rank};
	xfer = call_xfer(&call, count, levels, src_stride, dst_stride);
	return transfer_put(&call, &xfer, handle);
}

static int get(const char *name, void *src, int src_stride[], void *dst, int dst_stride[],
	       int count[], int levels, int rank, struct remote_handle *handle)
{
	struct xfer xfer;
	const char *far = fast(rank, src, count, levels, dst_stride, src_stride, &xfer);
	if (far) {
		local_get(dst, far, &xfer);
		return 0;
	}
	struct call call = {name, STAT_GETS, src, dst, count[0], rank};
	xfer = call_xfer(&call, count, levels, dst_stride, src_stride);
	return transfer_get(&call, &xfer, handle);
}

static int acc(const char *name, int datatype, void *scale, void *src, int src_stride[],
	       void *dst, int dst_stride[], int count[], int levels, int rank)
{
	struct xfer xfer;
	enum acc_type type;
	char *far = fast(rank, dst, count, levels, src_stride, dst_stride, &xfer);
	if (far && acc_type_parse(datatype, &type) == 0 && xfer.row % acc_size(type) == 0) {
		local_acc(type, scale, far, src, &xfer);
		return 0;
	}
	struct call call = {name, STAT_ACCS, src, dst, count[0], rank};
	xfer = call_xfer(&call, count, levels, src_stride, dst_stride);
	return transfer_acc(&call, datatype, scale, &xfer);
}

int PARMCI_PutS(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
		int count[], int stride_levels, int proc)
{
	return put("ARMCI_PutS", src_ptr, src_stride_ar, dst_ptr, dst_stride_ar, count,
		   stride_levels, proc, NULL);
}

int PARMCI_GetS(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
		int count[], int stride_levels, int proc)
{
	return get("ARMCI_GetS", src_ptr, src_stride_ar, dst_ptr, dst_stride_ar, count,
		   stride_levels, proc, NULL);
}

int PARMCI_AccS(int datatype, void *scale, void *src_ptr, int src_stride_ar[], void *dst_ptr,
		int dst_stride_ar[], int count[], int stride_levels, int proc)
{
	return acc("ARMCI_AccS", datatype, scale, src_ptr, src_stride_ar, dst_ptr,
		   dst_stride_ar, count, stride_levels, proc);
}

int PARMCI_NbPutS(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
		  int count[], int stride_levels, int proc, armci_hdl_t *hdl)
{
	entry_begin("ARMCI_NbPutS(src %p, dst %p, %d stride levels, rank %d)", src_ptr, dst_ptr,
		    stride_levels, proc);
	int rc = put("ARMCI_NbPutS", src_ptr, src_stride_ar, dst_ptr, dst_stride_ar, count,
		     stride_levels, proc, handle_slot(hdl));
	entry_end();
	return rc;
}

int PARMCI_NbGetS(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
		  int count[], int stride_levels, int proc, armci_hdl_t *hdl)
{
	entry_begin("ARMCI_NbGetS(src %p, dst %p, %d stride levels, rank %d)", src_ptr, dst_ptr,
		    stride_levels, proc);
	int rc = get("ARMCI_NbGetS", src_ptr, src_stride_ar, dst_ptr, dst_stride_ar, count,
		     stride_levels, proc, handle_slot(hdl));
	entry_end();
	return rc;
}

int PARMCI_NbAccS(int datatype, void *scale, void *src_ptr, int src_stride_ar[], void *dst_ptr,
		  int dst_stride_ar[], int count[], int stride_levels, int proc,
		  armci_hdl_t *hdl)
{
	(void)hdl; /* the source is reusable when it returns */
	return acc("ARMCI_NbAccS", datatype, scale, src_ptr, src_stride_ar, dst_ptr,
		   dst_stride_ar, count, stride_levels, proc);
}

ARMCI_ALIAS(int, PutS,
	    (void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
	     int count[], int stride_levels, int proc));
ARMCI_ALIAS(int, GetS,
	    (void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
	     int count[], int stride_levels, int proc));
ARMCI_ALIAS(int, AccS,
	    (int datatype, void *scale, void *src_ptr, int src_stride_ar[], void *dst_ptr,
	     int dst_stride_ar[], int count[], int stride_levels, int proc));
ARMCI_ALIAS(int, NbPutS,
	    (void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
	     int count[], int stride_levels, int proc, armci_hdl_t *hdl));
ARMCI_ALIAS(int, NbGetS,
	    (void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
	     int count[], int stride_levels, int proc, armci_hdl_t *hdl));
ARMCI_ALIAS(int, NbAccS,
	    (int datatype, void *scale, void *src_ptr, int src_stride_ar[], void *dst_ptr,
	     int dst_stride_ar[], int count[], int stride_levels, int proc, armci_hdl_t *hdl));
