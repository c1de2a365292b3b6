/* SPDX-License-Identifier: BSD-3-Clause */
/* Streams as trees of chunks (docs/formats/tree.md): nodes, and walking them. */
#ifndef STASIS_STORE_TREE_H
#define STASIS_STORE_TREE_H

#include "base/err.h"
#include "store/chunk_reader.h"

/* The ids of a node's children; one of zeros stands for nothing but zeros. */
struct node_ids {
	struct chunk_id ids[NODE_FANOUT];
};

/* A node's bytes: a bitmap of the children that are there, then their ids. Returns the length;
 * 0 for a node without children, which is not stored. */
size_t node_encode(const struct node_ids *node, uint8_t ret_raw[CHUNK_BYTES_MAX]);
/* -EBADMSG unless these are the bytes of a node with at most `children` children. Nothing but
 * the bytes is looked at. */
int node_decode(const uint8_t *raw, size_t len, uint64_t children, struct node_ids *ret_node,
		struct err *err);

/* Blocks of a stream, and pages of one of its blocks. */
uint64_t tree_blocks(uint64_t logical_bytes);
unsigned int tree_pages(uint64_t logical_bytes, uint64_t block);
/* Bytes of a page, the last one of a stream may be short. */
uint32_t tree_page_bytes(uint64_t logical_bytes, uint64_t page);

/* Ids of the nodes of all blocks, in order (malloc'ed, the caller's); NULL for no blocks. */
int tree_leaves(struct chunk_reader *reader, const struct stream_ref *ref,
		struct chunk_id **ret_leaves, struct err *err);
/* The node of a block, given its id (zeros: all zeros). */
int tree_leaf(struct chunk_reader *reader, const struct stream_ref *ref, uint64_t block,
	      const struct chunk_id *id, struct node_ids *ret_node, struct err *err);

/* Called for each node of the tree but those of blocks, with its id. */
typedef int (*tree_node_fn)(const struct chunk_id *id, void *arg, struct err *err);
int tree_inner(struct chunk_reader *reader, const struct stream_ref *ref, tree_node_fn fn,
	       void *arg, struct chunk_id **ret_leaves, struct err *err);

/* Build the levels above the blocks; `put` stores a node and gives its id. `leaves` is used up.
 */
typedef int (*tree_put_fn)(const uint8_t *raw, size_t len, struct chunk_id *ret_id, void *arg,
			   struct err *err);
int tree_build(struct chunk_id *leaves, uint64_t blocks, tree_put_fn put, void *arg,
	       struct chunk_id *ret_root, struct err *err);

#endif
