/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cloning of a template's RAM into a fresh, all-zero RAM file.
 *
 * Pages go over by pwrite(2) in runs rather than through a mapping of the new file: a write
 * allocates and fills pages in one step, a mapping takes a fault for each.
 */
#include "vm/ram/capture.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/io.h"
#include "base/parallel.h"
#include "vm/ram/file.h"
#include "vm/ram/page.h"

struct clone {
	int from_fd, to_fd;
	uint64_t bytes;
	const char *from;
	const struct page_ops *ops;
};

/* Copy the pages of one piece that hold something, run by run. */
static int clone_piece(size_t index, void *arg, struct err *err)
{
	const struct clone *clone = arg;
	uint64_t start = index * RAM_PIECE_BYTES;
	uint64_t end =
		clone->bytes - start < RAM_PIECE_BYTES ? clone->bytes : start + RAM_PIECE_BYTES;
	unsigned char exist[RAM_PIECE_PAGES];
	int rc = ram_find_pages(clone->from_fd, clone->from, start, end, exist, err);

	for (uint64_t pos = start; pos < end && rc == 0; pos += RAM_PAGE_BYTES) {
		uint64_t run = pos;

		while (run < end && exist[(run - start) / RAM_PAGE_BYTES] &&
		       !clone->ops->is_zero(clone->from + run))
			run += RAM_PAGE_BYTES;
		if (run > pos)
			rc = io_pwrite_all(clone->to_fd, clone->from + pos, run - pos,
					   (off_t)pos, err);
		pos = run;
	}
	return rc;
}

int ram_clone(int from_fd, int to_fd, uint64_t ram_bytes, unsigned int threads, struct err *err)
{
	struct clone clone = {
		.from_fd = from_fd,
		.to_fd = to_fd,
		.bytes = ram_bytes,
		.ops = page_ops_best(),
	};
	int rc = ram_check(from_fd, ram_bytes, err);

	if (rc == 0)
		rc = ram_check(to_fd, ram_bytes, err);
	if (rc < 0)
		return rc;
	clone.from = ram_map(from_fd, ram_bytes, err);
	if (!clone.from)
		return -ENOMEM;
	rc = parallel_for((ram_bytes + RAM_PIECE_BYTES - 1) / RAM_PIECE_BYTES, threads,
			  clone_piece, &clone, err);
	munmap((void *)(uintptr_t)clone.from, ram_bytes);
	return rc;
}
