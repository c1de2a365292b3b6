/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of the job after a fault that nobody can go on from. */
#include "armci/core/fail.h"

#include <errno.h>
#include <mpi.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "armci/core/job.h"

static _Thread_local bool service_thread;
static _Thread_local bool failing_here;
static atomic_flag failing = ATOMIC_FLAG_INIT;

void fail_in_service_thread(void)
{
	service_thread = true;
}

static bool mpi_is_usable(void)
{
	int initialized = 0, finalized = 0;

	MPI_Initialized(&initialized);
	MPI_Finalized(&finalized);
	return initialized && !finalized;
}

static int rank_known(bool mpi)
{
	int rank = -1;

	if (job.size > 0)
		return job.rank;
	if (mpi)
		MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	return rank;
}

__attribute__((format(printf, 2, 0))) static _Noreturn void end_job(int code, const char *fmt,
								    va_list ap)
{
	char line[2048];
	size_t used;
	bool mpi;
	int rank;

	if (failing_here)
		_exit(code);
	failing_here = true;
	if (atomic_flag_test_and_set(&failing)) /* another thread ends the job already */
		for (;;)
			pause();
	mpi = !service_thread && mpi_is_usable();
	rank = rank_known(mpi);
	if (rank >= 0)
		snprintf(line, sizeof(line), "armci: rank %d: ", rank);
	else
		snprintf(line, sizeof(line), "armci: rank ?: ");
	used = strlen(line);
	vsnprintf(line + used, sizeof(line) - used - 1, fmt, ap);
	used = strlen(line);
	line[used++] = '\n';
	while (write(STDERR_FILENO, line, used) < 0 && errno == EINTR)
		;
	if (mpi)
		MPI_Abort(MPI_COMM_WORLD, code);
	_exit(code);
}

void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	end_job(1, fmt, ap);
}

void fail_with(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	end_job(code, fmt, ap);
}
