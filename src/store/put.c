/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing of streams into a transaction.
 *
 * The blocks of all streams are one list of work that threads take from in order. For each
 * block its pages are hashed, those that neither the store nor the transaction has go into the
 * thread's segment, and the block's node into its segment of nodes. When all blocks are done
 * the upper levels are built. With a base a block that did not change is its node's id and
 * nothing else is done.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "store/chunk_hash.h"
#include "store/store_txn.h"
#include "store/tree.h"
#include "store/work.h"

struct put_part {
	const struct store_source *source;
	uint64_t first_item, blocks, base_blocks;
	struct chunk_id *leaves, *base_leaves;
	atomic_int_fast64_t data_bytes; /* of pages not all zero; counted from the base's on */
};

struct put {
	struct store_txn *txn;
	const struct store_work *work;
	unsigned int threads;
	struct put_part *parts;
	size_t count;
	uint64_t items;
	atomic_uint_fast64_t next;
	atomic_bool failed;
	bool doubtful; /* a base may rely on packs on which nothing new may */
};

struct putter {
	struct put *put;
	struct chunk_reader *reader;
	struct chunk_hasher *hasher;
	struct segment *pages, *nodes;
	uint8_t *scratch;
};

static void putter_destroy(struct putter *p)
{
	chunk_reader_destroy(p->reader);
	chunk_hasher_destroy(p->hasher);
	segment_destroy(p->pages);
	segment_destroy(p->nodes);
	free(p->scratch);
}

static int putter_create(struct put *put, struct putter *p, struct err *err)
{
	struct store *store = put->txn->store;
	int rc;

	*p = (struct putter){.put = put, .scratch = malloc(BLOCK_BYTES)};
	rc = p->scratch ? chunk_reader_create(store, &p->reader, err)
			: err_sys(err, ENOMEM, "block buffer");
	if (rc == 0)
		rc = chunk_hasher_create(store->crypt, &p->hasher, err);
	if (rc == 0)
		rc = segment_create(true, &p->pages, err);
	if (rc == 0)
		rc = segment_create(false, &p->nodes, err);
	if (rc < 0)
		putter_destroy(p);
	return rc;
}

static int segment_flush(struct putter *p, struct segment *segment, struct err *err)
{
	struct store_txn *txn = p->put->txn;
	struct segment_image image;
	int64_t begin_ns = clock_mono_ns();
	int rc;

	if (segment_empty(segment))
		return 0;
	segment_finish(segment, &txn->store->governor, p->put->threads, &image);
	atomic_fetch_add(&txn->compress_ns, clock_mono_ns() - begin_ns);
	rc = pack_set_add(txn->packs, &image, err);
	segment_reset(segment);
	return rc;
}

static int chunk_put(struct putter *p, struct segment *segment, const struct chunk_id *id,
		     const void *data, size_t len, struct err *err)
{
	int rc = segment_fits(segment, len) ? 0 : segment_flush(p, segment, err);

	if (rc == 0)
		segment_add(segment, id, data, len);
	return rc;
}

/* Which of the ids must be written: neither stored nor on their way. */
static int ids_claim(struct putter *p, const struct chunk_id *ids, size_t count,
		     bool *ret_claimed, struct err *err)
{
	struct store_txn *txn = p->put->txn;
	bool known[NODE_FANOUT];
	int rc = 0;

	index_known(txn->store->index, ids, count, known);
	pthread_mutex_lock(&txn->lock);
	for (size_t i = 0; i < count && rc >= 0; i++) {
		ret_claimed[i] = false;
		if (known[i] || chunk_id_is_zero(&ids[i]))
			continue;
		rc = id_set_add(&txn->pending, &ids[i], err);
		ret_claimed[i] = rc == 1;
	}
	pthread_mutex_unlock(&txn->lock);
	return rc < 0 ? rc : 0;
}

static int node_put(const uint8_t *raw, size_t len, struct chunk_id *ret_id, void *arg,
		    struct err *err)
{
	struct putter *p = arg;
	bool claimed;
	int rc = chunk_hasher_id(p->hasher, raw, len, ret_id, err);

	if (rc == 0)
		rc = ids_claim(p, ret_id, 1, &claimed, err);
	return rc == 0 && claimed ? chunk_put(p, p->nodes, ret_id, raw, len, err) : rc;
}

static bool page_is_zero(const uint8_t *page, uint32_t len)
{
	/* A page equals itself moved by one byte, and its first byte is zero: memcmp() has the
	 * vector code. */
	return page[0] == 0 && !memcmp(page, page + 1, len - 1);
}

static bool bit(const uint8_t *bitmap, unsigned int at)
{
	return bitmap[at / 8] >> (at % 8) & 1;
}

/* Hash the pages of a block that may have changed; the ids of the others are in `node` already.
 */
static int pages_hash(struct putter *p, const uint8_t *data, uint32_t len,
		      const uint8_t *changed, struct node_ids *node, struct node_ids *ret_fresh,
		      struct err *err)
{
	int64_t begin_ns = clock_mono_ns();
	uint64_t taken = 0;
	int rc = 0;

	memset(ret_fresh, 0, sizeof(*ret_fresh));
	for (unsigned int page = 0; page * PAGE_BYTES < len && rc == 0; page++) {
		const uint8_t *at = data + (size_t)page * PAGE_BYTES;
		uint32_t bytes = len - page * PAGE_BYTES;

		if (changed && !bit(changed, page))
			continue;
		if (bytes > PAGE_BYTES)
			bytes = PAGE_BYTES;
		node->ids[page] = (struct chunk_id){0};
		if (page_is_zero(at, bytes))
			continue;
		rc = chunk_hasher_id(p->hasher, at, bytes, &ret_fresh->ids[page], err);
		node->ids[page] = ret_fresh->ids[page];
		taken += bytes;
	}
	atomic_fetch_add(&p->put->txn->hash_ns, clock_mono_ns() - begin_ns);
	atomic_fetch_add(&p->put->txn->taken_bytes, taken);
	return rc;
}

static int pages_put(struct putter *p, const uint8_t *data, uint32_t len,
		     const uint8_t *changed, struct node_ids *node, struct err *err)
{
	bool claimed[NODE_FANOUT];
	struct node_ids fresh;
	uint64_t new_bytes = 0;
	int rc = pages_hash(p, data, len, changed, node, &fresh, err);

	if (rc == 0)
		rc = ids_claim(p, fresh.ids, NODE_FANOUT, claimed, err);
	for (unsigned int page = 0; page < NODE_FANOUT && rc == 0; page++) {
		size_t at = (size_t)page * PAGE_BYTES, bytes = len - at;

		if (!claimed[page])
			continue;
		if (bytes > PAGE_BYTES)
			bytes = PAGE_BYTES;
		rc = chunk_put(p, p->pages, &fresh.ids[page], data + at, bytes, err);
		new_bytes += bytes;
	}
	atomic_fetch_add(&p->put->txn->new_bytes, new_bytes);
	return rc;
}

/* Whether the block may differ from the base, with a bitmap of the pages that may. */
static bool block_changed(const struct put_part *part, uint64_t block, uint32_t len,
			  uint8_t bitmap[NODE_FANOUT / 8])
{
	const struct store_source *source = part->source;
	uint64_t offset = block * BLOCK_BYTES, base_len = source->base->logical_bytes - offset;
	unsigned int whole = NODE_FANOUT; /* pages that are as long here as in the base */

	memset(bitmap, 0xff, NODE_FANOUT / 8);
	if (block >= part->base_blocks)
		return true;
	memset(bitmap, 0, NODE_FANOUT / 8);
	source->changed(source->arg, offset, len, bitmap);
	/* Where one of them ends inside the block and the other does not end there, too. */
	if (base_len != len && (base_len < BLOCK_BYTES || len < BLOCK_BYTES))
		whole = (unsigned int)((base_len < len ? base_len : len) / PAGE_BYTES);
	for (unsigned int page = whole; page < NODE_FANOUT; page++)
		bitmap[page / 8] |= (uint8_t)(1 << page % 8);
	for (unsigned int i = 0; i < NODE_FANOUT / 8; i++)
		if (bitmap[i])
			return true;
	return false;
}

/* Of a block's pages that are not all zero, the last of the stream as long as it is. */
static int64_t node_data_bytes(const struct node_ids *node, uint64_t logical_bytes,
			       uint64_t block)
{
	int64_t bytes = 0;

	for (unsigned int i = 0; i < NODE_FANOUT; i++)
		if (!chunk_id_is_zero(&node->ids[i]))
			bytes += tree_page_bytes(logical_bytes, block * NODE_FANOUT + i);
	return bytes;
}

/* The base's node of a block, without what lies behind the stream's end; its bytes are counted
 * off. */
static int base_node(struct putter *p, struct put_part *part, uint64_t block,
		     struct node_ids *ret_node, struct err *err)
{
	const struct stream_ref *base = part->source->base;
	unsigned int pages = tree_pages(part->source->logical_bytes, block);
	int rc = tree_leaf(p->reader, base, block, &part->base_leaves[block], ret_node, err);

	if (rc < 0)
		return rc;
	atomic_fetch_sub(&part->data_bytes,
			 node_data_bytes(ret_node, base->logical_bytes, block));
	if (pages < NODE_FANOUT)
		memset(&ret_node->ids[pages], 0,
		       (NODE_FANOUT - pages) * sizeof(ret_node->ids[0]));
	return 0;
}

/* What of a base's block is only where no new checkpoint may rely on it counts as changed: it
 * is stored anew. */
static int block_doubts(struct putter *p, const struct put_part *part, uint64_t block,
			uint8_t bitmap[NODE_FANOUT / 8], bool *ret_changed, struct err *err)
{
	struct index *index = p->put->txn->store->index;
	const struct chunk_id *leaf = &part->base_leaves[block];
	bool known[NODE_FANOUT], leaf_known;
	struct node_ids node;
	int rc;

	if (chunk_id_is_zero(leaf))
		return 0;
	rc = tree_leaf(p->reader, part->source->base, block, leaf, &node, err);
	if (rc < 0)
		return rc;
	index_known(index, leaf, 1, &leaf_known);
	index_known(index, node.ids, NODE_FANOUT, known);
	*ret_changed |= !leaf_known;
	for (unsigned int page = 0; page < NODE_FANOUT; page++) {
		if (known[page] || chunk_id_is_zero(&node.ids[page]))
			continue;
		bitmap[page / 8] |= (uint8_t)(1 << page % 8);
		*ret_changed = true;
	}
	return 0;
}

static int block_put(struct putter *p, struct put_part *part, uint64_t block, struct err *err)
{
	const struct store_source *source = part->source;
	uint64_t offset = block * BLOCK_BYTES;
	uint64_t left = source->logical_bytes - offset;
	uint32_t len = left < BLOCK_BYTES ? (uint32_t)left : BLOCK_BYTES;
	uint8_t bitmap[NODE_FANOUT / 8], raw[CHUNK_BYTES_MAX];
	struct node_ids node = {0};
	const void *data;
	size_t raw_len;
	bool changed = !source->base || block_changed(part, block, len, bitmap);
	int rc = 0;

	if (source->base && block < part->base_blocks && p->put->doubtful)
		rc = block_doubts(p, part, block, bitmap, &changed, err);
	if (rc == 0 && !changed)
		part->leaves[block] = part->base_leaves[block];
	if (rc < 0 || !changed)
		return rc;
	if (!source->base && source->next_data(source->arg, offset) >= offset + len)
		return 0;
	if (source->base && block < part->base_blocks)
		rc = base_node(p, part, block, &node, err);
	if (rc == 0)
		rc = source->block(source->arg, offset, len, p->scratch, &data, err);
	if (rc == 0)
		rc = pages_put(p, data, len, source->base ? bitmap : NULL, &node, err);
	if (rc < 0)
		return rc;
	atomic_fetch_add(&part->data_bytes,
			 node_data_bytes(&node, source->logical_bytes, block));
	raw_len = node_encode(&node, raw);
	return raw_len ? node_put(raw, raw_len, &part->leaves[block], p, err) : 0;
}

static struct put_part *item_part(struct put *put, uint64_t item)
{
	size_t at = put->count - 1;

	while (put->parts[at].first_item > item)
		at--;
	return &put->parts[at];
}

static int put_items(struct putter *p, struct err *err)
{
	struct put *put = p->put;
	int rc = 0;

	while (rc == 0 && !put->failed) {
		uint64_t item = atomic_fetch_add(&put->next, 1);
		struct put_part *part;
		uint64_t block;

		if (item >= put->items)
			break;
		part = item_part(put, item);
		block = item - part->first_item;
		rc = block_put(p, part, block, err);
		if (rc == 0)
			work_progress(put->work, block + 1 < part->blocks
							 ? BLOCK_BYTES
							 : part->source->logical_bytes -
								   block * BLOCK_BYTES);
	}
	return rc;
}

static int putter_flush(struct putter *p, struct err *err)
{
	int rc = segment_flush(p, p->pages, err);

	return rc < 0 ? rc : segment_flush(p, p->nodes, err);
}

static int put_worker(size_t index, void *arg, struct err *err)
{
	struct put *put = arg;
	struct putter p;
	int rc = putter_create(put, &p, err);

	(void)index;
	if (rc == 0) {
		rc = put_items(&p, err);
		if (rc == 0)
			rc = putter_flush(&p, err);
		putter_destroy(&p);
	}
	if (rc < 0)
		put->failed = true;
	return rc;
}

/* The base's blocks; those that the stream has no more are counted off. */
static int base_prepare(struct chunk_reader *reader, struct put_part *part, struct err *err)
{
	const struct stream_ref *base = part->source->base;
	int rc = tree_leaves(reader, base, &part->base_leaves, err);

	part->base_blocks = tree_blocks(base->logical_bytes);
	part->data_bytes = (int64_t)base->data_bytes;
	for (uint64_t block = part->blocks; rc == 0 && block < part->base_blocks; block++) {
		struct node_ids node;

		rc = tree_leaf(reader, base, block, &part->base_leaves[block], &node, err);
		if (rc == 0)
			part->data_bytes -= node_data_bytes(&node, base->logical_bytes, block);
	}
	return rc;
}

static int put_prepare(struct put *put, const struct store_part *parts, struct err *err)
{
	struct chunk_reader *reader = NULL;
	int rc;

	put->parts = calloc(put->count + 1, sizeof(*put->parts));
	if (!put->parts)
		return err_sys(err, ENOMEM, "streams");
	put->doubtful = index_doubtful(put->txn->store->index);
	rc = chunk_reader_create(put->txn->store, &reader, err);
	for (size_t i = 0; i < put->count && rc == 0; i++) {
		const struct store_source *source = parts[i].source;
		struct put_part *part = &put->parts[i];

		if (source->logical_bytes > STREAM_BYTES_MAX)
			rc = err_set(err, EFBIG,
				     "%" PRIu64 " bytes are more than a stream can hold",
				     source->logical_bytes);
		part->source = source;
		part->first_item = put->items;
		part->blocks = tree_blocks(source->logical_bytes);
		put->items += part->blocks;
		part->leaves = calloc(part->blocks + 1, sizeof(*part->leaves));
		if (rc == 0 && !part->leaves)
			rc = err_sys(err, ENOMEM, "streams");
		if (rc == 0 && source->base)
			rc = base_prepare(reader, part, err);
	}
	chunk_reader_destroy(reader);
	return rc;
}

/* The levels above the blocks, and the references. */
static int put_roots(struct put *put, struct store_part *parts, struct err *err)
{
	struct putter p;
	int rc = putter_create(put, &p, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < put->count && rc == 0; i++) {
		struct put_part *part = &put->parts[i];
		struct stream_ref *ref = &parts[i].ref;

		*ref = (struct stream_ref){
			.logical_bytes = part->source->logical_bytes,
			.data_bytes = (uint64_t)part->data_bytes,
		};
		rc = tree_build(part->leaves, part->blocks, node_put, &p, &ref->root, err);
		if (rc == 0)
			rc = txn_note_stream(put->txn, ref, err);
		atomic_fetch_add(&put->txn->logical_bytes, ref->logical_bytes);
		atomic_fetch_add(&put->txn->data_bytes, ref->data_bytes);
	}
	if (rc == 0)
		rc = putter_flush(&p, err);
	putter_destroy(&p);
	return rc;
}

int store_txn_put(struct store_txn *txn, struct store_part *parts, size_t count,
		  const struct store_work *work, struct err *err)
{
	struct put put = {
		.txn = txn, .work = work, .threads = work_threads(work), .count = count};
	int rc = put_prepare(&put, parts, err);

	txn->threads = put.threads;
	if (rc == 0 && put.items) {
		unsigned int workers =
			put.threads < put.items ? put.threads : (unsigned int)put.items;

		rc = work_run(work, workers, put_worker, &put, err);
	}
	if (rc == 0)
		rc = put_roots(&put, parts, err);
	pack_set_drain(txn->packs);
	for (size_t i = 0; put.parts && i < count; i++) {
		free(put.parts[i].leaves);
		free(put.parts[i].base_leaves);
	}
	free(put.parts);
	if (rc < 0) {
		txn->failed = true;
		store_explain_space(txn->store, rc, "a checkpoint", put.items * BLOCK_BYTES,
				    err);
	}
	return rc;
}
