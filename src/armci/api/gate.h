/* SPDX-License-Identifier: BSD-3-Clause */
/* Entry and exit of every API call: the library's lock where calls may come from several
 * threads, and use out of season. */
#ifndef STASIS_ARMCI_API_GATE_H
#define STASIS_ARMCI_API_GATE_H

#include <stdbool.h>

/* The library is initialised and not finalised. */
extern bool gate_open;
/* Calls may come from several threads: take the lock. */
extern bool gate_threaded;

/* Slow halves. The format says the call with its arguments: when the library is not
 * initialised, gate_enter_slow() ends the job with a sentence that begins with it. */
__attribute__((cold, format(printf, 1, 2))) void gate_enter_slow(const char *format, ...);
void gate_leave_slow(void);

/* gate_enter("ARMCI_Fence(rank %d)", proc) */
#define gate_enter(...)                                               \
	do {                                                          \
		if (__builtin_expect(!gate_open || gate_threaded, 0)) \
			gate_enter_slow(__VA_ARGS__);                 \
	} while (0)

static inline void gate_leave(void)
{
	if (__builtin_expect(gate_threaded, 0))
		gate_leave_slow();
}

#endif
