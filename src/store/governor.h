/* SPDX-License-Identifier: BSD-3-Clause */
/* Chooses how hard to compress: the level follows what this host's cores and medium have shown.
 */
#ifndef STASIS_STORE_GOVERNOR_H
#define STASIS_STORE_GOVERNOR_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* Thread-safe. */
struct governor {
	pthread_mutex_t lock;
	int fixed;                 /* a level, STORE_LEVEL_RAW or STORE_LEVEL_AUTO */
	double write_bytes_per_ns; /* of the medium, until durable */
	/* This machine and its data against the table in governor.c. */
	double speed, gain;
	unsigned int raw_segments; /* stored raw since a level was last tried */
};

void governor_init(struct governor *governor, int level);
void governor_destroy(struct governor *governor);

/*
 * The level for the next segment when `threads` compress: the one that stores least among those
 * that are not slower than writing raw bytes; STORE_LEVEL_RAW when all are.
 */
int governor_choose(struct governor *governor, unsigned int threads);

/* What was seen: a segment compressed, and bytes written until durable. */
void governor_compressed(struct governor *governor, int level, size_t raw_bytes,
			 size_t stored_bytes, int64_t ns);
void governor_wrote(struct governor *governor, uint64_t bytes, int64_t ns);

#endif
