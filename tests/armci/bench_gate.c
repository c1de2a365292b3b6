/* SPDX-License-Identifier: BSD-3-Clause */
/* Prints the nanoseconds that entering and leaving the open gate take, less an empty loop's. */
#include <stdio.h>
#include <time.h>

#include "armci/core/gate.h"

enum { BATCHES = 200, TIMES = 20000 };

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* The least of many batches: what disturbs a batch only adds to it. */
static double least_of(void (*body)(void))
{
	double least = 1e18;

	for (int i = 0; i < BATCHES; i++) {
		double begin = now_ns(), taken;

		body();
		taken = (now_ns() - begin) / TIMES;
		if (taken < least)
			least = taken;
	}
	return least;
}

static void pass(void)
{
	for (int i = 0; i < TIMES; i++) {
		gate_enter("a put");
		__asm__ volatile("" ::: "memory");
		gate_leave();
	}
}

static void nothing(void)
{
	for (int i = 0; i < TIMES; i++)
		__asm__ volatile("" ::: "memory");
}

int main(void)
{
	printf("%.3f\n", least_of(pass) - least_of(nothing));
	return 0;
}
