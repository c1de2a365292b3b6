/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Chooses how hard to compress: the level follows what this host's cores and medium have shown.
 *
 * Compression and writing overlap, so a raw byte takes the longer of 1/(threads × speed) and
 * 1/(ratio × medium). Writing it raw takes 1/medium. A level that was not tried yet is judged by
 * the figures of the table, scaled by how this machine compares with the table in the levels that
 * were. Figures are moving averages: a machine that becomes busy, or free, is noticed.
 */
#include "store/governor.h"

#include "store/store.h"

enum { FRESH = 16 }; /* a new figure's weight in the average is 1/FRESH */

/* Before anything was written: a plain disk, 500 MB/s. */
static const double medium_guess = 0.5;

/* Guest RAM without its zero pages, one core of a server of 2024, frames of 256 KiB. */
static const struct governor_level table[GOVERNOR_LEVELS] = {
	{-20, 1.25, 1.50, 0}, {-10, 0.94, 1.75, 0}, {-5, 0.74, 2.05, 0},
	{-3, 0.65, 2.20, 0},  {-1, 0.57, 2.50, 0},  {1, 0.49, 2.90, 0},
	{3, 0.26, 3.10, 0},   {6, 0.13, 3.25, 0},   {9, 0.07, 3.30, 0},
};

void governor_init(struct governor *governor, int level)
{
	pthread_mutex_init(&governor->lock, NULL);
	governor->fixed = level;
	governor->write_bytes_per_ns = medium_guess;
	for (size_t i = 0; i < GOVERNOR_LEVELS; i++)
		governor->levels[i] = table[i];
}

void governor_destroy(struct governor *governor)
{
	pthread_mutex_destroy(&governor->lock);
}

/* How fast this machine is, and how well its data compress, against the table. */
static void scale_find(const struct governor *governor, double *ret_speed, double *ret_ratio)
{
	double speed = 0, ratio = 0;
	int count = 0;

	for (size_t i = 0; i < GOVERNOR_LEVELS; i++) {
		if (!governor->levels[i].measured)
			continue;
		speed += governor->levels[i].bytes_per_ns / table[i].bytes_per_ns;
		ratio += governor->levels[i].ratio / table[i].ratio;
		count++;
	}
	*ret_speed = count ? speed / count : 1;
	*ret_ratio = count ? ratio / count : 1;
}

int governor_choose(struct governor *governor, unsigned int threads)
{
	double speed_scale, ratio_scale, best = 1;
	int level = STORE_LEVEL_RAW;

	if (governor->fixed != STORE_LEVEL_AUTO)
		return governor->fixed;
	pthread_mutex_lock(&governor->lock);
	scale_find(governor, &speed_scale, &ratio_scale);
	for (size_t i = 0; i < GOVERNOR_LEVELS; i++) {
		const struct governor_level *l = &governor->levels[i];
		double speed = l->bytes_per_ns * (l->measured ? 1 : speed_scale);
		double ratio = l->ratio * (l->measured ? 1 : ratio_scale);

		if (ratio > best && speed * threads >= governor->write_bytes_per_ns) {
			best = ratio;
			level = l->level;
		}
	}
	pthread_mutex_unlock(&governor->lock);
	return level;
}

static void average(double *value, double sample, int measured)
{
	*value = measured ? *value + (sample - *value) / FRESH : sample;
}

void governor_compressed(struct governor *governor, int level, size_t raw_bytes,
			 size_t stored_bytes, int64_t ns)
{
	if (ns <= 0 || stored_bytes == 0)
		return;
	pthread_mutex_lock(&governor->lock);
	for (size_t i = 0; i < GOVERNOR_LEVELS; i++) {
		struct governor_level *l = &governor->levels[i];

		if (l->level != level)
			continue;
		average(&l->bytes_per_ns, (double)raw_bytes / (double)ns, l->measured);
		average(&l->ratio, (double)raw_bytes / (double)stored_bytes, l->measured);
		l->measured = 1;
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
