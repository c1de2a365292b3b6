/* SPDX-License-Identifier: BSD-3-Clause */
/* Entry and exit of every API call: the library's lock where calls may come from several
 * threads, and use out of season. */
#ifndef STASIS_ARMCI_API_ENTRY_H
#define STASIS_ARMCI_API_ENTRY_H

#include <stdbool.h>

#include "armci/core/cpu.h"

/* The library is initialised and not finalised. */
extern CPU_NEAR_DATA bool entry_open;
/* Calls may come from several threads: take the lock. */
extern CPU_NEAR_DATA bool entry_threaded;

/* Slow halves. The format says the call with its arguments: when the library is not
 * initialised, entry_begin_slow() ends the job with a sentence that begins with it. */
__attribute__((cold, format(printf, 1, 2))) void entry_begin_slow(const char *format, ...);
void entry_end_slow(void);

/* entry_begin("ARMCI_Fence(rank %d)", proc) */
#define entry_begin(...)                                                \
	do {                                                            \
		if (__builtin_expect(!entry_open || entry_threaded, 0)) \
			entry_begin_slow(__VA_ARGS__);                  \
	} while (0)

static inline void entry_end(void)
{
	if (__builtin_expect(entry_threaded, 0))
		entry_end_slow();
}

#endif
