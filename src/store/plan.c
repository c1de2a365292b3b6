/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages come out of which segments: the order of work for reading streams.
 *
 * Threads look the pages of all blocks up; then the segments are numbered in the order in which
 * they are met (a hash table), and the pages sorted by counting. So every segment is read,
 * opened and checked once, whatever number of VMs has its pages.
 */
#include "store/plan.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/parallel.h"
#include "store/store_priv.h"
#include "store/tree.h"

struct found {
	const struct pack *pack;
	uint32_t segment;
	struct plan_page page;
};

struct finding {
	struct store *store;
	const struct store_target *targets;
	size_t count;
	struct chunk_id *const *leaves;
	uint64_t first, blocks; /* items are target × blocks */
	struct found **found;   /* for each item, malloc'ed */
	uint32_t *found_count;
	atomic_size_t next;
};

static int page_missing(const struct finding *f, size_t target, uint64_t page,
			const struct chunk_id *id, struct err *err)
{
	int rc = chunk_missing(f->store, id, err);

	err_prefix(err, "%s, page %llu", f->targets[target].name, (unsigned long long)page);
	return rc;
}

static int block_find(struct finding *f, struct chunk_reader *reader, size_t item,
		      struct err *err)
{
	size_t target = item / f->blocks;
	uint64_t block = f->first + item % f->blocks;
	const struct stream_ref *ref = &f->targets[target].ref;
	struct found *found = NULL;
	struct node_ids node;
	uint32_t count = 0;
	int rc;

	if (block >= tree_blocks(ref->logical_bytes) ||
	    chunk_id_is_zero(&f->leaves[target][block]))
		return 0;
	rc = tree_leaf(reader, ref, block, &f->leaves[target][block], &node, err);
	if (rc < 0) {
		err_prefix(err, "%s", f->targets[target].name);
		return rc;
	}
	found = malloc(NODE_FANOUT * sizeof(*found));
	if (!found)
		return err_sys(err, ENOMEM, "plan");
	f->found[item] = found;
	for (unsigned int i = 0; i < NODE_FANOUT; i++) {
		uint64_t page = block * NODE_FANOUT + i;
		struct place place;

		if (chunk_id_is_zero(&node.ids[i]))
			continue;
		if (!chunk_find(f->store, &node.ids[i], &place))
			return page_missing(f, target, page, &node.ids[i], err);
		if (place.bytes != tree_page_bytes(ref->logical_bytes, page))
			return err_set(err, EBADMSG,
				       "%s, page %llu: its chunk has another size",
				       f->targets[target].name, (unsigned long long)page);
		found[count++] = (struct found){
			place.pack, place.segment, {(uint32_t)target, place.offset, page}};
	}
	f->found_count[item] = count;
	return 0;
}

static int find_worker(size_t index, void *arg, struct err *err)
{
	struct finding *f = arg;
	struct chunk_reader *reader;
	size_t item;
	int rc = chunk_reader_create(f->store, &reader, err);

	(void)index;
	if (rc < 0)
		return rc;
	while (rc == 0 && (item = atomic_fetch_add(&f->next, 1)) < f->count * f->blocks)
		rc = block_find(f, reader, item, err);
	chunk_reader_destroy(reader);
	return rc;
}

/* Numbers for segments, in the order in which they are met. */
struct numbers {
	uint32_t *slots; /* number + 1; 0: empty */
	size_t slot_count;
	struct plan_segment *segments;
	size_t count;
};

static size_t numbers_hash(const struct numbers *n, const struct pack *pack, uint32_t segment)
{
	uint64_t key = ((uintptr_t)pack >> 4) * UINT64_C(0x9e3779b97f4a7c15) + segment;

	return (size_t)((key * UINT64_C(0xbf58476d1ce4e5b9)) >> 20) & (n->slot_count - 1);
}

static size_t number_of(struct numbers *n, const struct pack *pack, uint32_t segment)
{
	size_t at = numbers_hash(n, pack, segment);

	for (; n->slots[at]; at = (at + 1) & (n->slot_count - 1)) {
		const struct plan_segment *s = &n->segments[n->slots[at] - 1];

		if (s->pack == pack && s->segment == segment)
			return n->slots[at] - 1;
	}
	n->segments[n->count] = (struct plan_segment){.pack = pack, .segment = segment};
	n->slots[at] = (uint32_t)++n->count;
	return n->count - 1;
}

static void plan_sort(struct finding *f, struct numbers *n, struct plan *plan)
{
	size_t items = f->count * f->blocks, first = 0;

	for (size_t item = 0; item < items; item++)
		for (uint32_t i = 0; i < f->found_count[item]; i++) {
			const struct found *found = &f->found[item][i];

			n->segments[number_of(n, found->pack, found->segment)].count++;
		}
	for (size_t i = 0; i < n->count; i++) {
		n->segments[i].first = first;
		first += n->segments[i].count;
		n->segments[i].count = 0;
	}
	for (size_t item = 0; item < items; item++)
		for (uint32_t i = 0; i < f->found_count[item]; i++) {
			const struct found *found = &f->found[item][i];
			struct plan_segment *s =
				&n->segments[number_of(n, found->pack, found->segment)];

			plan->pages[s->first + s->count++] = found->page;
		}
}

static int plan_fill(struct finding *f, struct plan *plan, struct err *err)
{
	struct numbers n = {.slot_count = 64};

	for (size_t item = 0; item < f->count * f->blocks; item++)
		plan->page_count += f->found_count[item];
	while (n.slot_count < 2 * plan->page_count)
		n.slot_count *= 2;
	n.slots = calloc(n.slot_count, sizeof(*n.slots));
	n.segments = calloc(plan->page_count + 1, sizeof(*n.segments));
	plan->pages = calloc(plan->page_count + 1, sizeof(*plan->pages));
	plan->segments = n.segments;
	if (!n.slots || !n.segments || !plan->pages) {
		free(n.slots);
		return err_sys(err, ENOMEM, "plan");
	}
	plan_sort(f, &n, plan);
	plan->segment_count = n.count;
	free(n.slots);
	return 0;
}

int plan_make(struct store *store, const struct store_target *targets, size_t count,
	      struct chunk_id *const *leaves, uint64_t first, uint64_t last,
	      unsigned int threads, struct plan *ret_plan, struct err *err)
{
	struct finding f = {
		.store = store,
		.targets = targets,
		.count = count,
		.leaves = leaves,
		.first = first,
		.blocks = last - first,
	};
	size_t items = count * f.blocks;
	int rc = 0;

	*ret_plan = (struct plan){0};
	f.found = calloc(items + 1, sizeof(struct found *));
	f.found_count = calloc(items + 1, sizeof(*f.found_count));
	if (!f.found || !f.found_count)
		rc = err_sys(err, ENOMEM, "plan");
	if (rc == 0)
		rc = parallel_for(threads, threads, find_worker, &f, err);
	if (rc == 0)
		rc = plan_fill(&f, ret_plan, err);
	for (size_t i = 0; f.found && i < items; i++)
		free(f.found[i]);
	free(f.found);
	free(f.found_count);
	if (rc < 0)
		plan_clear(ret_plan);
	return rc;
}

void plan_clear(struct plan *plan)
{
	free(plan->segments);
	free(plan->pages);
	*plan = (struct plan){0};
}
