/* SPDX-License-Identifier: BSD-3-Clause */
/* Local copies, packing of strided memory, and what coherent memory makes trivial. */
#include <armci.h>
#include <string.h>

#include "armci/api/call.h"
#include "armci/api/entry.h"
#include "armci/api/near.h"
#include "armci/api/profile.h"
#include "armci/api/segments.h"
#include "armci/shm/local.h"

void ARMCI_Copy(void *src, void *dst, int size)
{
	if (size < 0) {
		struct call call = {"ARMCI_Copy", STAT_PUT, src, dst, size, job.rank};
		call_fail(&call, "a negative size");
	}
	memcpy(dst, src, (size_t)size);
}

static void access_fence(const char *name, void *ptr)
{
	entry_begin("%s(%p)", name, ptr);
	struct call call = {name, STAT_GET, ptr, ptr, 1, job.rank};
	segment_find(&call, ptr, 0, 1);
	local_fence();
	entry_end();
}

void PARMCI_Access_begin(void *ptr)
{
	access_fence("ARMCI_Access_begin", ptr);
}

void PARMCI_Access_end(void *ptr)
{
	access_fence("ARMCI_Access_end", ptr);
}

/* The shape with the strided memory on the far side and a packed buffer on the near one. */
static struct xfer packed(const char *name, void *ptr, int levels, int stride[], int count[])
{
	struct call call = {name, STAT_PUTS, ptr, ptr, count[0], 0};
	int near_stride[XFER_LEVELS_MAX] = {0};
	long at = count[0];
	for (int i = 0; i < levels && i < XFER_LEVELS_MAX; i++) {
		if (at > INT32_MAX)
			call_fail(&call, "more than 2 GB in one buffer");
		near_stride[i] = (int)at;
		at *= count[i + 1];
	}
	return call_xfer(&call, count, levels, near_stride, stride);
}

void armci_write_strided(void *ptr, int stride_levels, int stride_arr[], int count[], char *buf)
{
	struct xfer xfer = packed("armci_write_strided", ptr, stride_levels, stride_arr, count);
	if (xfer.row)
		local_get(buf, ptr, &xfer);
}

void armci_read_strided(void *ptr, int stride_levels, int stride_arr[], int count[], char *buf)
{
	struct xfer xfer = packed("armci_read_strided", ptr, stride_levels, stride_arr, count);
	if (xfer.row)
		local_put(ptr, buf, &xfer);
}

ARMCI_ALIAS(void, Access_begin, (void *ptr));
ARMCI_ALIAS(void, Access_end, (void *ptr));
