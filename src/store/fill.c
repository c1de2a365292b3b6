/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading of whole streams into files, on all cores.
 *
 * Work goes segment by segment: a segment is read, opened, each of its chunks that is wanted is
 * checked against its id, and every page of every target that it serves is written. A window
 * bounds the memory of the plan; windows cut all targets at the same blocks, so that equal
 * pages of VMs at equal places still are read once.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "store/plan.h"
#include "store/store_priv.h"
#include "store/tree.h"
#include "store/work.h"

/* Pages in a plan: 32 MB of it. */
enum { WINDOW_PAGES = 1 << 20 };

struct fill {
	struct store *store;
	const struct store_target *targets;
	size_t count;
	const struct store_work *work;
	struct chunk_id **leaves;
	struct plan plan;
	atomic_size_t next;
	atomic_bool failed;
};

/* Check the chunk at `offset` of a segment, unless it was the one before. */
static int chunk_check_at(struct chunk_reader *reader, const struct plan_segment *s,
			  uint32_t offset, const uint8_t *raw, uint8_t *checked,
			  struct err *err)
{
	const struct pack_segment *segment = &s->pack->segments[s->segment];
	const struct pack_chunk *chunks = &s->pack->chunks[segment->first_chunk];
	uint32_t low = 0, high = segment->chunk_count;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (chunks[middle].offset <= offset)
			low = middle;
		else
			high = middle;
	}
	if (checked[low])
		return 0;
	checked[low] = 1;
	return chunk_check(reader, s->pack, s->segment, &chunks[low].id, raw + offset,
			   chunks[low].bytes, err);
}

/* Write the pages from `at` on that follow each other both in the segment and in the target. */
static int run_write(const struct fill *fill, const struct plan_page *pages, size_t count,
		     const uint8_t *raw, size_t *ret_run, struct err *err)
{
	const struct store_target *target = &fill->targets[pages->target];
	uint64_t logical = target->ref.logical_bytes;
	size_t run = 1, len = tree_page_bytes(logical, pages->page);
	int rc = 0;

	while (run < count && pages[run].target == pages->target &&
	       pages[run].page == pages->page + run && pages[run].offset == pages->offset + len)
		len += tree_page_bytes(logical, pages[run++].page);
	if (target->fd >= 0)
		rc = io_pwrite_all(target->fd, raw + pages->offset, len,
				   (off_t)(pages->page * PAGE_BYTES), err);
	if (rc < 0)
		err_prefix(err, "cannot fill %s", target->name);
	work_progress(fill->work, len);
	*ret_run = run;
	return rc;
}

static int segment_fill(const struct fill *fill, struct chunk_reader *reader,
			const struct plan_segment *s, uint8_t *raw, struct err *err)
{
	const struct plan_page *pages = &fill->plan.pages[s->first];
	uint8_t checked[SEGMENT_CHUNKS_MAX] = {0};
	int rc = chunk_reader_segment(reader, s->pack, s->segment, raw, err);

	for (size_t i = 0; i < s->count && rc == 0; i++)
		rc = chunk_check_at(reader, s, pages[i].offset, raw, checked, err);
	if (rc < 0) {
		err_prefix(err, "%s", fill->targets[pages->target].name);
		return rc;
	}
	for (size_t i = 0, run; i < s->count && rc == 0; i += run)
		rc = run_write(fill, pages + i, s->count - i, raw, &run, err);
	return rc;
}

static int fill_worker(size_t index, void *arg, struct err *err)
{
	struct fill *fill = arg;
	CLEANUP_FREE uint8_t *raw = malloc(SEGMENT_RAW_MAX);
	struct chunk_reader *reader;
	int rc = raw ? chunk_reader_create(fill->store, &reader, err)
		     : err_sys(err, ENOMEM, "segment");

	(void)index;
	if (rc < 0)
		return rc;
	while (rc == 0 && !fill->failed) {
		size_t at = atomic_fetch_add(&fill->next, 1);

		if (at >= fill->plan.segment_count)
			break;
		rc = segment_fill(fill, reader, &fill->plan.segments[at], raw, err);
	}
	if (rc < 0)
		fill->failed = true;
	chunk_reader_destroy(reader);
	return rc;
}

/* Give the destination the stream's size; one that has it already may be sealed or mapped, and
 * is left alone. */
static int target_resize(const struct store_target *target, struct err *err)
{
	struct stat st;

	if (target->fd < 0)
		return 0;
	if (fstat(target->fd, &st) < 0)
		return err_sys(err, errno, "cannot stat the destination of %s", target->name);
	if ((uint64_t)st.st_size != target->ref.logical_bytes &&
	    ftruncate(target->fd, (off_t)target->ref.logical_bytes) < 0)
		return err_sys(err, errno, "cannot give %s its %llu bytes", target->name,
			       (unsigned long long)target->ref.logical_bytes);
	return 0;
}

static int fill_prepare(struct fill *fill, uint64_t *ret_blocks, struct err *err)
{
	struct chunk_reader *reader = NULL;
	int rc;

	fill->leaves = calloc(fill->count + 1, sizeof(struct chunk_id *));
	rc = fill->leaves ? chunk_reader_create(fill->store, &reader, err)
			  : err_sys(err, ENOMEM, "streams");
	for (size_t i = 0; i < fill->count && rc == 0; i++) {
		const struct store_target *target = &fill->targets[i];
		uint64_t blocks = tree_blocks(target->ref.logical_bytes);

		if (blocks > *ret_blocks)
			*ret_blocks = blocks;
		rc = tree_leaves(reader, &target->ref, &fill->leaves[i], err);
		if (rc < 0)
			err_prefix(err, "%s", target->name);
		if (rc == 0)
			rc = target_resize(target, err);
	}
	chunk_reader_destroy(reader);
	return rc;
}

static int window_fill(struct fill *fill, uint64_t first, uint64_t last, struct err *err)
{
	unsigned int threads = work_threads(fill->work);
	int rc = plan_make(fill->store, fill->targets, fill->count, fill->leaves, first, last,
			   threads, &fill->plan, err);

	atomic_store(&fill->next, 0);
	fill->failed = false;
	if (rc == 0 && fill->plan.segment_count)
		rc = work_run(fill->work, threads, fill_worker, fill, err);
	plan_clear(&fill->plan);
	return rc;
}

int store_fill(struct store *store, const struct store_target *targets, size_t count,
	       const struct store_work *work, struct err *err)
{
	struct fill fill = {.store = store, .targets = targets, .count = count, .work = work};
	uint64_t blocks = 0, step = WINDOW_PAGES / NODE_FANOUT / (count ? count : 1);
	int rc;

	index_hold(store->index);
	rc = fill_prepare(&fill, &blocks, err);
	step = step ? step : 1;
	for (uint64_t first = 0; first < blocks && rc == 0; first += step) {
		int tries = 0;

		do
			rc = window_fill(&fill, first,
					 first + step < blocks ? first + step : blocks, err);
		while (chunk_read_again(store, rc, &tries, err));
	}
	rc = chunk_read_end(rc, err);
	index_drop(store->index);
	for (size_t i = 0; fill.leaves && i < count; i++)
		free(fill.leaves[i]);
	free(fill.leaves);
	return rc;
}
