/* SPDX-License-Identifier: BSD-3-Clause */
/* Which pages come out of which segments: the order of work for reading streams. */
#ifndef STASIS_STORE_PLAN_H
#define STASIS_STORE_PLAN_H

#include "store/chunk_reader.h"
#include "store/store.h"

/* A page of a target, and where it is in its segment. */
struct plan_page {
	uint32_t target;
	uint32_t offset; /* in the segment's raw bytes */
	uint64_t page;
};

/* A segment, and the pages that come out of it: plan->pages[first … first + count - 1], in the
 * order of targets and pages. */
struct plan_segment {
	const struct pack *pack;
	uint32_t segment;
	size_t first, count;
};

struct plan {
	struct plan_segment *segments;
	size_t segment_count;
	struct plan_page *pages;
	size_t page_count;
};

/* For blocks first … last - 1 of all targets (of those that have them). `leaves` are the ids of
 * each target's blocks. Every page is in some pack, or -EBADMSG. The index must be held. */
int plan_make(struct store *store, const struct store_target *targets, size_t count,
	      struct chunk_id *const *leaves, uint64_t first, uint64_t last,
	      unsigned int threads, struct plan *ret_plan, struct err *err);
void plan_clear(struct plan *plan);

#endif
