/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading of image files: the index is checked whole, then several threads check and copy
 * blocks. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/parallel.h"
#include "store/hash.h"
#include "store/simg_format.h"

struct reader {
	int fd, dest_fd;
	const char *name;
	const struct simg_index *index;
	simg_progress_fn progress;
	void *progress_arg;
	atomic_size_t next;
	atomic_bool failed;
};

static int file_size(int fd, const char *name, const struct simg_ref *expected,
		     uint64_t *ret_bytes, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot stat %s", name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, EBADMSG, "%s is not a regular file", name);
	*ret_bytes = (uint64_t)st.st_size;
	if (expected && *ret_bytes != expected->file_bytes)
		return err_set(err, EBADMSG, "%s has %" PRIu64 " bytes instead of %" PRIu64,
			       name, *ret_bytes, expected->file_bytes);
	if (*ret_bytes < SIMG_HEADER_BYTES + SIMG_FOOTER_BYTES)
		return err_set(err, EBADMSG, "%s is too short for an image: %" PRIu64 " bytes",
			       name, *ret_bytes);
	return 0;
}

/* Header and footer, raw and checked. */
static int frame_load(int fd, const char *name, uint64_t file_bytes, uint8_t *ret_header,
		      uint8_t *ret_footer, struct simg_footer *ret_decoded, struct err *err)
{
	int rc = io_pread_all(fd, ret_header, SIMG_HEADER_BYTES, 0, err);

	if (rc == 0)
		rc = io_pread_all(fd, ret_footer, SIMG_FOOTER_BYTES,
				  (off_t)(file_bytes - SIMG_FOOTER_BYTES), err);
	if (rc < 0) {
		err_prefix(err, "cannot read %s", name);
		return rc;
	}
	rc = simg_magic_check(ret_header, name, err);
	if (rc == 0)
		rc = simg_version_check(ret_header, ret_footer, name, err);
	if (rc == 0)
		rc = simg_footer_decode(ret_header, ret_footer, file_bytes, name, ret_decoded,
					err);
	return rc;
}

int simg_index_load(int fd, const char *name, const struct simg_ref *expected,
		    struct simg_index *ret_index, struct err *err)
{
	uint8_t header[SIMG_HEADER_BYTES], raw_footer[SIMG_FOOTER_BYTES], hash[SIMG_HASH_BYTES];
	CLEANUP_FREE struct simg_entry *entries = NULL;
	CLEANUP_FREE uint8_t *raw = NULL;
	struct simg_ref ref = {0};
	struct simg_footer footer;
	size_t index_bytes;
	int rc = file_size(fd, name, expected, &ref.file_bytes, err);

	if (rc == 0)
		rc = frame_load(fd, name, ref.file_bytes, header, raw_footer, &footer, err);
	if (rc < 0)
		return rc;
	ref.logical_bytes = footer.logical_bytes;
	index_bytes = footer.entry_count * SIMG_ENTRY_BYTES;
	raw = malloc(index_bytes + 1);
	entries = calloc(footer.entry_count + 1, sizeof(*entries));
	if (!raw || !entries)
		return err_sys(err, ENOMEM, "index of %s", name);
	rc = io_pread_all(fd, raw, index_bytes, (off_t)footer.index_offset, err);
	if (rc < 0) {
		err_prefix(err, "cannot read %s", name);
		return rc;
	}
	rc = hash_sha256(&(struct iovec){raw, index_bytes}, 1, hash, err);
	if (rc == 0)
		rc = simg_root_hash(header, raw, index_bytes, raw_footer, ref.root, err);
	if (rc < 0)
		return rc;
	if (memcmp(hash, footer.index_hash, sizeof(hash)))
		return err_set(err, EBADMSG,
			       "%s is damaged: its index does not match its checksum", name);
	rc = simg_entries_decode(raw, &footer, name, entries, err);
	if (rc < 0)
		return rc;
	if (expected && !simg_ref_equal(expected, &ref))
		return err_set(err, EBADMSG,
			       "%s is not the image that was stored: its root hash or "
			       "size differs",
			       name);
	ret_index->ref = ref;
	ret_index->entry_count = footer.entry_count;
	ret_index->entries = TAKE_PTR(entries);
	return 0;
}

void simg_index_destroy(struct simg_index *index)
{
	free(index->entries);
	index->entries = NULL;
}

/* Write the pages of a checked block to their places, neighbours in one call. */
static int reader_scatter(const struct reader *r, const struct simg_entry *entry,
			  const uint8_t *data, struct err *err)
{
	uint32_t block_bytes = simg_block_bytes(r->index->ref.logical_bytes, entry->block);
	uint64_t block_at = entry->block * SIMG_BLOCK_BYTES;
	unsigned int page = 0;

	while (page < SIMG_BLOCK_PAGES) {
		unsigned int first = page;
		uint32_t run = 0;
		int rc;

		while (page < SIMG_BLOCK_PAGES && simg_bitmap_test(entry->bitmap, page))
			run += simg_page_bytes(block_bytes, page++);
		if (run == 0) {
			page++;
			continue;
		}
		rc = io_pwrite_all(r->dest_fd, data, run,
				   (off_t)(block_at + first * SIMG_PAGE_BYTES), err);
		if (rc < 0) {
			err_prefix(err, "cannot write the contents of %s", r->name);
			return rc;
		}
		data += run;
	}
	return 0;
}

static int reader_block(const struct reader *r, const struct simg_entry *entry,
			uint8_t *scratch, struct err *err)
{
	uint8_t hash[SIMG_HASH_BYTES];
	int rc = io_pread_all(r->fd, scratch, entry->data_bytes, (off_t)entry->offset, err);

	if (rc < 0) {
		err_prefix(err, "cannot read %s", r->name);
		return rc;
	}
	rc = simg_block_hash(entry, scratch, hash, err);
	if (rc < 0)
		return rc;
	if (memcmp(hash, entry->hash, sizeof(hash)))
		return err_set(err, EBADMSG,
			       "%s is damaged: block %" PRIu64 ", at offset %" PRIu64
			       " of the file, does not match its checksum",
			       r->name, entry->block, entry->offset);
	if (r->dest_fd >= 0)
		rc = reader_scatter(r, entry, scratch, err);
	if (rc == 0 && r->progress)
		r->progress(simg_block_bytes(r->index->ref.logical_bytes, entry->block),
			    r->progress_arg);
	return rc;
}

static int reader_worker(size_t worker, void *arg, struct err *err)
{
	struct reader *r = arg;
	CLEANUP_FREE uint8_t *scratch = malloc(SIMG_BLOCK_BYTES);
	int rc = scratch ? 0 : err_sys(err, ENOMEM, "block buffer");

	(void)worker;
	while (rc == 0 && !r->failed) {
		size_t at = atomic_fetch_add(&r->next, 1);

		if (at >= r->index->entry_count)
			break;
		rc = reader_block(r, &r->index->entries[at], scratch, err);
	}
	if (rc < 0)
		r->failed = true;
	return rc;
}

/* Give the destination the image's size; one that has it already may be sealed or mapped, and
 * is left alone. */
static int dest_resize(int fd, uint64_t bytes, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot stat the destination");
	if ((uint64_t)st.st_size != bytes && ftruncate(fd, (off_t)bytes) < 0)
		return err_sys(err, errno, "cannot give the destination %" PRIu64 " bytes",
			       bytes);
	return 0;
}

int simg_index_read(int fd, const char *name, const struct simg_index *index, int dest_fd,
		    unsigned int threads, simg_progress_fn progress, void *progress_arg,
		    struct err *err)
{
	struct reader r = {
		.fd = fd,
		.dest_fd = dest_fd,
		.name = name,
		.index = index,
		.progress = progress,
		.progress_arg = progress_arg,
	};
	uint64_t hole_bytes = index->ref.logical_bytes;
	size_t workers = threads ? threads : parallel_cpus();
	int rc = dest_fd >= 0 ? dest_resize(dest_fd, index->ref.logical_bytes, err) : 0;

	if (rc < 0) {
		err_prefix(err, "%s", name);
		return rc;
	}
	for (size_t i = 0; i < index->entry_count; i++)
		hole_bytes -=
			simg_block_bytes(index->ref.logical_bytes, index->entries[i].block);
	if (progress && hole_bytes)
		progress(hole_bytes, progress_arg);
	if (workers > index->entry_count)
		workers = index->entry_count;
	return parallel_for(workers, workers, reader_worker, &r, err);
}

int simg_read(const char *path, const struct simg_ref *ref, int dest_fd, unsigned int threads,
	      simg_progress_fn progress, void *progress_arg, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct simg_index index;
	int rc;

	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", path);
	rc = simg_index_load(fd, path, ref, &index, err);
	if (rc < 0)
		return rc;
	rc = simg_index_read(fd, path, &index, dest_fd, threads, progress, progress_arg, err);
	simg_index_destroy(&index);
	return rc;
}

int simg_check_index(const char *path, const struct simg_ref *ref, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct simg_index index;
	int rc;

	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", path);
	rc = simg_index_load(fd, path, ref, &index, err);
	if (rc == 0)
		simg_index_destroy(&index);
	return rc;
}
