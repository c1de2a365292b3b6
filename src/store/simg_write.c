/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing of image files: several threads hash and write blocks whose places are given out in
 * order. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/parallel.h"
#include "store/hash.h"
#include "store/simg_format.h"

/*
 * Blocks are taken from the source in ascending order, each with a ticket. A thread finds the
 * block's non-zero pages, then waits until all earlier tickets have their place in the file
 * (which costs them a zero check, not a hash), gets its own, and hashes and writes while later
 * tickets go on. So the same contents always make the same file.
 */
struct writer {
	const char *path;
	const struct simg_source *source;
	simg_progress_fn progress;
	void *progress_arg;
	int fd;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t turn;
	uint64_t cursor;   /* logical offset of the next block to take */
	uint64_t taken;    /* tickets given out */
	uint64_t placed;   /* tickets that have a place */
	uint64_t data_end; /* file offset behind the last block */
	bool failed;
	struct simg_entry *entries;
	size_t entry_count, entry_room;
};

struct ticket {
	uint64_t number;
	uint64_t block;
};

static bool page_is_zero(const uint8_t *page, uint32_t len)
{
	/* A page equals itself moved by one byte, and its first byte is zero: memcmp() has the
	 * vector code. */
	return page[0] == 0 && !memcmp(page, page + 1, len - 1);
}

static void writer_progress(const struct writer *w, uint64_t bytes)
{
	if (w->progress && bytes)
		w->progress(bytes, w->progress_arg);
}

/* The next block that may hold data; false at the end, or after a failure. */
static bool writer_take(struct writer *w, struct ticket *ret_ticket)
{
	uint64_t offset, skipped = 0;
	bool found = false;

	pthread_mutex_lock(&w->lock);
	if (!w->failed && w->cursor < w->source->logical_bytes) {
		offset = w->source->next_data(w->source->arg, w->cursor);
		if (offset < w->cursor)
			offset = w->cursor;
		found = offset < w->source->logical_bytes;
		offset = found ? offset - offset % SIMG_BLOCK_BYTES : w->source->logical_bytes;
		skipped = offset - w->cursor;
		w->cursor = offset;
	}
	if (found) {
		ret_ticket->number = w->taken++;
		ret_ticket->block = offset / SIMG_BLOCK_BYTES;
		w->cursor += simg_block_bytes(w->source->logical_bytes, ret_ticket->block);
	}
	pthread_mutex_unlock(&w->lock);
	writer_progress(w, skipped);
	return found;
}

static int entries_grow(struct writer *w, struct err *err)
{
	size_t room = w->entry_room ? w->entry_room * 2 : 64;
	struct simg_entry *more = reallocarray(w->entries, room, sizeof(*more));

	if (!more)
		return err_sys(err, ENOMEM, "index of %s", w->path);
	w->entries = more;
	w->entry_room = room;
	return 0;
}

/*
 * Wait for the ticket's turn and give its block a place. Returns 1 with the place, 0 if there
 * is nothing to write: a block of zeros, or another thread failed.
 */
static int writer_place(struct writer *w, const struct ticket *ticket, struct simg_entry *entry,
			size_t *ret_slot, struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&w->lock);
	while (w->placed != ticket->number && !w->failed)
		pthread_cond_wait(&w->turn, &w->lock);
	if (!w->failed && entry->data_bytes) {
		rc = w->entry_count == w->entry_room ? entries_grow(w, err) : 0;
		if (rc == 0) {
			entry->offset = w->data_end;
			w->data_end += entry->data_bytes;
			*ret_slot = w->entry_count++;
			w->entries[*ret_slot] = *entry;
			rc = 1;
		}
	}
	w->placed++;
	pthread_cond_broadcast(&w->turn);
	pthread_mutex_unlock(&w->lock);
	return rc;
}

/* Note the non-zero pages in the entry and move them together in `scratch`, where `data` may
 * lie already. */
static void block_compact(struct simg_entry *entry, const uint8_t *data, uint32_t len,
			  uint8_t *scratch)
{
	uint32_t used = 0, bytes;

	for (unsigned int page = 0; (bytes = simg_page_bytes(len, page)) > 0; page++) {
		const uint8_t *from = data + page * SIMG_PAGE_BYTES;

		if (page_is_zero(from, bytes))
			continue;
		entry->bitmap[page / 8] |= (uint8_t)(1 << page % 8);
		if (scratch + used != from)
			memmove(scratch + used, from, bytes);
		used += bytes;
	}
	entry->data_bytes = used;
}

static int writer_block(struct writer *w, const struct ticket *ticket, uint8_t *scratch,
			struct err *err)
{
	uint32_t len = simg_block_bytes(w->source->logical_bytes, ticket->block);
	struct simg_entry entry = {.block = ticket->block};
	const void *data;
	size_t slot = 0;
	int rc = w->source->block(w->source->arg, ticket->block * SIMG_BLOCK_BYTES, len,
				  scratch, &data, err);

	if (rc < 0)
		return rc;
	block_compact(&entry, data, len, scratch);
	rc = writer_place(w, ticket, &entry, &slot, err);
	if (rc > 0) {
		rc = simg_block_hash(&entry, scratch, entry.hash, err);
		if (rc == 0)
			rc = fault_hit(FAULT_STORE_WRITE, err);
		if (rc == 0)
			rc = io_pwrite_all(w->fd, scratch, entry.data_bytes,
					   (off_t)entry.offset, err);
		pthread_mutex_lock(&w->lock);
		w->entries[slot] = entry;
		pthread_mutex_unlock(&w->lock);
	}
	if (rc == 0)
		writer_progress(w, len);
	return rc;
}

static int writer_worker(size_t index, void *arg, struct err *err)
{
	struct writer *w = arg;
	CLEANUP_FREE uint8_t *scratch = malloc(SIMG_BLOCK_BYTES);
	struct ticket ticket;
	int rc = scratch ? 0 : err_sys(err, ENOMEM, "block buffer");

	(void)index;
	while (rc == 0 && writer_take(w, &ticket))
		rc = writer_block(w, &ticket, scratch, err);
	if (rc < 0) {
		pthread_mutex_lock(&w->lock);
		w->failed = true;
		pthread_cond_broadcast(&w->turn);
		pthread_mutex_unlock(&w->lock);
	}
	return rc;
}

/* Write header, index and footer around the data, and make the file durable. */
static int writer_finish(struct writer *w, struct simg_ref *ret_ref, struct err *err)
{
	size_t index_bytes = w->entry_count * SIMG_ENTRY_BYTES;
	CLEANUP_FREE uint8_t *tail = malloc(index_bytes + SIMG_FOOTER_BYTES);
	struct simg_footer footer = {
		.logical_bytes = w->source->logical_bytes,
		.entry_count = w->entry_count,
		.index_offset = w->data_end,
	};
	uint8_t header[SIMG_HEADER_BYTES];
	int rc;

	if (!tail)
		return err_sys(err, ENOMEM, "index");
	for (size_t i = 0; i < w->entry_count; i++)
		simg_entry_encode(&w->entries[i], tail + i * SIMG_ENTRY_BYTES);
	rc = hash_sha256(&(struct iovec){tail, index_bytes}, 1, footer.index_hash, err);
	if (rc < 0)
		return rc;
	simg_header_encode(w->source->logical_bytes, header);
	simg_footer_encode(&footer, tail + index_bytes);
	ret_ref->logical_bytes = w->source->logical_bytes;
	ret_ref->file_bytes = w->data_end + index_bytes + SIMG_FOOTER_BYTES;
	rc = simg_root_hash(header, tail, index_bytes, tail + index_bytes, ret_ref->root, err);
	if (rc == 0)
		rc = fault_hit(FAULT_STORE_WRITE, err);
	if (rc == 0)
		rc = io_pwrite_all(w->fd, tail, index_bytes + SIMG_FOOTER_BYTES,
				   (off_t)w->data_end, err);
	if (rc == 0)
		rc = io_pwrite_all(w->fd, header, sizeof(header), 0, err);
	if (rc == 0)
		rc = fault_hit(FAULT_STORE_FSYNC, err);
	if (rc == 0 && fsync(w->fd) < 0)
		rc = err_sys(err, errno, "fsync");
	return rc;
}

int simg_write(const char *path, const struct simg_source *source, unsigned int threads,
	       simg_progress_fn progress, void *progress_arg, struct simg_ref *ret_ref,
	       struct err *err)
{
	struct writer w = {
		.path = path,
		.source = source,
		.progress = progress,
		.progress_arg = progress_arg,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.turn = PTHREAD_COND_INITIALIZER,
		.data_end = SIMG_HEADER_BYTES,
	};
	size_t workers = threads ? threads : parallel_cpus();
	int rc;

	if (source->logical_bytes > SIMG_LOGICAL_MAX)
		return err_set(err, EFBIG,
			       "%s: %" PRIu64 " bytes are more than an image can hold", path,
			       source->logical_bytes);
	w.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (w.fd < 0)
		return err_sys(err, errno, "cannot create %s", path);
	rc = parallel_for(workers, workers, writer_worker, &w, err);
	if (rc == 0)
		rc = writer_finish(&w, ret_ref, err);
	if (close(w.fd) < 0 && rc == 0)
		rc = err_sys(err, errno, "close");
	if (rc < 0) {
		err_prefix(err, "cannot write %s", path);
		unlink(path);
	}
	free(w.entries);
	pthread_cond_destroy(&w.turn);
	pthread_mutex_destroy(&w.lock);
	return rc;
}
