/* SPDX-License-Identifier: BSD-3-Clause */
/* The bytes of a pack: header, segments, index and footer, encoded and decoded
 * (docs/formats/pack.md). */
#include "store/pack_format.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "base/hex.h"
#include "store/hash.h"

static const uint8_t magic_header[8] = "STASPAK\n", magic_footer[8] = "PAKEND\n";
static const char suffix[] = ".pack";

enum { FLAG_ENCRYPTED = 1, FOOTER_HASHED = 24, FOOTER_HASH_AT = 24, FOOTER_VERSION_AT = 84 };

uint64_t pack_check_sum(const void *data, size_t len)
{
	return XXH3_64bits(data, len);
}

void pack_name(const uint8_t id[PACK_ID_BYTES], char ret_name[PACK_NAME_MAX])
{
	hex_encode(id, PACK_ID_BYTES, ret_name);
	memcpy(ret_name + (size_t)2 * PACK_ID_BYTES, suffix, sizeof(suffix));
}

bool pack_name_parse(const char *name, uint8_t ret_id[PACK_ID_BYTES])
{
	return strlen(name) == PACK_NAME_MAX - 1 && hex_decode(name, ret_id, PACK_ID_BYTES) &&
	       !strcmp(name + (size_t)2 * PACK_ID_BYTES, suffix);
}

void pack_header_encode(const struct pack_header *header, uint8_t ret_raw[PACK_HEADER_BYTES])
{
	memset(ret_raw, 0, PACK_HEADER_BYTES);
	memcpy(ret_raw, magic_header, sizeof(magic_header));
	put32(ret_raw + 8, PACK_VERSION);
	put32(ret_raw + 12, header->encrypted ? FLAG_ENCRYPTED : 0);
	memcpy(ret_raw + 16, header->id, PACK_ID_BYTES);
}

int pack_header_decode(const uint8_t raw[PACK_HEADER_BYTES], const char *name,
		       struct pack_header *ret_header, struct err *err)
{
	static const uint8_t zeros[32];
	uint32_t version = get32(raw + 8), flags = get32(raw + 12);

	if (memcmp(raw, magic_header, sizeof(magic_header)))
		return err_set(err, EBADMSG, "%s is not a pack, or its header is damaged",
			       name);
	if (version > PACK_VERSION)
		return err_set(err, EPROTONOSUPPORT,
			       "%s has pack version %" PRIu32
			       ", this program knows versions up to %d",
			       name, version, PACK_VERSION);
	if (version == 0 || flags > FLAG_ENCRYPTED || memcmp(raw + 32, zeros, sizeof(zeros)))
		return err_set(err, EBADMSG, "%s is damaged: its header", name);
	memcpy(ret_header->id, raw + 16, PACK_ID_BYTES);
	ret_header->encrypted = flags & FLAG_ENCRYPTED;
	return 0;
}

size_t pack_index_raw_bytes(uint32_t segment_count, uint32_t chunk_count)
{
	return (size_t)segment_count * PACK_SEGMENT_BYTES +
	       (size_t)chunk_count * PACK_CHUNK_BYTES;
}

void pack_index_encode(const struct pack_segment *segments, uint32_t segment_count,
		       const struct pack_chunk *chunks, uint32_t chunk_count, uint8_t *ret_raw)
{
	for (uint32_t i = 0; i < segment_count; i++, ret_raw += PACK_SEGMENT_BYTES) {
		put64(ret_raw, segments[i].offset);
		put32(ret_raw + 8, segments[i].stored_bytes);
		put32(ret_raw + 12, segments[i].raw_bytes);
		put32(ret_raw + 16, segments[i].chunk_count);
		put32(ret_raw + 20, segments[i].codec);
		put64(ret_raw + 24, segments[i].check);
	}
	for (uint32_t i = 0; i < chunk_count; i++, ret_raw += PACK_CHUNK_BYTES) {
		memcpy(ret_raw, chunks[i].id.bytes, CHUNK_ID_BYTES);
		put32(ret_raw + CHUNK_ID_BYTES, chunks[i].bytes);
	}
}

static int segment_decode(const uint8_t *raw, uint64_t offset, bool encrypted,
			  struct pack_segment *segment)
{
	uint32_t tag = encrypted ? CRYPT_TAG_BYTES : 0, codec = get32(raw + 20);

	*segment = (struct pack_segment){
		.offset = get64(raw),
		.stored_bytes = get32(raw + 8),
		.raw_bytes = get32(raw + 12),
		.chunk_count = get32(raw + 16),
		.codec = (uint8_t)codec,
		.check = get64(raw + 24),
	};
	if (segment->offset != offset || segment->raw_bytes == 0 ||
	    segment->raw_bytes > SEGMENT_RAW_MAX || segment->stored_bytes <= tag ||
	    segment->stored_bytes > SEGMENT_STORED_MAX || segment->chunk_count == 0 ||
	    segment->chunk_count > SEGMENT_CHUNKS_MAX || codec > SEGMENT_ZSTD)
		return -EBADMSG;
	if (codec == SEGMENT_RAW && segment->stored_bytes != segment->raw_bytes + tag)
		return -EBADMSG;
	return 0;
}

/* The chunks of one segment, which fill it. */
static int chunks_decode(const uint8_t *raw, struct pack_segment *segment, uint32_t number,
			 struct pack_chunk *ret_chunks)
{
	uint32_t offset = 0;

	for (uint32_t i = 0; i < segment->chunk_count; i++, raw += PACK_CHUNK_BYTES) {
		struct pack_chunk *chunk = &ret_chunks[i];

		memcpy(chunk->id.bytes, raw, CHUNK_ID_BYTES);
		chunk->bytes = get32(raw + CHUNK_ID_BYTES);
		chunk->segment = number;
		chunk->offset = offset;
		if (chunk->bytes == 0 || chunk->bytes > CHUNK_BYTES_MAX)
			return -EBADMSG;
		offset += chunk->bytes;
		if (offset > segment->raw_bytes)
			return -EBADMSG;
	}
	return offset == segment->raw_bytes ? 0 : -EBADMSG;
}

int pack_index_decode(const uint8_t *raw, const struct pack_footer *footer, bool encrypted,
		      const char *name, struct pack_segment *ret_segments,
		      struct pack_chunk *ret_chunks, struct err *err)
{
	const uint8_t *chunks = raw + (size_t)footer->segment_count * PACK_SEGMENT_BYTES;
	uint64_t offset = PACK_HEADER_BYTES;
	uint32_t first = 0;

	for (uint32_t i = 0; i < footer->segment_count; i++, raw += PACK_SEGMENT_BYTES) {
		struct pack_segment *segment = &ret_segments[i];
		int rc = segment_decode(raw, offset, encrypted, segment);

		if (rc == 0 && segment->chunk_count > footer->chunk_count - first)
			rc = -EBADMSG;
		if (rc == 0)
			rc = chunks_decode(chunks + (size_t)first * PACK_CHUNK_BYTES, segment,
					   i, ret_chunks + first);
		if (rc < 0)
			return err_set(err, EBADMSG,
				       "%s is damaged: segment %" PRIu32
				       " of its index is out of bounds",
				       name, i);
		segment->first_chunk = first;
		first += segment->chunk_count;
		offset += segment->stored_bytes;
	}
	if (first != footer->chunk_count || offset != footer->index_offset)
		return err_set(err, EBADMSG, "%s is damaged: its index does not fill it", name);
	return 0;
}

static int footer_hash(const uint8_t header[PACK_HEADER_BYTES], const void *stored_index,
		       size_t index_bytes, const uint8_t *footer, uint8_t ret_hash[HASH_BYTES],
		       struct err *err)
{
	const struct iovec pieces[] = {
		{(void *)(uintptr_t)header, PACK_HEADER_BYTES},
		{(void *)(uintptr_t)stored_index, index_bytes},
		{(void *)(uintptr_t)footer, FOOTER_HASHED},
	};

	return hash_sha256(pieces, 3, ret_hash, err);
}

static void footer_fields(const struct pack_footer *footer, uint8_t ret_raw[FOOTER_HASHED])
{
	put64(ret_raw, footer->index_offset);
	put64(ret_raw + 8, footer->index_bytes);
	put32(ret_raw + 16, footer->segment_count);
	put32(ret_raw + 20, footer->chunk_count);
}

int pack_footer_encode(struct pack_footer *footer, const uint8_t header[PACK_HEADER_BYTES],
		       const void *stored_index, uint8_t ret_raw[PACK_FOOTER_BYTES],
		       struct err *err)
{
	int rc;

	memset(ret_raw, 0, PACK_FOOTER_BYTES);
	footer_fields(footer, ret_raw);
	rc = footer_hash(header, stored_index, footer->index_bytes, ret_raw, footer->hash, err);
	memcpy(ret_raw + FOOTER_HASH_AT, footer->hash, sizeof(footer->hash));
	put32(ret_raw + FOOTER_VERSION_AT, PACK_VERSION);
	memcpy(ret_raw + PACK_FOOTER_BYTES - sizeof(magic_footer), magic_footer,
	       sizeof(magic_footer));
	return rc;
}

int pack_footer_decode(const uint8_t raw[PACK_FOOTER_BYTES], uint64_t pack_bytes,
		       bool encrypted, const char *name, struct pack_footer *ret_footer,
		       struct err *err)
{
	static const uint8_t zeros[FOOTER_VERSION_AT - FOOTER_HASH_AT - HASH_BYTES];
	const uint64_t frame = PACK_HEADER_BYTES + PACK_FOOTER_BYTES;
	uint64_t plain;

	if (pack_bytes < frame || memcmp(raw + PACK_FOOTER_BYTES - sizeof(magic_footer),
					 magic_footer, sizeof(magic_footer)))
		return err_set(err, EBADMSG, "%s is damaged: it does not end as a pack does",
			       name);
	*ret_footer = (struct pack_footer){
		.index_offset = get64(raw),
		.index_bytes = get64(raw + 8),
		.segment_count = get32(raw + 16),
		.chunk_count = get32(raw + 20),
	};
	memcpy(ret_footer->hash, raw + FOOTER_HASH_AT, sizeof(ret_footer->hash));
	plain = pack_index_raw_bytes(ret_footer->segment_count, ret_footer->chunk_count);
	if (get32(raw + FOOTER_VERSION_AT) != PACK_VERSION ||
	    memcmp(raw + FOOTER_HASH_AT + HASH_BYTES, zeros, sizeof(zeros)) ||
	    ret_footer->segment_count > PACK_SEGMENTS_MAX ||
	    ret_footer->chunk_count > PACK_CHUNKS_MAX ||
	    ret_footer->index_bytes != plain + (encrypted ? CRYPT_TAG_BYTES : 0) ||
	    ret_footer->index_bytes > pack_bytes - frame ||
	    ret_footer->index_offset !=
		    pack_bytes - PACK_FOOTER_BYTES - ret_footer->index_bytes)
		return err_set(err, EBADMSG, "%s is damaged: its footer does not fit its size",
			       name);
	return 0;
}

int pack_footer_check(const struct pack_footer *footer, const uint8_t header[PACK_HEADER_BYTES],
		      const void *stored_index, const char *name, struct err *err)
{
	uint8_t fields[FOOTER_HASHED], hash[HASH_BYTES];
	int rc;

	footer_fields(footer, fields);
	rc = footer_hash(header, stored_index, footer->index_bytes, fields, hash, err);
	if (rc == 0 && memcmp(hash, footer->hash, sizeof(hash)))
		rc = err_set(err, EBADMSG,
			     "%s is damaged: its index does not match its checksum", name);
	return rc;
}
