/* SPDX-License-Identifier: BSD-3-Clause */
/* Building of segments: chunks gathered, then compressed together. */
#include "store/segment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/clock.h"
#include "store/store.h"

struct segment {
	ZSTD_CCtx *zstd; /* NULL: stored as it is */
	uint8_t *raw, *stored;
	struct pack_chunk *chunks;
	uint32_t bytes, count;
};

int segment_create(bool compress, struct segment **ret_segment, struct err *err)
{
	struct segment *segment = calloc(1, sizeof(*segment));

	if (!segment)
		return err_sys(err, ENOMEM, "segment");
	segment->raw = malloc(SEGMENT_RAW_MAX + CRYPT_TAG_BYTES);
	segment->chunks = calloc(SEGMENT_CHUNKS_MAX, sizeof(*segment->chunks));
	if (compress) {
		segment->stored = malloc(SEGMENT_STORED_MAX);
		segment->zstd = ZSTD_createCCtx();
	}
	if (!segment->raw || !segment->chunks ||
	    (compress && (!segment->stored || !segment->zstd))) {
		segment_destroy(segment);
		return err_sys(err, ENOMEM, "segment");
	}
	*ret_segment = segment;
	return 0;
}

void segment_destroy(struct segment *segment)
{
	if (!segment)
		return;
	ZSTD_freeCCtx(segment->zstd);
	free(segment->raw);
	free(segment->stored);
	free(segment->chunks);
	free(segment);
}

bool segment_fits(const struct segment *segment, size_t len)
{
	return segment->bytes + len <= SEGMENT_RAW_MAX && segment->count < SEGMENT_CHUNKS_MAX;
}

bool segment_empty(const struct segment *segment)
{
	return segment->count == 0;
}

void segment_add(struct segment *segment, const struct chunk_id *id, const void *data,
		 size_t len)
{
	memcpy(segment->raw + segment->bytes, data, len);
	segment->chunks[segment->count++] =
		(struct pack_chunk){.id = *id, .bytes = (uint32_t)len};
	segment->bytes += (uint32_t)len;
}

void segment_reset(struct segment *segment)
{
	segment->bytes = segment->count = 0;
}

/* Compressed bytes in segment->stored; 0: it is better stored as it is. */
static size_t segment_compress(struct segment *segment, struct governor *governor,
			       unsigned int threads)
{
	int level = segment->zstd ? governor_choose(governor, threads) : STORE_LEVEL_RAW;
	int64_t begin_ns = clock_mono_ns();
	size_t len;

	if (level == STORE_LEVEL_RAW)
		return 0;
	len = ZSTD_compressCCtx(segment->zstd, segment->stored,
				SEGMENT_STORED_MAX - CRYPT_TAG_BYTES, segment->raw,
				segment->bytes, level);
	if (ZSTD_isError(len))
		return 0;
	governor_compressed(governor, level, segment->bytes, len, clock_mono_ns() - begin_ns);
	return len < segment->bytes ? len : 0;
}

void segment_finish(struct segment *segment, struct governor *governor, unsigned int threads,
		    struct segment_image *ret_image)
{
	size_t compressed = segment_compress(segment, governor, threads);

	*ret_image = (struct segment_image){
		.entry =
			{
				.stored_bytes =
					compressed ? (uint32_t)compressed : segment->bytes,
				.raw_bytes = segment->bytes,
				.chunk_count = segment->count,
				.codec = compressed ? SEGMENT_ZSTD : SEGMENT_RAW,
			},
		.chunks = segment->chunks,
		.stored = compressed ? segment->stored : segment->raw,
	};
}
