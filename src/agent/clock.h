/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's clock and random pool after a start or a restore. */
#ifndef STASIS_AGENT_CLOCK_H
#define STASIS_AGENT_CLOCK_H

#include <stdint.h>

#include "agent/request.h"

/* Credit the entropy to the kernel's pool, reseed from it, then set the clock. *ret_before_ns
 * may be NULL. */
int clock_set(int64_t realtime_ns, const struct request_entropy *entropy,
	      int64_t *ret_before_ns, struct err *err);

#endif
