/* SPDX-License-Identifier: BSD-3-Clause */
/* How the ARMCI benchmarks measure: clocks, batches whose length suits the clock, medians,
 * lines to print. */
#ifndef HAVE_ARMCI_MEASURE_H
#define HAVE_ARMCI_MEASURE_H

#include <math.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SAMPLES_MAX = 20000, BATCH_MAX = 10000, BATCHES_MIN = 7, WARM_UP = 20 };

/* What the caller may choose. */
struct measure_options {
	double batch_ns;  /* a batch is made so long that it takes this time */
	double budget_ns; /* batches of one operation go on for this time */
	bool single;      /* every operation is timed alone, to see the median of slow ones */
};

/* Do an operation so many times. */
typedef void measure_body_fn(long count);

/* One thing that is timed. */
struct measure {
	const char *name;
	measure_body_fn *body;
	long least; /* fewest operations of a batch; 0: one */
	long batch; /* operations of a batch, found by calibration */
	long count; /* samples */
	double *samples;
};

static inline double measure_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static inline int measure_compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

/* Print one line: name, median, least, most, mean (ns), operations of a batch, batches. */
static inline void measure_print(const char *name, double *samples, long count, long batch)
{
	double sum = 0;

	if (count == 0)
		return;
	qsort(samples, (size_t)count, sizeof(*samples), measure_compare);
	for (long i = 0; i < count; i++)
		sum += samples[i];
	printf("result\t%s\t%.3f\t%.3f\t%.3f\t%.3f\t%ld\t%ld\n", name, samples[count / 2],
	       samples[0], samples[count - 1], sum / (double)count, batch, count);
	fflush(stdout);
}

/* Print how the times of two relate, second/first, pair by pair: what disturbs the machine for
 * longer than a batch disturbs both. In the line's place for nanoseconds stands the ratio. */
static inline void measure_print_pairs(const struct measure *first,
				       const struct measure *second)
{
	double *ratios = malloc((size_t)first->count * sizeof(*ratios));
	char name[80];

	if (!ratios)
		abort();
	for (long i = 0; i < first->count; i++)
		ratios[i] = second->samples[i] / first->samples[i];
	snprintf(name, sizeof(name), "pairs %s", first->name);
	measure_print(name, ratios, first->count, first->batch);
	free(ratios);
}

static inline double measure_time(const struct measure *one)
{
	double begin = measure_clock_ns();

	one->body(one->batch);
	return measure_clock_ns() - begin;
}

/* What rank 0 of the world says, when the body is collective. */
static inline bool measure_agree(bool collective, bool value)
{
	int flag = value;

	if (collective)
		MPI_Bcast(&flag, 1, MPI_INT, 0, MPI_COMM_WORLD);
	return flag;
}

/* Operations that are timed one by one are done some times before, as long as they are quick.
 */
static inline void measure_warm_up(const struct measure *one,
				   const struct measure_options *options, bool collective)
{
	double end = measure_clock_ns() + options->budget_ns / 4;

	for (int i = 0; i < WARM_UP; i++) {
		one->body(one->batch);
		if (!measure_agree(collective, measure_clock_ns() < end))
			break;
	}
}

/* Find the operations of a batch: so many that even the fastest of three is long enough. That
 * warms everything up, too. */
static inline void measure_calibrate(struct measure *one, const struct measure_options *options,
				     bool collective)
{
	bool more = true;

	one->batch = one->least ? one->least : 1;
	if (options->single) {
		measure_warm_up(one, options, collective);
		return;
	}
	one->body(one->batch);
	while (more) {
		double took = measure_time(one);

		for (int i = 0; i < 2 && measure_agree(collective, took >= options->batch_ns);
		     i++)
			took = fmin(took, measure_time(one));
		more = measure_agree(collective,
				     took < options->batch_ns && one->batch < BATCH_MAX);
		if (more)
			one->batch *= 2;
	}
}

/*
 * Time one or two bodies, batch by batch in turn, so that all see the same machine.
 * Collective bodies are run by all ranks of the world, which call this alike; others by one
 * rank alone. Rank 0 prints.
 */
static inline void measure_run(struct measure *bodies, int count, bool collective,
			       const struct measure_options *options)
{
	double end;
	bool more = true;
	int rank;

	for (int i = 0; i < count; i++) {
		measure_calibrate(&bodies[i], options, collective);
		bodies[i].count = 0;
		bodies[i].samples = malloc(SAMPLES_MAX * sizeof(double));
		if (!bodies[i].samples)
			abort();
	}
	end = measure_clock_ns() + options->budget_ns * count;
	while (more) {
		for (int i = 0; i < count; i++) {
			double took = measure_time(&bodies[i]);

			bodies[i].samples[bodies[i].count++] = took / (double)bodies[i].batch;
		}
		more = bodies[0].count < SAMPLES_MAX &&
		       (bodies[0].count < BATCHES_MIN || measure_clock_ns() < end);
		more = measure_agree(collective, more);
	}
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	if (rank == 0 && count == 2)
		measure_print_pairs(&bodies[0], &bodies[1]);
	for (int i = 0; i < count; i++) {
		if (rank == 0)
			measure_print(bodies[i].name, bodies[i].samples, bodies[i].count,
				      bodies[i].batch);
		free(bodies[i].samples);
	}
}

#endif
