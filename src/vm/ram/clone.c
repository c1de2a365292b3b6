/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cloning of a template's RAM into a fresh, all-zero RAM file.
 *
 * Pages go over by pwrite(2) in runs rather than through a mapping of the new file: a write
 * allocates and fills pages in one step, a mapping takes a fault for each.
 */
#include "vm/ram/capture.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/io.h"
#include "base/parallel.h"
#include "vm/ram/file.h"
#include "vm/ram/page.h"

struct clone {
	int to_fd;
	const char *from;
	struct ram_piece *pieces;
	size_t piece_count;
	const struct page_ops *ops;
};

/* Copy the runs of pages of one piece that are not all zero. */
static int clone_run(const struct clone *clone, uint64_t pos, uint64_t end, struct err *err)
{
	while (pos < end) {
		uint64_t run = pos;
		int rc;

		while (run < end && !clone->ops->is_zero(clone->from + run))
			run += RAM_PAGE_BYTES;
		if (run > pos) {
			rc = io_pwrite_all(clone->to_fd, clone->from + pos, run - pos,
					   (off_t)pos, err);
			if (rc < 0)
				return rc;
		}
		pos = run + RAM_PAGE_BYTES;
	}
	return 0;
}

static int clone_piece(size_t index, void *arg, struct err *err)
{
	const struct clone *clone = arg;

	return clone_run(clone, clone->pieces[index].start, clone->pieces[index].end, err);
}

int ram_clone(int from_fd, int to_fd, uint64_t ram_bytes, unsigned int threads, struct err *err)
{
	struct clone clone = {.to_fd = to_fd, .ops = page_ops_best()};
	int rc = ram_check(from_fd, ram_bytes, err);

	if (rc == 0)
		rc = ram_check(to_fd, ram_bytes, err);
	if (rc == 0)
		rc = ram_pieces_find(from_fd, ram_bytes, &clone.pieces, &clone.piece_count,
				     err);
	if (rc < 0)
		return rc;
	clone.from = ram_map(from_fd, ram_bytes, err);
	rc = -ENOMEM;
	if (clone.from) {
		rc = parallel_for(clone.piece_count, threads, clone_piece, &clone, err);
		munmap((void *)(uintptr_t)clone.from, ram_bytes);
	}
	free(clone.pieces);
	return rc;
}
