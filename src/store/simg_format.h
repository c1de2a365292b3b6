/* SPDX-License-Identifier: BSD-3-Clause */
/* The bytes of an image file: header, index and footer, encoded and decoded
 * (docs/formats/simg.md). */
#ifndef STASIS_STORE_SIMG_FORMAT_H
#define STASIS_STORE_SIMG_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/simg.h"

enum {
	SIMG_HEADER_BYTES = 64,
	SIMG_ENTRY_BYTES = 80,
	SIMG_FOOTER_BYTES = 72,
	SIMG_BLOCK_PAGES = SIMG_BLOCK_BYTES / SIMG_PAGE_BYTES,
	SIMG_BITMAP_BYTES = SIMG_BLOCK_PAGES / 8,
	/* Offsets inside an entry and a footer, for those who need to find a hash. */
	SIMG_ENTRY_BITMAP_AT = 16,
	SIMG_ENTRY_HASH_AT = 48,
	SIMG_FOOTER_HASH_AT = 24,
};

/* One block that has data: its number, where its pages are in the file, which pages, and their
 * hash. */
struct simg_entry {
	uint64_t block;
	uint64_t offset;
	uint8_t bitmap[SIMG_BITMAP_BYTES];
	uint8_t hash[SIMG_HASH_BYTES];
	uint32_t data_bytes; /* not stored: follows from the bitmap and the image's size */
};

struct simg_footer {
	uint64_t logical_bytes;
	uint64_t entry_count;
	uint64_t index_offset;
	uint8_t index_hash[SIMG_HASH_BYTES];
};

/* A checked index. */
struct simg_index {
	struct simg_ref ref;
	size_t entry_count;
	struct simg_entry *entries;
};

static inline bool simg_bitmap_test(const uint8_t *bitmap, unsigned int page)
{
	return bitmap[page / 8] >> (page % 8) & 1;
}

/* Bytes of the image in a block, or in a page of that block (short ones end the image). */
uint32_t simg_block_bytes(uint64_t logical_bytes, uint64_t block);
uint32_t simg_page_bytes(uint32_t block_bytes, unsigned int page);

void simg_header_encode(uint64_t logical_bytes, uint8_t ret_raw[SIMG_HEADER_BYTES]);
void simg_entry_encode(const struct simg_entry *entry, uint8_t ret_raw[SIMG_ENTRY_BYTES]);
void simg_footer_encode(const struct simg_footer *footer, uint8_t ret_raw[SIMG_FOOTER_BYTES]);

/* Decoders: `name` is the file's, for the sentence. -EBADMSG for damage, -EPROTONOSUPPORT for a
 * newer version. */
int simg_magic_check(const uint8_t header[SIMG_HEADER_BYTES], const char *name,
		     struct err *err);
int simg_version_check(const uint8_t header[SIMG_HEADER_BYTES],
		       const uint8_t footer[SIMG_FOOTER_BYTES], const char *name,
		       struct err *err);
int simg_footer_decode(const uint8_t header[SIMG_HEADER_BYTES],
		       const uint8_t footer[SIMG_FOOTER_BYTES], uint64_t file_bytes,
		       const char *name, struct simg_footer *ret_footer, struct err *err);
int simg_entries_decode(const uint8_t *raw, const struct simg_footer *footer, const char *name,
			struct simg_entry *ret_entries, struct err *err);

/* SHA-256 of a block: its number, its bitmap, its pages. */
int simg_block_hash(const struct simg_entry *entry, const void *data,
		    uint8_t ret_hash[SIMG_HASH_BYTES], struct err *err);

/* SHA-256 over header, index and footer. */
int simg_root_hash(const uint8_t *header, const uint8_t *index, size_t index_bytes,
		   const uint8_t *footer, uint8_t ret_root[SIMG_HASH_BYTES], struct err *err);

/* Read and check everything but the data. With `expected`, size and root must be those. */
int simg_index_load(int fd, const char *name, const struct simg_ref *expected,
		    struct simg_index *ret_index, struct err *err);
void simg_index_destroy(struct simg_index *index);

/* Check the data of a loaded index, and write it to dest_fd unless that is -1. */
int simg_index_read(int fd, const char *name, const struct simg_index *index, int dest_fd,
		    unsigned int threads, simg_progress_fn progress, void *progress_arg,
		    struct err *err);

#endif
