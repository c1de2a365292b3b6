/* SPDX-License-Identifier: BSD-3-Clause */
/* Chunks, the units that are stored once, and streams, which are trees of them
 * (docs/formats/tree.md). */
#ifndef STASIS_STORE_CHUNK_H
#define STASIS_STORE_CHUNK_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
	PAGE_BYTES = 4096,
	CHUNK_ID_BYTES = 32,
	NODE_FANOUT = 256,
	BLOCK_BYTES = NODE_FANOUT * PAGE_BYTES, /* what a node of the lowest level describes */
	CHUNK_BYTES_MAX =
		32 + NODE_FANOUT * CHUNK_ID_BYTES, /* a full node; a page is smaller */
};

/* The largest stream: 64 TiB. */
#define STREAM_BYTES_MAX (UINT64_C(1) << 46)

/* SHA-256 of the chunk's bytes; in an encrypted store HMAC-SHA-256 with the store's id key. */
struct chunk_id {
	uint8_t bytes[CHUNK_ID_BYTES];
};

/* A sequence of bytes in the store: RAM, device state, a disk layer, an image. Pages that are
 * all zero are not stored; a stream of zeros has a root of zeros. */
struct stream_ref {
	uint64_t logical_bytes;
	uint64_t data_bytes; /* of pages that are not all zero, a short last page counted as it
				is */
	struct chunk_id root;
};

static inline bool chunk_id_equal(const struct chunk_id *a, const struct chunk_id *b)
{
	return !memcmp(a->bytes, b->bytes, CHUNK_ID_BYTES);
}

static inline bool chunk_id_is_zero(const struct chunk_id *id)
{
	static const struct chunk_id zero;

	return chunk_id_equal(id, &zero);
}

static inline bool stream_ref_equal(const struct stream_ref *a, const struct stream_ref *b)
{
	return a->logical_bytes == b->logical_bytes && a->data_bytes == b->data_bytes &&
	       chunk_id_equal(&a->root, &b->root);
}

#endif
