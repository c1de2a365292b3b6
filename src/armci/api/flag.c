/* SPDX-License-Identifier: BSD-3-Clause */
/* Puts that raise a flag behind their data. */
#include <armci.h>

#include "armci/api/entry.h"
#include "armci/api/profile.h"
#include "armci/api/segments.h"
#include "armci/api/transfer.h"

/* The flag is a later write on the same way as the data, so it arrives after them. */
static int raise(const char *name, int *flag, int value, int rank)
{
	struct call call = {name, STAT_PUT, &value, flag, sizeof value, rank};
	call_check_rank(&call);
	struct place place = segment_find(&call, flag, 0, sizeof value);
	if (!place.near) {
		struct xfer xfer = xfer_block(sizeof value);
		return transfer_put(&call, &xfer, NULL);
	}
	__atomic_store_n((int *)(void *)place.near, value, __ATOMIC_RELEASE);
	return 0;
}

static int put_flag(const char *name, void *src, int src_stride[], void *dst, int dst_stride[],
		    int count[], int levels, int *flag, int value, int rank)
{
	entry_begin("%s(src %p, dst %p, rank %d)", name, src, dst, rank);
	struct call call = {name, STAT_PUTS, src, dst, count[0], rank};
	struct xfer xfer = call_xfer(&call, count, levels, src_stride, dst_stride);
	transfer_put(&call, &xfer, NULL);
	raise(name, flag, value, rank);
	entry_end();
	return 0;
}

int PARMCI_Put_flag(void *src, void *dst, int size, int *flag, int value, int proc)
{
	return put_flag("ARMCI_Put_flag", src, NULL, dst, NULL, &size, 0, flag, value, proc);
}

int PARMCI_PutS_flag(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
		     int count[], int stride_levels, int *flag, int value, int proc)
{
	return put_flag("ARMCI_PutS_flag", src_ptr, src_stride_ar, dst_ptr, dst_stride_ar,
			count, stride_levels, flag, value, proc);
}

int PARMCI_PutS_flag_dir(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
			 int count[], int stride_levels, int *flag, int value, int proc)
{
	return put_flag("ARMCI_PutS_flag_dir", src_ptr, src_stride_ar, dst_ptr, dst_stride_ar,
			count, stride_levels, flag, value, proc);
}

ARMCI_ALIAS(int, Put_flag, (void *src, void *dst, int size, int *flag, int value, int proc));
ARMCI_ALIAS(int, PutS_flag,
	    (void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
	     int count[], int stride_levels, int *flag, int value, int proc));
ARMCI_ALIAS(int, PutS_flag_dir,
	    (void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
	     int count[], int stride_levels, int *flag, int value, int proc));
