/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks that every transfer has in common, and their sentences. */
#include "armci/api/call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "armci/core/fail.h"
#include "armci/core/job.h"

void call_fail(const struct call *call, const char *fmt, ...)
{
	char why[384];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why, sizeof why, fmt, ap);
	va_end(ap);
	fail("%s(src %p, dst %p, %lld bytes, rank %d): %s", call->name, call->src, call->dst,
	     (long long)call->bytes, call->rank, why);
}

void call_check_rank(const struct call *call)
{
	if (call->rank < 0 || call->rank >= job.size)
		call_fail(call, "there is no such rank: the job has ranks 0 to %d",
			  job.size - 1);
}

struct xfer call_xfer(const struct call *call, const int count[], int levels,
		      const int near_stride[], const int far_stride[])
{
	struct xfer xfer;
	switch (xfer_make(&xfer, count, levels, near_stride, far_stride)) {
	case 0: return xfer;
	case -EOVERFLOW: call_fail(call, "the shape is larger than an address space");
	default:
		if (levels < 0 || levels > XFER_LEVELS_MAX)
			call_fail(call, "%d stride levels: 0 to %d are possible", levels,
				  XFER_LEVELS_MAX);
		call_fail(call, "a negative count or size");
	}
}
