/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads for work on the store, at the priority that it was given. */
#ifndef STASIS_STORE_WORK_H
#define STASIS_STORE_WORK_H

#include "base/parallel.h"
#include "store/store.h"

/* A NULL work is one of the default. */
unsigned int work_threads(const struct store_work *work);

/* Call fn(0 … workers - 1) each on a thread of its own; the first error is returned. */
int work_run(const struct store_work *work, unsigned int workers, parallel_fn fn, void *arg,
	     struct err *err);

static inline void work_progress(const struct store_work *work, uint64_t bytes)
{
	if (work && work->progress && bytes)
		work->progress(bytes, work->progress_arg);
}

#endif
