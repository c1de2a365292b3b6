/* SPDX-License-Identifier: BSD-3-Clause */
/* What a call was asked to do, for the sentence that ends the job when it was asked wrongly. */
#ifndef STASIS_ARMCI_API_CALL_H
#define STASIS_ARMCI_API_CALL_H

#include <stddef.h>
#include <stdint.h>

#include "armci/api/stats.h"
#include "armci/core/xfer.h"

/* A transfer: "ARMCI_Put(src 0x…, dst 0x…, 8 bytes, rank 3)". */
struct call {
	const char *name;
	enum stat stat;
	const void *src, *dst;
	int64_t bytes; /* of a row for strided and vector calls */
	int rank;
};

/* End the job: "<call>: <sentence>". */
_Noreturn void call_fail(const struct call *call, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The rank is one of the world's, the library is initialised; else end the job. */
void call_check_rank(const struct call *call);

/* A shape from ARMCI's arguments; wrong ones end the job. */
struct xfer call_xfer(const struct call *call, const int count[], int levels,
		      const int near_stride[], const int far_stride[]);

#endif
