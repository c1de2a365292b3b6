/* SPDX-License-Identifier: BSD-3-Clause */
/* The library's lock, for programs with MPI_THREAD_MULTIPLE, and calls before init or after
 * finalize. */
#include "armci/api/gate.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "armci/core/fail.h"

bool gate_open;
bool gate_threaded;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

void gate_enter_slow(const char *format, ...)
{
	char call[256];
	va_list ap;
	if (!gate_open) {
		va_start(ap, format);
		vsnprintf(call, sizeof call, format, ap);
		va_end(ap);
		fail("%s: called before ARMCI_Init or after ARMCI_Finalize", call);
	}
	pthread_mutex_lock(&lock);
}

void gate_leave_slow(void)
{
	pthread_mutex_unlock(&lock);
}
