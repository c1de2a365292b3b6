/* SPDX-License-Identifier: BSD-3-Clause */
/* The bytes of a pack: header, segments, index and footer, encoded and decoded
 * (docs/formats/pack.md). */
#ifndef STASIS_STORE_PACK_FORMAT_H
#define STASIS_STORE_PACK_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/chunk.h"
#include "store/crypt.h"

enum {
	PACK_VERSION = 1,
	PACK_ID_BYTES = CRYPT_SALT_BYTES,
	PACK_NAME_MAX = 2 * PACK_ID_BYTES + 6, /* hexadecimal, ".pack", NUL */
	PACK_HEADER_BYTES = 64,
	PACK_FOOTER_BYTES = 96,
	PACK_SEGMENT_BYTES = 32,     /* an entry of the index */
	PACK_CHUNK_BYTES = 36,       /* the same */
	SEGMENT_RAW_MAX = 256 << 10, /* of chunks, before compression */
	SEGMENT_STORED_MAX = SEGMENT_RAW_MAX + 4096,
	SEGMENT_CHUNKS_MAX = 4096,
	/* Numbers under the pack's key, for crypt_seal(): segments count from 0. */
	PACK_INDEX_NUMBER = 1 << 30,
};

/* Larger packs are not made; a decoder takes nothing with more entries. */
#define PACK_BYTES_MAX    (UINT64_C(1) << 30)
#define PACK_SEGMENTS_MAX (1u << 20)
#define PACK_CHUNKS_MAX   (1u << 24)

enum segment_codec { SEGMENT_RAW = 0, SEGMENT_ZSTD = 1 };

/* Chunks that are compressed and encrypted together. */
struct pack_segment {
	uint64_t offset;       /* in the pack */
	uint32_t stored_bytes; /* with the tag, if it is encrypted */
	uint32_t raw_bytes;
	uint32_t chunk_count;
	uint8_t codec;
	uint64_t check;       /* XXH3-64 of the stored bytes */
	uint32_t first_chunk; /* not stored: number of its first chunk in the pack */
};

struct pack_chunk {
	struct chunk_id id;
	uint32_t bytes;
	uint32_t segment, offset; /* not stored: where it is, in the segment's raw bytes */
};

struct pack_header {
	uint8_t id[PACK_ID_BYTES];
	bool encrypted;
};

struct pack_footer {
	uint64_t index_offset;
	uint64_t index_bytes; /* as stored */
	uint32_t segment_count, chunk_count;
	uint8_t hash[CHUNK_ID_BYTES]; /* SHA-256 over header, stored index, footer up to here */
};

/* "<id>.pack", and back: false for anything else. */
void pack_name(const uint8_t id[PACK_ID_BYTES], char ret_name[PACK_NAME_MAX]);
bool pack_name_parse(const char *name, uint8_t ret_id[PACK_ID_BYTES]);

void pack_header_encode(const struct pack_header *header, uint8_t ret_raw[PACK_HEADER_BYTES]);
/* Decoders: `name` is the object's, for the sentence. -EBADMSG for damage, -EPROTONOSUPPORT for
 * a newer version. Nothing but the bytes is looked at. */
int pack_header_decode(const uint8_t raw[PACK_HEADER_BYTES], const char *name,
		       struct pack_header *ret_header, struct err *err);

/* Bytes of the index, not encrypted, of so many segments and chunks. */
size_t pack_index_raw_bytes(uint32_t segment_count, uint32_t chunk_count);
void pack_index_encode(const struct pack_segment *segments, uint32_t segment_count,
		       const struct pack_chunk *chunks, uint32_t chunk_count, uint8_t *ret_raw);
/* `ret_segments` and `ret_chunks` have room for the footer's counts. */
int pack_index_decode(const uint8_t *raw, const struct pack_footer *footer, bool encrypted,
		      const char *name, struct pack_segment *ret_segments,
		      struct pack_chunk *ret_chunks, struct err *err);

/* The hash is filled in here. */
int pack_footer_encode(struct pack_footer *footer, const uint8_t header[PACK_HEADER_BYTES],
		       const void *stored_index, uint8_t ret_raw[PACK_FOOTER_BYTES],
		       struct err *err);
/* Fields and bounds against the pack's size; the hash is checked by pack_footer_check(). */
int pack_footer_decode(const uint8_t raw[PACK_FOOTER_BYTES], uint64_t pack_bytes,
		       bool encrypted, const char *name, struct pack_footer *ret_footer,
		       struct err *err);
int pack_footer_check(const struct pack_footer *footer, const uint8_t header[PACK_HEADER_BYTES],
		      const void *stored_index, const char *name, struct err *err);

/* The chunk of a segment that holds byte `offset` of its raw bytes is found by its number. */
uint64_t pack_check_sum(const void *data, size_t len);

#endif
