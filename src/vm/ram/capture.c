/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RAM capture: pre-copy while the VM runs, compare-and-copy while it is paused, into staging
 * memory.
 *
 * Design notes
 *
 * A pass visits only the populated parts of the RAM file (SEEK_DATA, SEEK_HOLE): reading a hole
 * of a shared memory file through a mapping would fill it with pages. They are cut into pieces
 * that threads take in turn; each page has a byte of its own in the map, so nothing is locked.
 *
 * The map tells which pages of staging hold something. Everything else in staging is zero: an
 * all-zero page of RAM is never copied, and a page that became zero, or a hole (the balloon
 * gives pages back to the file), is zeroed in staging and leaves the map.
 *
 * While the VM runs, a page may change under the copy, and what staging gets of it may be torn.
 * That is harmless: the pass of the paused VM compares every page again.
 */
#include "vm/ram/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/parallel.h"
#include "vm/ram/file.h"
#include "vm/ram/page.h"

struct ram_capture {
	int ram_fd;
	uint64_t bytes;
	const char *ram;
	char *staging;
	unsigned char *staged; /* one byte a page: 1 when staging holds it */
	const struct page_ops *ops;
};

struct pass {
	struct ram_capture *capture;
	struct ram_piece *pieces;
	size_t piece_count;
	atomic_ullong read_bytes, copied_bytes;
};

static void page_drop(struct ram_capture *capture, uint64_t page)
{
	memset(capture->staging + page * RAM_PAGE_BYTES, 0, RAM_PAGE_BYTES);
	capture->staged[page] = 0;
}

static void page_copy(struct ram_capture *capture, uint64_t page)
{
	memcpy(capture->staging + page * RAM_PAGE_BYTES, capture->ram + page * RAM_PAGE_BYTES,
	       RAM_PAGE_BYTES);
	capture->staged[page] = 1;
}

/* The first staged page from `page` up to `last`, else `last`. */
static uint64_t staged_next(const struct ram_capture *capture, uint64_t page, uint64_t last)
{
	const unsigned char *found =
		page < last ? memchr(capture->staged + page, 1, last - page) : NULL;

	return found ? (uint64_t)(found - capture->staged) : last;
}

/* What is a hole in RAM becomes zero in staging. */
static void hole_take(struct ram_capture *capture, uint64_t start, uint64_t end)
{
	uint64_t last = end / RAM_PAGE_BYTES;
	uint64_t page = staged_next(capture, start / RAM_PAGE_BYTES, last);

	for (; page < last; page = staged_next(capture, page, last))
		page_drop(capture, page);
}

/* Take over the pages that differ; returns how many. */
static uint64_t data_take(struct ram_capture *capture, uint64_t start, uint64_t end)
{
	uint64_t changed = 0;

	for (uint64_t page = start / RAM_PAGE_BYTES; page < end / RAM_PAGE_BYTES; page++) {
		const char *ram = capture->ram + page * RAM_PAGE_BYTES;
		bool staged = capture->staged[page];

		if (staged &&
		    capture->ops->equal(ram, capture->staging + page * RAM_PAGE_BYTES))
			continue;
		if (!capture->ops->is_zero(ram))
			page_copy(capture, page);
		else if (staged)
			page_drop(capture, page);
		else
			continue;
		changed++;
	}
	return changed;
}

static int pass_piece(size_t index, void *arg, struct err *err)
{
	struct pass *pass = arg;
	const struct ram_piece *piece = &pass->pieces[index];
	uint64_t changed = data_take(pass->capture, piece->start, piece->end);

	(void)err;
	atomic_fetch_add(&pass->read_bytes, piece->end - piece->start);
	atomic_fetch_add(&pass->copied_bytes, changed * RAM_PAGE_BYTES);
	return 0;
}

int ram_capture_pass(struct ram_capture *capture, unsigned int threads,
		     struct ram_pass *ret_pass, struct err *err)
{
	struct pass pass = {.capture = capture};
	uint64_t pos = 0;
	int rc = ram_pieces_find(capture->ram_fd, capture->bytes, &pass.pieces,
				 &pass.piece_count, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < pass.piece_count; i++) {
		hole_take(capture, pos, pass.pieces[i].start);
		pos = pass.pieces[i].end;
	}
	hole_take(capture, pos, capture->bytes);
	rc = parallel_for(pass.piece_count, threads, pass_piece, &pass, err);
	free(pass.pieces);
	if (rc < 0)
		return rc;
	ret_pass->read_bytes = pass.read_bytes;
	ret_pass->copied_bytes = pass.copied_bytes;
	return 0;
}

static int capture_map(struct ram_capture *capture, int ram_fd, struct err *err)
{
	void *staging;

	capture->ram_fd = fcntl(ram_fd, F_DUPFD_CLOEXEC, 0);
	if (capture->ram_fd < 0)
		return err_sys(err, errno, "cannot keep guest RAM open");
	capture->ram = ram_map(ram_fd, capture->bytes, err);
	if (!capture->ram)
		return -ENOMEM;
	staging = mmap(NULL, capture->bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (staging == MAP_FAILED)
		return err_sys(err, errno, "cannot reserve staging memory");
	capture->staging = staging;
	capture->staged = calloc(1, capture->bytes / RAM_PAGE_BYTES);
	return capture->staged ? 0 : err_sys(err, ENOMEM, "cannot reserve staging memory");
}

int ram_capture_create(int ram_fd, uint64_t ram_bytes, struct ram_capture **ret_capture,
		       struct err *err)
{
	struct ram_capture *capture;
	int rc = ram_check(ram_fd, ram_bytes, err);

	if (rc < 0)
		return rc;
	capture = calloc(1, sizeof(*capture));
	if (!capture)
		return err_sys(err, ENOMEM, "capture of guest RAM");
	capture->bytes = ram_bytes;
	capture->ram_fd = -1;
	capture->ops = page_ops_best();
	rc = capture_map(capture, ram_fd, err);
	if (rc < 0) {
		ram_capture_destroy(capture);
		return rc;
	}
	*ret_capture = capture;
	return 0;
}

void ram_capture_destroy(struct ram_capture *capture)
{
	if (!capture)
		return;
	free(capture->staged);
	if (capture->staging)
		munmap(capture->staging, capture->bytes);
	if (capture->ram)
		munmap((void *)(uintptr_t)capture->ram, capture->bytes);
	if (capture->ram_fd >= 0)
		close(capture->ram_fd);
	free(capture);
}

uint64_t ram_capture_next_data(const struct ram_capture *capture, uint64_t offset)
{
	uint64_t last = capture->bytes / RAM_PAGE_BYTES;
	uint64_t page = staged_next(capture, offset / RAM_PAGE_BYTES, last);

	if (page >= last)
		return UINT64_MAX;
	return page * RAM_PAGE_BYTES > offset ? page * RAM_PAGE_BYTES : offset;
}

const void *ram_capture_bytes(const struct ram_capture *capture, uint64_t offset)
{
	return capture->staging + offset;
}
