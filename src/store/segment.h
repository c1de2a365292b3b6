/* SPDX-License-Identifier: BSD-3-Clause */
/* Building of segments: chunks gathered, then compressed together. */
#ifndef STASIS_STORE_SEGMENT_H
#define STASIS_STORE_SEGMENT_H

#include "base/err.h"
#include "store/governor.h"
#include "store/pack_format.h"

/* One thread's; nodes, which are ids and cannot be compressed, have builders of their own. */
struct segment;

int segment_create(bool compress, struct segment **ret_segment, struct err *err);
void segment_destroy(struct segment *segment);

/* Whether a chunk of that size fits; into an empty one any chunk does. */
bool segment_fits(const struct segment *segment, size_t len);
bool segment_empty(const struct segment *segment);
void segment_add(struct segment *segment, const struct chunk_id *id, const void *data,
		 size_t len);

/* A finished segment: borrowed from the builder until the next segment_reset(). */
struct segment_image {
	struct pack_segment entry; /* without offset and check: the pack's writer has them */
	const struct pack_chunk *chunks;
	void *stored; /* has CRYPT_TAG_BYTES of room behind it */
};
void segment_finish(struct segment *segment, struct governor *governor, unsigned int threads,
		    struct segment_image *ret_image);
void segment_reset(struct segment *segment);

#endif
