/* SPDX-License-Identifier: BSD-3-Clause */
/* The bytes of an image file: header, index entries and footer, encoded and decoded. */
#include "store/simg_format.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "store/hash.h"

static const uint8_t header_magic[8] = {'S', 'T', 'A', 'S', 'I', 'M', 'G', '\n'};
static const uint8_t footer_magic[8] = {'S', 'I', 'M', 'G', 'E', 'N', 'D', '\n'};

/* Byte offsets of the fields. The version and magic of header and footer stay where they are in
 * all versions. */
enum {
	HEADER_VERSION_AT = 8,
	HEADER_BLOCK_BYTES_AT = 12,
	HEADER_PAGE_BYTES_AT = 16,
	HEADER_ZERO1_AT = 20,
	HEADER_LOGICAL_AT = 24,
	HEADER_ZERO2_AT = 32,
	ENTRY_BLOCK_AT = 0,
	ENTRY_OFFSET_AT = 8,
	FOOTER_LOGICAL_AT = 0,
	FOOTER_COUNT_AT = 8,
	FOOTER_INDEX_AT = 16,
	FOOTER_VERSION_AT = 56,
	FOOTER_ZERO_AT = 60,
	FOOTER_MAGIC_AT = 64,
};

static bool all_zero(const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (at[i])
			return false;
	return true;
}

bool simg_ref_equal(const struct simg_ref *a, const struct simg_ref *b)
{
	return a->logical_bytes == b->logical_bytes && a->file_bytes == b->file_bytes &&
	       !memcmp(a->root, b->root, sizeof(a->root));
}

uint32_t simg_block_bytes(uint64_t logical_bytes, uint64_t block)
{
	uint64_t left = logical_bytes - block * SIMG_BLOCK_BYTES;

	return left < SIMG_BLOCK_BYTES ? (uint32_t)left : SIMG_BLOCK_BYTES;
}

uint32_t simg_page_bytes(uint32_t block_bytes, unsigned int page)
{
	uint32_t start = page * SIMG_PAGE_BYTES;

	if (start >= block_bytes)
		return 0;
	return block_bytes - start < SIMG_PAGE_BYTES ? block_bytes - start : SIMG_PAGE_BYTES;
}

void simg_header_encode(uint64_t logical_bytes, uint8_t ret_raw[SIMG_HEADER_BYTES])
{
	memset(ret_raw, 0, SIMG_HEADER_BYTES);
	memcpy(ret_raw, header_magic, sizeof(header_magic));
	put32(ret_raw + HEADER_VERSION_AT, SIMG_VERSION);
	put32(ret_raw + HEADER_BLOCK_BYTES_AT, SIMG_BLOCK_BYTES);
	put32(ret_raw + HEADER_PAGE_BYTES_AT, SIMG_PAGE_BYTES);
	put64(ret_raw + HEADER_LOGICAL_AT, logical_bytes);
}

void simg_entry_encode(const struct simg_entry *entry, uint8_t ret_raw[SIMG_ENTRY_BYTES])
{
	put64(ret_raw + ENTRY_BLOCK_AT, entry->block);
	put64(ret_raw + ENTRY_OFFSET_AT, entry->offset);
	memcpy(ret_raw + SIMG_ENTRY_BITMAP_AT, entry->bitmap, SIMG_BITMAP_BYTES);
	memcpy(ret_raw + SIMG_ENTRY_HASH_AT, entry->hash, SIMG_HASH_BYTES);
}

void simg_footer_encode(const struct simg_footer *footer, uint8_t ret_raw[SIMG_FOOTER_BYTES])
{
	put64(ret_raw + FOOTER_LOGICAL_AT, footer->logical_bytes);
	put64(ret_raw + FOOTER_COUNT_AT, footer->entry_count);
	put64(ret_raw + FOOTER_INDEX_AT, footer->index_offset);
	memcpy(ret_raw + SIMG_FOOTER_HASH_AT, footer->index_hash, SIMG_HASH_BYTES);
	put32(ret_raw + FOOTER_VERSION_AT, SIMG_VERSION);
	put32(ret_raw + FOOTER_ZERO_AT, 0);
	memcpy(ret_raw + FOOTER_MAGIC_AT, footer_magic, sizeof(footer_magic));
}

int simg_magic_check(const uint8_t header[SIMG_HEADER_BYTES], const char *name, struct err *err)
{
	if (memcmp(header, header_magic, sizeof(header_magic)))
		return err_set(err, EBADMSG,
			       "%s is not an image file, or its header is damaged", name);
	return 0;
}

int simg_version_check(const uint8_t header[SIMG_HEADER_BYTES],
		       const uint8_t footer[SIMG_FOOTER_BYTES], const char *name,
		       struct err *err)
{
	uint32_t version = get32(header + HEADER_VERSION_AT);

	if (memcmp(footer + FOOTER_MAGIC_AT, footer_magic, sizeof(footer_magic)))
		return err_set(err, EBADMSG, "%s is truncated or damaged: it has no footer",
			       name);
	if (version != get32(footer + FOOTER_VERSION_AT) || version == 0)
		return err_set(err, EBADMSG,
			       "%s is damaged: its header says version %" PRIu32
			       ", its footer version %" PRIu32,
			       name, version, get32(footer + FOOTER_VERSION_AT));
	if (version > SIMG_VERSION)
		return err_set(err, EPROTONOSUPPORT,
			       "%s is an image of format version %" PRIu32
			       ", this program knows versions up to %d",
			       name, version, SIMG_VERSION);
	return 0;
}

int simg_footer_decode(const uint8_t header[SIMG_HEADER_BYTES],
		       const uint8_t footer[SIMG_FOOTER_BYTES], uint64_t file_bytes,
		       const char *name, struct simg_footer *ret_footer, struct err *err)
{
	struct simg_footer f = {
		.logical_bytes = get64(footer + FOOTER_LOGICAL_AT),
		.entry_count = get64(footer + FOOTER_COUNT_AT),
		.index_offset = get64(footer + FOOTER_INDEX_AT),
	};
	uint64_t body_bytes, blocks;

	memcpy(f.index_hash, footer + SIMG_FOOTER_HASH_AT, SIMG_HASH_BYTES);
	if (get32(header + HEADER_BLOCK_BYTES_AT) != SIMG_BLOCK_BYTES ||
	    get32(header + HEADER_PAGE_BYTES_AT) != SIMG_PAGE_BYTES ||
	    !all_zero(header + HEADER_ZERO1_AT, HEADER_LOGICAL_AT - HEADER_ZERO1_AT) ||
	    !all_zero(header + HEADER_ZERO2_AT, SIMG_HEADER_BYTES - HEADER_ZERO2_AT) ||
	    !all_zero(footer + FOOTER_ZERO_AT, FOOTER_MAGIC_AT - FOOTER_ZERO_AT))
		return err_set(err, EBADMSG,
			       "%s is damaged: its header or footer has wrong fields", name);
	if (f.logical_bytes > SIMG_LOGICAL_MAX ||
	    f.logical_bytes != get64(header + HEADER_LOGICAL_AT))
		return err_set(err, EBADMSG,
			       "%s is damaged: header and footer differ about its size", name);
	blocks = (f.logical_bytes + SIMG_BLOCK_BYTES - 1) / SIMG_BLOCK_BYTES;
	body_bytes = file_bytes - SIMG_HEADER_BYTES - SIMG_FOOTER_BYTES;
	if (f.entry_count > blocks || f.entry_count > body_bytes / SIMG_ENTRY_BYTES ||
	    f.index_offset != SIMG_HEADER_BYTES + body_bytes - f.entry_count * SIMG_ENTRY_BYTES)
		return err_set(err, EBADMSG,
			       "%s is damaged: its index is not where the footer says", name);
	*ret_footer = f;
	return 0;
}

/* Bytes of the pages that the bitmap names; 0 if it names none, or one beyond the end of the
 * image. */
static uint32_t bitmap_data_bytes(const uint8_t *bitmap, uint32_t block_bytes)
{
	uint32_t total = 0;

	for (unsigned int page = 0; page < SIMG_BLOCK_PAGES; page++) {
		uint32_t bytes;

		if (!simg_bitmap_test(bitmap, page))
			continue;
		bytes = simg_page_bytes(block_bytes, page);
		if (bytes == 0)
			return 0;
		total += bytes;
	}
	return total;
}

int simg_entries_decode(const uint8_t *raw, const struct simg_footer *footer, const char *name,
			struct simg_entry *ret_entries, struct err *err)
{
	uint64_t blocks = (footer->logical_bytes + SIMG_BLOCK_BYTES - 1) / SIMG_BLOCK_BYTES;
	uint64_t next_block = 0, next_offset = SIMG_HEADER_BYTES;

	for (uint64_t i = 0; i < footer->entry_count; i++, raw += SIMG_ENTRY_BYTES) {
		struct simg_entry *entry = &ret_entries[i];

		entry->block = get64(raw + ENTRY_BLOCK_AT);
		entry->offset = get64(raw + ENTRY_OFFSET_AT);
		memcpy(entry->bitmap, raw + SIMG_ENTRY_BITMAP_AT, SIMG_BITMAP_BYTES);
		memcpy(entry->hash, raw + SIMG_ENTRY_HASH_AT, SIMG_HASH_BYTES);
		if (entry->block < next_block || entry->block >= blocks)
			return err_set(err, EBADMSG,
				       "%s is damaged: index entry %" PRIu64
				       " is out of order or range",
				       name, i);
		entry->data_bytes = bitmap_data_bytes(
			entry->bitmap, simg_block_bytes(footer->logical_bytes, entry->block));
		if (entry->data_bytes == 0 || entry->offset != next_offset ||
		    entry->data_bytes > footer->index_offset - next_offset)
			return err_set(err, EBADMSG,
				       "%s is damaged: index entry %" PRIu64
				       " does not fit its data",
				       name, i);
		next_block = entry->block + 1;
		next_offset += entry->data_bytes;
	}
	if (next_offset != footer->index_offset)
		return err_set(err, EBADMSG,
			       "%s is damaged: it holds data that no index entry names", name);
	return 0;
}

int simg_block_hash(const struct simg_entry *entry, const void *data,
		    uint8_t ret_hash[SIMG_HASH_BYTES], struct err *err)
{
	uint8_t number[8];
	struct iovec pieces[] = {
		{number, sizeof(number)},
		{(void *)entry->bitmap, SIMG_BITMAP_BYTES},
		{(void *)data, entry->data_bytes},
	};

	put64(number, entry->block);
	return hash_sha256(pieces, 3, ret_hash, err);
}

int simg_root_hash(const uint8_t *header, const uint8_t *index, size_t index_bytes,
		   const uint8_t *footer, uint8_t ret_root[SIMG_HASH_BYTES], struct err *err)
{
	struct iovec pieces[] = {
		{(void *)header, SIMG_HEADER_BYTES},
		{(void *)index, index_bytes},
		{(void *)footer, SIMG_FOOTER_BYTES},
	};

	return hash_sha256(pieces, 3, ret_root, err);
}
