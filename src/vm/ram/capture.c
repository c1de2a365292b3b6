/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RAM capture: pre-copy while the VMs run, compare-and-copy while they are paused, into staging
 * memory.
 *
 * Design notes
 *
 * A pass is bound by memory bandwidth, so it reads RAM once and staging not at all: of each
 * page in staging there is a hash (XXH3, 128 bits), and a page of RAM with the same hash is the
 * same. To compare with staging itself would read two bytes for each byte of RAM: 25 GB of RAM
 * a second, measured where two cores read 52 GB/s and hash 45 (bench/capture). The hash is
 * keyed with random bytes of each capture, so that a guest cannot make pages that collide.
 *
 * A page that differs goes into a buffer in the first cache, and from there past the caches
 * into staging: a plain copy would read staging's lines before it overwrites them. The hash is
 * made of the buffer, so it is always that of the bytes in staging. While a VM runs, a page may
 * change under the copy, and staging's may be torn; that is harmless, since the pass of the
 * paused VM hashes every page again.
 *
 * Pages of all VMs are one list of pieces, the largest VM's first, that threads take in turn;
 * what belongs to a page is written by one thread only, so nothing is locked. A piece is a huge
 * page of staging: it is touched first, and so allocated, by the thread that copies it.
 *
 * Only pages that exist in the RAM file are read (vm/ram/file.c): reading a hole of a shared
 * memory file through a mapping would fill it with pages. `staged` tells which pages of staging
 * hold something. Everything else in staging is zero: an all-zero page of RAM is never copied,
 * and a page that became zero, or a hole (the balloon gives pages back to the file), is zeroed
 * in staging and leaves the map.
 *
 * Long populated stretches get huge pages in staging: the first touch of 4 KiB pages takes 0.3
 * to 0.8 s/GiB, of huge pages 0.05 (and either 2 s/GiB of memory that a hypervisor below this
 * host has taken back). Elsewhere a huge page would hold mostly nothing. First touches fall
 * into the pre-copy; in the pause only pages that the guest has begun to use since then are
 * new.
 */
#include "vm/ram/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/parallel.h"
#include "vm/ram/file.h"
#include "vm/ram/page.h"

/* The shortest populated stretch that gets huge pages: each is a mapping of its own to the
 * kernel, of which a process may have some 65,000. */
enum { HUGE_BYTES_MIN = 16 << 20 };

struct ram_trace {
	uint64_t pages;
	unsigned char *staged;    /* one byte a page: 1 when staging holds it */
	struct page_hash *hashes; /* of the pages that staging holds */
	unsigned char secret[PAGE_SECRET_BYTES];
};

struct ram_capture {
	int ram_fd;
	uint64_t bytes;
	const char *ram;
	char *staging;
	/* The trace's members, for short: they are its own. */
	unsigned char *staged;
	struct page_hash *hashes;
	struct ram_trace *trace;
	const struct ram_trace *since;
	const struct page_ops *ops;
};

struct piece {
	struct ram_capture *capture;
	uint64_t start;
};

struct pass {
	struct piece *pieces;
	size_t count;
	atomic_ullong read_bytes, copied_bytes;
};

/* What is zero in RAM becomes zero in staging; whether that changed anything. */
static bool page_drop(struct ram_capture *capture, uint64_t page)
{
	if (!capture->staged[page])
		return false;
	memset(capture->staging + page * RAM_PAGE_BYTES, 0, RAM_PAGE_BYTES);
	capture->staged[page] = 0;
	return true;
}

static bool page_same(const struct ram_capture *capture, uint64_t page)
{
	const char *ram = capture->ram + page * RAM_PAGE_BYTES;
	struct page_hash hash;

	if (!capture->staged[page])
		return capture->ops->is_zero(ram);
	hash = capture->ops->hash(ram, capture->trace->secret);
	return hash.low == capture->hashes[page].low && hash.high == capture->hashes[page].high;
}

/* Staging gets a page, which is aligned and does not change; whether that changed anything. */
static bool page_stage(struct ram_capture *capture, uint64_t page, const void *bytes)
{
	if (capture->ops->is_zero(bytes))
		return page_drop(capture, page);
	capture->hashes[page] = capture->ops->hash(bytes, capture->trace->secret);
	capture->ops->copy_away(capture->staging + page * RAM_PAGE_BYTES, bytes);
	capture->staged[page] = 1;
	return true;
}

/* Take over the page if it differs; whether it did. */
static bool page_take(struct ram_capture *capture, uint64_t page)
{
	_Alignas(64) char buffer[RAM_PAGE_BYTES];

	if (page_same(capture, page))
		return false;
	memcpy(buffer, capture->ram + page * RAM_PAGE_BYTES, RAM_PAGE_BYTES);
	return page_stage(capture, page, buffer);
}

static uint64_t piece_end(const struct piece *piece)
{
	uint64_t left = piece->capture->bytes - piece->start;

	return piece->start + (left < RAM_PIECE_BYTES ? left : RAM_PIECE_BYTES);
}

static int pass_piece(size_t index, void *arg, struct err *err)
{
	struct pass *pass = arg;
	struct piece *piece = &pass->pieces[index];
	struct ram_capture *capture = piece->capture;
	uint64_t first = piece->start / RAM_PAGE_BYTES;
	uint64_t pages = (piece_end(piece) - piece->start) / RAM_PAGE_BYTES;
	unsigned char exist[RAM_PIECE_PAGES];
	uint64_t read = 0, copied = 0;
	int rc = ram_find_pages(capture->ram_fd, capture->ram, piece->start, piece_end(piece),
				exist, err);

	if (rc < 0)
		return rc;
	for (uint64_t i = 0; i < pages; i++) {
		if (!exist[i]) {
			page_drop(capture, first + i);
			continue;
		}
		if (i + 1 < pages && exist[i + 1])
			page_prefetch(capture->ram + (first + i + 1) * RAM_PAGE_BYTES);
		read++;
		copied += page_take(capture, first + i);
	}
	atomic_fetch_add(&pass->read_bytes, read * RAM_PAGE_BYTES);
	atomic_fetch_add(&pass->copied_bytes, copied * RAM_PAGE_BYTES);
	return 0;
}

struct sized {
	struct ram_capture *capture;
	uint64_t populated_bytes;
};

static int larger_first(const void *a, const void *b)
{
	uint64_t left = ((const struct sized *)a)->populated_bytes;
	uint64_t right = ((const struct sized *)b)->populated_bytes;

	return (left < right) - (left > right);
}

/* The pieces of all captures, those of the largest VM first. */
static int pass_list(struct ram_capture *const *captures, size_t count, struct pass *pass,
		     struct err *err)
{
	struct sized *sized = calloc(count, sizeof(*sized));
	size_t capacity = 0;
	int rc = sized ? 0 : err_sys(err, ENOMEM, "list of the VMs' RAM");

	for (size_t i = 0; i < count && rc == 0; i++) {
		sized[i].capture = captures[i];
		capacity += captures[i]->bytes / RAM_PIECE_BYTES + 1;
		rc = ram_populated_bytes(captures[i]->ram_fd, &sized[i].populated_bytes, err);
	}
	pass->pieces = calloc(capacity, sizeof(*pass->pieces));
	if (rc == 0 && !pass->pieces)
		rc = err_sys(err, ENOMEM, "list of the VMs' RAM");
	if (rc == 0)
		qsort(sized, count, sizeof(*sized), larger_first);
	for (size_t i = 0; i < count && rc == 0; i++)
		for (uint64_t at = 0; at < sized[i].capture->bytes; at += RAM_PIECE_BYTES)
			pass->pieces[pass->count++] = (struct piece){sized[i].capture, at};
	free(sized);
	return rc;
}

int ram_captures_pass(struct ram_capture *const *captures, size_t count, size_t threads,
		      int nice, struct ram_pass *ret_pass, struct err *err)
{
	struct pass pass = {0};
	int rc = pass_list(captures, count, &pass, err);

	if (rc == 0)
		rc = nice ? parallel_for_nice(pass.count, threads, nice, pass_piece, &pass, err)
			  : parallel_for(pass.count, threads, pass_piece, &pass, err);
	free(pass.pieces);
	if (rc < 0)
		return rc;
	ret_pass->read_bytes = pass.read_bytes;
	ret_pass->copied_bytes = pass.copied_bytes;
	return 0;
}

void ram_capture_put(struct ram_capture *capture, uint64_t offset, const void *bytes)
{
	_Alignas(64) char buffer[RAM_PAGE_BYTES];

	if (!bytes) {
		page_drop(capture, offset / RAM_PAGE_BYTES);
		return;
	}
	memcpy(buffer, bytes, RAM_PAGE_BYTES);
	page_stage(capture, offset / RAM_PAGE_BYTES, buffer);
}

uint64_t ram_capture_size(const struct ram_capture *capture)
{
	return capture->bytes;
}

/* Staging of the RAM's size, at a huge page's boundary. */
static int staging_map(struct ram_capture *capture, struct err *err)
{
	size_t size = capture->bytes + RAM_PIECE_BYTES;
	char *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (mapped == MAP_FAILED)
		return err_sys(err, errno, "cannot reserve staging memory");
	before = -(uintptr_t)mapped % RAM_PIECE_BYTES;
	capture->staging = mapped + before;
	if (before > 0)
		munmap(mapped, before);
	munmap(capture->staging + capture->bytes, size - before - capture->bytes);
	return 0;
}

/* Long populated stretches of RAM get huge pages in staging. A kernel without them refuses,
 * which changes nothing but speed. */
static void staging_advise(struct ram_capture *capture)
{
	off_t start = 0, end = 0;

	while ((start = lseek(capture->ram_fd, end, SEEK_DATA)) >= 0 &&
	       (end = lseek(capture->ram_fd, start, SEEK_HOLE)) >= 0) {
		off_t from = (start + RAM_PIECE_BYTES - 1) & -RAM_PIECE_BYTES;
		off_t to = end & -RAM_PIECE_BYTES;

		if (to - from >= HUGE_BYTES_MIN)
			madvise(capture->staging + from, (size_t)(to - from), MADV_HUGEPAGE);
	}
}

/* Hashes can be compared if they have the same key. NULL with err set. */
static struct ram_trace *trace_create(uint64_t pages, const struct ram_trace *since,
				      struct err *err)
{
	struct ram_trace *trace = calloc(1, sizeof(*trace));

	if (trace) {
		trace->pages = pages;
		trace->staged = calloc(pages, 1);
		trace->hashes = calloc(pages, sizeof(*trace->hashes));
	}
	if (!trace || !trace->staged || !trace->hashes) {
		err_sys(err, ENOMEM, "cannot reserve staging memory");
		ram_trace_destroy(trace);
		return NULL;
	}
	if (since) {
		memcpy(trace->secret, since->secret, sizeof(trace->secret));
	} else if (getrandom(trace->secret, sizeof(trace->secret), 0) !=
		   sizeof(trace->secret)) {
		err_sys(err, errno, "cannot make a key");
		ram_trace_destroy(trace);
		return NULL;
	}
	return trace;
}

void ram_trace_destroy(struct ram_trace *trace)
{
	if (!trace)
		return;
	free(trace->staged);
	free(trace->hashes);
	free(trace);
}

static int capture_map(struct ram_capture *capture, int ram_fd, struct err *err)
{
	int rc;

	capture->ram_fd = fcntl(ram_fd, F_DUPFD_CLOEXEC, 0);
	if (capture->ram_fd < 0)
		return err_sys(err, errno, "cannot keep guest RAM open");
	capture->ram = ram_map(ram_fd, capture->bytes, err);
	if (!capture->ram)
		return -ENOMEM;
	rc = staging_map(capture, err);
	if (rc < 0)
		return rc;
	staging_advise(capture);
	capture->trace = trace_create(capture->bytes / RAM_PAGE_BYTES, capture->since, err);
	if (!capture->trace)
		return -ENOMEM;
	capture->staged = capture->trace->staged;
	capture->hashes = capture->trace->hashes;
	return 0;
}

int ram_capture_create(int ram_fd, uint64_t ram_bytes, const struct ram_trace *since,
		       struct ram_capture **ret_capture, struct err *err)
{
	struct ram_capture *capture;
	int rc = ram_check(ram_fd, ram_bytes, err);

	if (rc < 0)
		return rc;
	capture = calloc(1, sizeof(*capture));
	if (!capture)
		return err_sys(err, ENOMEM, "capture of guest RAM");
	capture->bytes = ram_bytes;
	capture->since = since && since->pages == ram_bytes / RAM_PAGE_BYTES ? since : NULL;
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
	ram_trace_destroy(capture->trace);
	if (capture->staging)
		munmap(capture->staging, capture->bytes);
	if (capture->ram)
		munmap((void *)(uintptr_t)capture->ram, capture->bytes);
	if (capture->ram_fd >= 0)
		close(capture->ram_fd);
	free(capture);
}

/* The first staged page from `page` up to `last`, else `last`. */
static uint64_t staged_next(const struct ram_capture *capture, uint64_t page, uint64_t last)
{
	const unsigned char *found =
		page < last ? memchr(capture->staged + page, 1, last - page) : NULL;

	return found ? (uint64_t)(found - capture->staged) : last;
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

static bool page_changed(const struct ram_capture *capture, uint64_t page)
{
	const struct ram_trace *since = capture->since;

	if (!since || capture->staged[page] != since->staged[page])
		return true;
	return capture->staged[page] &&
	       (capture->hashes[page].low != since->hashes[page].low ||
		capture->hashes[page].high != since->hashes[page].high);
}

bool ram_capture_changed(const struct ram_capture *capture, uint64_t offset, uint32_t len,
			 uint8_t *ret_bitmap)
{
	uint64_t first = offset / RAM_PAGE_BYTES;
	bool any = false;

	for (uint32_t page = 0; page * RAM_PAGE_BYTES < len; page++) {
		if (!page_changed(capture, first + page))
			continue;
		ret_bitmap[page / 8] |= (uint8_t)(1 << page % 8);
		any = true;
	}
	return any;
}

struct ram_trace *ram_capture_take_trace(struct ram_capture *capture)
{
	struct ram_trace *trace = capture->trace;

	capture->trace = NULL;
	capture->staged = NULL;
	capture->hashes = NULL;
	return trace;
}
