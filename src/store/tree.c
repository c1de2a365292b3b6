/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams as trees of chunks (docs/formats/tree.md): nodes, and walking them.
 *
 * A stream is cut into blocks of 256 pages; the node of a block has its pages' ids, a node
 * above has the ids of 256 nodes, up to one root. The height follows from the stream's size, so
 * nothing in a node says what it is, and equal parts of streams are equal nodes.
 */
#include "store/tree.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

enum { BITMAP_BYTES = NODE_FANOUT / 8 };

size_t node_encode(const struct node_ids *node, uint8_t ret_raw[CHUNK_BYTES_MAX])
{
	size_t len = BITMAP_BYTES;

	memset(ret_raw, 0, BITMAP_BYTES);
	for (unsigned int i = 0; i < NODE_FANOUT; i++) {
		if (chunk_id_is_zero(&node->ids[i]))
			continue;
		ret_raw[i / 8] |= (uint8_t)(1 << i % 8);
		memcpy(ret_raw + len, node->ids[i].bytes, CHUNK_ID_BYTES);
		len += CHUNK_ID_BYTES;
	}
	return len == BITMAP_BYTES ? 0 : len;
}

int node_decode(const uint8_t *raw, size_t len, uint64_t children, struct node_ids *ret_node,
		struct err *err)
{
	size_t at = BITMAP_BYTES;

	memset(ret_node, 0, sizeof(*ret_node));
	for (unsigned int i = 0; i < NODE_FANOUT && len > BITMAP_BYTES; i++) {
		if (!(raw[i / 8] >> (i % 8) & 1))
			continue;
		if (i >= children || at + CHUNK_ID_BYTES > len)
			return err_set(err, EBADMSG,
				       "a node of a stream has children out of bounds");
		memcpy(ret_node->ids[i].bytes, raw + at, CHUNK_ID_BYTES);
		at += CHUNK_ID_BYTES;
	}
	if (at != len || at == BITMAP_BYTES)
		return err_set(err, EBADMSG, "a node of a stream has a wrong length");
	return 0;
}

uint64_t tree_blocks(uint64_t logical_bytes)
{
	return (logical_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
}

unsigned int tree_pages(uint64_t logical_bytes, uint64_t block)
{
	uint64_t left = logical_bytes - block * BLOCK_BYTES;

	return left >= BLOCK_BYTES ? NODE_FANOUT
				   : (unsigned int)((left + PAGE_BYTES - 1) / PAGE_BYTES);
}

uint32_t tree_page_bytes(uint64_t logical_bytes, uint64_t page)
{
	uint64_t left = logical_bytes - page * PAGE_BYTES;

	return left >= PAGE_BYTES ? PAGE_BYTES : (uint32_t)left;
}

static int node_read(struct chunk_reader *reader, const struct chunk_id *id, uint64_t children,
		     struct node_ids *ret_node, struct err *err)
{
	uint8_t raw[CHUNK_BYTES_MAX];
	size_t len;
	int rc;

	if (chunk_id_is_zero(id)) {
		memset(ret_node, 0, sizeof(*ret_node));
		return 0;
	}
	rc = chunk_read(reader, id, raw, &len, err);
	return rc < 0 ? rc : node_decode(raw, len, children, ret_node, err);
}

int tree_leaf(struct chunk_reader *reader, const struct stream_ref *ref, uint64_t block,
	      const struct chunk_id *id, struct node_ids *ret_node, struct err *err)
{
	return node_read(reader, id, tree_pages(ref->logical_bytes, block), ret_node, err);
}

/* From the nodes of one level to those of the level below, `below` of them. */
static int level_expand(struct chunk_reader *reader, const struct chunk_id *ids, uint64_t count,
			uint64_t below, struct chunk_id *ret_ids, tree_node_fn fn, void *arg,
			struct err *err)
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t first = i * NODE_FANOUT, left = below - first;
		struct node_ids node;
		int rc = node_read(reader, &ids[i], left, &node, err);

		if (rc == 0 && fn && !chunk_id_is_zero(&ids[i]))
			rc = fn(&ids[i], arg, err);
		if (rc < 0)
			return rc;
		memcpy(ret_ids + first, node.ids,
		       (left < NODE_FANOUT ? left : NODE_FANOUT) * sizeof(*ret_ids));
	}
	return 0;
}

/* Nodes of a level, `height` levels above the blocks. */
static uint64_t level_nodes(uint64_t blocks, unsigned int height)
{
	while (height-- > 0)
		blocks = (blocks + NODE_FANOUT - 1) / NODE_FANOUT;
	return blocks;
}

int tree_inner(struct chunk_reader *reader, const struct stream_ref *ref, tree_node_fn fn,
	       void *arg, struct chunk_id **ret_leaves, struct err *err)
{
	uint64_t blocks = tree_blocks(ref->logical_bytes);
	CLEANUP_FREE struct chunk_id *ids = calloc(1, sizeof(*ids));
	unsigned int height = 0;

	*ret_leaves = NULL;
	while (level_nodes(blocks, height) > 1)
		height++;
	if (!ids)
		return err_sys(err, ENOMEM, "tree of a stream");
	*ids = ref->root;
	if (blocks == 0)
		return 0;
	for (; height > 0; height--) {
		uint64_t below = level_nodes(blocks, height - 1);
		struct chunk_id *next = calloc(below, sizeof(*next));
		int rc = next ? level_expand(reader, ids, level_nodes(blocks, height), below,
					     next, fn, arg, err)
			      : err_sys(err, ENOMEM, "tree of a stream");

		free(ids);
		ids = next;
		if (rc < 0)
			return rc;
	}
	*ret_leaves = TAKE_PTR(ids);
	return 0;
}

int tree_leaves(struct chunk_reader *reader, const struct stream_ref *ref,
		struct chunk_id **ret_leaves, struct err *err)
{
	return tree_inner(reader, ref, NULL, NULL, ret_leaves, err);
}

int tree_build(struct chunk_id *leaves, uint64_t blocks, tree_put_fn put, void *arg,
	       struct chunk_id *ret_root, struct err *err)
{
	uint64_t count = blocks;

	while (count > 1) {
		uint64_t above = (count + NODE_FANOUT - 1) / NODE_FANOUT;

		for (uint64_t i = 0; i < above; i++) {
			uint64_t first = i * NODE_FANOUT, left = count - first;
			uint8_t raw[CHUNK_BYTES_MAX];
			struct node_ids node = {0};
			size_t len;
			int rc;

			memcpy(node.ids, leaves + first,
			       (left < NODE_FANOUT ? left : NODE_FANOUT) * sizeof(*leaves));
			len = node_encode(&node, raw);
			leaves[i] = (struct chunk_id){0};
			rc = len ? put(raw, len, &leaves[i], arg, err) : 0;
			if (rc < 0)
				return rc;
		}
		count = above;
	}
	*ret_root = blocks ? leaves[0] : (struct chunk_id){0};
	return 0;
}
