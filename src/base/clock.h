/* SPDX-License-Identifier: BSD-3-Clause */
/* Clocks in nanoseconds and deadlines on the monotonic clock. */
#ifndef STASIS_BASE_CLOCK_H
#define STASIS_BASE_CLOCK_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_S  1000000000LL
#define NS_PER_MS 1000000LL

static inline int64_t clock_mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static inline int64_t clock_real_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/* The monotonic instant `ms` milliseconds from now. */
static inline int64_t deadline_in_ms(int64_t ms)
{
	return clock_mono_ns() + ms * NS_PER_MS;
}

/* Milliseconds left until the deadline, rounded up, never negative: fit for poll(2). */
static inline int deadline_left_ms(int64_t deadline_ns)
{
	int64_t left_ns = deadline_ns - clock_mono_ns();

	if (left_ns <= 0)
		return 0;
	if (left_ns / NS_PER_MS >= INT_MAX)
		return INT_MAX;
	return (int)((left_ns + NS_PER_MS - 1) / NS_PER_MS);
}

#endif
