/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that several users share under one limit. */
#include "base/budget.h"

#include <errno.h>
#include <string.h>

#include "base/spec.h"

int budget_parse(const char *text, uint64_t *ret_limit_bytes, struct err *err)
{
	uint64_t bytes;
	int rc;

	if (!strcmp(text, "auto")) {
		*ret_limit_bytes = BUDGET_AUTO;
		return 0;
	}
	rc = spec_parse_size(text, &bytes, err);
	if (rc == 0)
		*ret_limit_bytes = bytes;
	return rc;
}

bool budget_take(struct budget *budget, uint64_t bytes, uint64_t available_bytes,
		 uint64_t *ret_left_bytes)
{
	uint64_t most =
		available_bytes < budget->limit_bytes ? available_bytes : budget->limit_bytes;
	bool fits;

	pthread_mutex_lock(&budget->lock);
	*ret_left_bytes = most > budget->taken_bytes ? most - budget->taken_bytes : 0;
	fits = bytes <= *ret_left_bytes;
	if (fits)
		budget->taken_bytes += bytes;
	pthread_mutex_unlock(&budget->lock);
	return fits;
}

void budget_give(struct budget *budget, uint64_t bytes)
{
	pthread_mutex_lock(&budget->lock);
	budget->taken_bytes -= bytes;
	pthread_mutex_unlock(&budget->lock);
}
