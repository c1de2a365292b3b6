/* SPDX-License-Identifier: BSD-3-Clause */
/* The library's lock, for programs with MPI_THREAD_MULTIPLE, and calls before init or after
 * finalize. */
#include "armci/api/entry.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "armci/core/fail.h"

bool entry_open;
bool entry_threaded;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

void entry_begin_slow(const char *format, ...)
{
	char call[256];
	va_list ap;
	if (!entry_open) {
		va_start(ap, format);
		vsnprintf(call, sizeof call, format, ap);
		va_end(ap);
		fail("%s: called before ARMCI_Init or after ARMCI_Finalize", call);
	}
	pthread_mutex_lock(&lock);
}

void entry_end_slow(void)
{
	pthread_mutex_unlock(&lock);
}
