/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: image files, as they are and with all their hashes mended, so that every check
 * behind them is reached. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "store/hash.h"
#include "store/simg_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Images of more than this are checked, but not expanded. */
enum { EXPAND_MAX = 64 << 20 };

static void read_image(const uint8_t *raw, size_t size)
{
	int fd = memfd_create("image", MFD_CLOEXEC), dest = memfd_create("dest", MFD_CLOEXEC);
	struct simg_index index;
	struct err err;

	if (fd < 0 || dest < 0 || io_pwrite_all(fd, raw, size, 0, &err) < 0)
		abort();
	if (simg_index_load(fd, "fuzz", NULL, &index, &err) == 0) {
		if (index.ref.logical_bytes > EXPAND_MAX) {
			close(dest);
			dest = -1;
		}
		simg_index_read(fd, "fuzz", &index, dest, 1, NULL, NULL, &err);
		simg_index_destroy(&index);
	}
	if (dest >= 0)
		close(dest);
	close(fd);
}

/* Recompute the hash of each block that lies inside the file, then that of the index. */
static void mend_hashes(uint8_t *raw, size_t size)
{
	struct simg_footer footer;
	struct simg_entry *entries;
	uint8_t *tail = raw + size - SIMG_FOOTER_BYTES, *index;
	size_t index_bytes;

	if (simg_footer_decode(raw, tail, size, "fuzz", &footer, NULL) < 0)
		return;
	index = raw + footer.index_offset;
	index_bytes = footer.entry_count * SIMG_ENTRY_BYTES;
	entries = calloc(footer.entry_count + 1, sizeof(*entries));
	if (!entries)
		abort();
	if (simg_entries_decode(index, &footer, "fuzz", entries, NULL) == 0)
		for (size_t i = 0; i < footer.entry_count; i++)
			simg_block_hash(&entries[i], raw + entries[i].offset,
					index + i * SIMG_ENTRY_BYTES + SIMG_ENTRY_HASH_AT,
					NULL);
	hash_sha256(&(struct iovec){index, index_bytes}, 1, tail + SIMG_FOOTER_HASH_AT, NULL);
	free(entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *raw;

	read_image(data, size);
	if (size < SIMG_HEADER_BYTES + SIMG_FOOTER_BYTES)
		return 0;
	raw = malloc(size);
	if (!raw)
		abort();
	memcpy(raw, data, size);
	mend_hashes(raw, size);
	read_image(raw, size);
	free(raw);
	return 0;
}
