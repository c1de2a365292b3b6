/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Chooses how hard to compress: the level follows what this host's cores and medium have shown.
 *
 * Compression and writing overlap, so a raw byte takes the longer of 1/(threads × speed) and
 * 1/(ratio × medium). Writing it raw takes 1/medium. What a level does is known from a table,
 * scaled by how this machine and its data compare with the table in the levels that were used
 * last: moving averages, so that a machine that becomes busy, or free, is noticed. While
 * everything is stored raw a segment is compressed now and then, for the same reason. Of the
 * ratio what it is above 1 is scaled: data that cannot be compressed have none of it at any
 * level.
 */
#include "store/governor.h"

#include "store/store.h"

enum { FRESH = 16, TRY_EVERY = 32 }; /* a new figure's weight in the average is 1/FRESH */

/* Before anything was written: a plain disk, 500 MB/s. */
static const double medium_guess = 0.5;

/* What saves less than a twentieth is not worth a core. */
static const double ratio_min = 1.05;

/* Guest RAM without its zero pages, one core of a server of 2024, frames of 256 KiB. */
static const struct level {
	int level;
	double bytes_per_ns, ratio;
} levels[] = {
	{-20, 1.25, 1.50}, {-10, 0.94, 1.75}, {-5, 0.74, 2.05},
	{-3, 0.65, 2.20},  {-1, 0.57, 2.50},  {1, 0.49, 2.90},
	{3, 0.26, 3.10},   {6, 0.13, 3.25},   {9, 0.07, 3.30},
};

#define COUNT (sizeof(levels) / sizeof(levels[0]))

void governor_init(struct governor *governor, int level)
{
	*governor = (struct governor){
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.fixed = level,
		.write_bytes_per_ns = medium_guess,
		.speed = 1,
		.gain = 1,
	};
}

void governor_destroy(struct governor *governor)
{
	pthread_mutex_destroy(&governor->lock);
}

int governor_choose(struct governor *governor, unsigned int threads)
{
	int level = STORE_LEVEL_RAW;

	if (governor->fixed != STORE_LEVEL_AUTO)
		return governor->fixed;
	pthread_mutex_lock(&governor->lock);
	/* Higher levels are slower and store less. */
	for (size_t i = 0; i < COUNT; i++)
		if (1 + (levels[i].ratio - 1) * governor->gain >= ratio_min &&
		    levels[i].bytes_per_ns * governor->speed * threads >=
			    governor->write_bytes_per_ns)
			level = levels[i].level;
	if (level == STORE_LEVEL_RAW && ++governor->raw_segments % TRY_EVERY == 0)
		level = levels[0].level;
	pthread_mutex_unlock(&governor->lock);
	return level;
}

static void average(double *value, double sample)
{
	*value += (sample - *value) / FRESH;
}

void governor_compressed(struct governor *governor, int level, size_t raw_bytes,
			 size_t stored_bytes, int64_t ns)
{
	if (ns <= 0 || stored_bytes == 0)
		return;
	pthread_mutex_lock(&governor->lock);
	for (size_t i = 0; i < COUNT; i++) {
		if (levels[i].level != level)
			continue;
		average(&governor->speed,
			(double)raw_bytes / (double)ns / levels[i].bytes_per_ns);
		average(&governor->gain,
			((double)raw_bytes / (double)stored_bytes - 1) / (levels[i].ratio - 1));
	}
	pthread_mutex_unlock(&governor->lock);
}

void governor_wrote(struct governor *governor, uint64_t bytes, int64_t ns)
{
	/* Small writes measure latency, not the medium. */
	if (ns <= 0 || bytes < (4 << 20))
		return;
	pthread_mutex_lock(&governor->lock);
	governor->write_bytes_per_ns +=
		((double)bytes / (double)ns - governor->write_bytes_per_ns) / 2;
	pthread_mutex_unlock(&governor->lock);
}
