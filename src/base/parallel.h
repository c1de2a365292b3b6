/* SPDX-License-Identifier: BSD-3-Clause */
/* Run a function over indices on several threads and collect the first error. */
#ifndef STASIS_BASE_PARALLEL_H
#define STASIS_BASE_PARALLEL_H

#include <stddef.h>

#include "base/err.h"

/* Work on item `index`; returns 0 or -errno with err set. Called from several threads at once.
 */
typedef int (*parallel_fn)(size_t index, void *arg, struct err *err);

/*
 * Call fn for 0 … count-1 on at most `threads` threads (0: the number of processors); items are
 * taken in order. After an error no further item is begun. Returns 0 or the first error, whose
 * sentence goes to err.
 */
int parallel_for(size_t count, size_t threads, parallel_fn fn, void *arg, struct err *err);

/* As parallel_for(), on threads of their own that have `nice` steps less priority than the
 * caller's; on the caller's thread only if none can be made. */
int parallel_for_nice(size_t count, size_t threads, int nice, parallel_fn fn, void *arg,
		      struct err *err);

/* As parallel_for(), but with one thread per item, for items that wait rather than compute; all
 * are begun. */
int parallel_each(size_t count, parallel_fn fn, void *arg, struct err *err);

/* Processors this process may run on. */
size_t parallel_cpus(void);

#endif
