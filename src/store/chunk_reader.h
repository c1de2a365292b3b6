/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading of single chunks by id, checked, through a cache of segments. */
#ifndef STASIS_STORE_CHUNK_READER_H
#define STASIS_STORE_CHUNK_READER_H

#include "base/err.h"
#include "store/chunk.h"
#include "store/index.h"

struct store;

/* Opened segments of recent use; shared by all threads. */
struct segment_cache;
struct segment_cache *segment_cache_create(void);
void segment_cache_destroy(struct segment_cache *cache);

/* One thread's. The index must be held as long as it is used. */
struct chunk_reader;
int chunk_reader_create(struct store *store, struct chunk_reader **ret_reader, struct err *err);
void chunk_reader_destroy(struct chunk_reader *reader);

/* The best place of a chunk, also if it is younger than what the index knows. */
bool chunk_find(struct store *store, const struct chunk_id *id, struct place *ret_place);

/* The chunk's bytes, at most CHUNK_BYTES_MAX, into ret_data. One that is missing or damaged is
 * -EBADMSG. */
int chunk_read(struct chunk_reader *reader, const struct chunk_id *id, void *ret_data,
	       size_t *ret_len, struct err *err);

/* For those who have a chunk's bytes already: whether they are what the id says. */
int chunk_check(struct chunk_reader *reader, const struct pack *pack, uint32_t segment,
		const struct chunk_id *id, const void *data, size_t len, struct err *err);

/* A whole segment, not through the cache; ret_raw has room for SEGMENT_RAW_MAX. -ESTALE: the
 * pack is gone since its place was looked up. */
int chunk_reader_segment(struct chunk_reader *reader, const struct pack *pack, uint32_t segment,
			 void *ret_raw, struct err *err);

/* After an -ESTALE, which a collection causes that has found the chunk in another pack: whether
 * to look for it again; the index knows the packs of now. `tries` begins at 0. */
bool chunk_read_again(struct store *store, int rc, int *tries, struct err *err);
/* The result when there was no more trying: -EBADMSG for a pack that is gone. */
int chunk_read_end(int rc, struct err *err);

/* The sentence for an id that no pack has: -EBADMSG. */
int chunk_missing(const struct store *store, const struct chunk_id *id, struct err *err);

#endif
