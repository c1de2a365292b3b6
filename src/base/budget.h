/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that several users share under one limit. */
#ifndef STASIS_BASE_BUDGET_H
#define STASIS_BASE_BUDGET_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define BUDGET_AUTO UINT64_MAX /* no limit but the memory that is available */

struct budget {
	pthread_mutex_t lock;
	uint64_t limit_bytes;
	uint64_t taken_bytes;
};

/* A size such as 512M or 2G, or "auto". -EINVAL, -ERANGE. */
int budget_parse(const char *text, uint64_t *ret_limit_bytes, struct err *err);

/*
 * Take so many bytes, if with all that is taken they stay within the limit and within
 * `available_bytes`; false, and nothing is taken, if they don't. What was taken is counted as
 * if none of it had been used yet: too little memory would be worse than too careful a "no".
 * ret_left_bytes: how much there was to take.
 */
bool budget_take(struct budget *budget, uint64_t bytes, uint64_t available_bytes,
		 uint64_t *ret_left_bytes);
void budget_give(struct budget *budget, uint64_t bytes);

#endif
