/* SPDX-License-Identifier: BSD-3-Clause */
/* Packs and manifests out of a fuzzer's bytes: with their sums mended, so that what is behind
 * the sums is reached, too. */
#ifndef STASIS_TESTS_FUZZ_PACKS_H
#define STASIS_TESTS_FUZZ_PACKS_H

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/hash.h"
#include "store/manifest.h"
#include "store/pack_format.h"

/* Recompute the sums of segments, as far as the index tells them, and that of the index. */
static inline void pack_mend(uint8_t *raw, size_t len)
{
	uint8_t *tail = raw + len - PACK_FOOTER_BYTES, *index;
	struct pack_footer footer, again;

	if (len < PACK_HEADER_BYTES + PACK_FOOTER_BYTES)
		return;
	if (pack_footer_decode(tail, len, raw[12] & 1, "fuzz", &footer, NULL) < 0)
		return;
	index = raw + footer.index_offset;
	for (uint32_t i = 0; i < footer.segment_count; i++) {
		uint8_t *entry = index + (size_t)i * PACK_SEGMENT_BYTES;
		uint64_t offset, check;
		uint32_t stored;

		if ((size_t)(entry - index) + PACK_SEGMENT_BYTES > footer.index_bytes)
			break;
		memcpy(&offset, entry, sizeof(offset));
		memcpy(&stored, entry + 8, sizeof(stored));
		if (le64toh(offset) > len || le32toh(stored) > len - le64toh(offset))
			continue;
		check = htole64(pack_check_sum(raw + le64toh(offset), le32toh(stored)));
		memcpy(entry + 24, &check, sizeof(check));
	}
	again = footer;
	if (pack_footer_encode(&again, raw, index, tail, NULL) < 0)
		abort();
}

/* A manifest with a right first line around the JSON behind the first newline; malloc'ed. */
static inline char *manifest_mend(const char *text, size_t len, size_t *ret_len)
{
	const char *newline = memchr(text, '\n', len), *json = newline ? newline + 1 : text;
	size_t bytes = len - (size_t)(json - text);
	char hex[HASH_HEX_MAX], *mended = malloc(bytes + 128);
	uint8_t hash[HASH_BYTES];
	int line;

	if (!mended || hash_sha256(&(struct iovec){(void *)json, bytes}, 1, hash, NULL) < 0)
		abort();
	hash_to_hex(hash, hex);
	line = snprintf(mended, 128, "stasis-manifest %d sha256=%s bytes=%zu\n",
			MANIFEST_VERSION, hex, bytes);
	memcpy(mended + line, json, bytes);
	*ret_len = (size_t)line + bytes;
	return mended;
}

#endif
