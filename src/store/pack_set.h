/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing of packs: segments go into the pack that is open; all packs of a piece of work become
 * durable, and known, together. */
#ifndef STASIS_STORE_PACK_SET_H
#define STASIS_STORE_PACK_SET_H

#include "store/index.h"
#include "store/segment.h"

struct store;
struct pack_set;

int pack_set_create(struct store *store, struct pack_set **ret_set, struct err *err);

/*
 * Append a segment. Any thread. What is appended is written later, by a thread with the
 * priority of who came first, and a failure shows in a later call.
 */
int pack_set_add(struct pack_set *set, struct segment_image *image, struct err *err);

/* Between two pieces of work: whole buffers are written, and their thread ends. By one thread.
 */
void pack_set_drain(struct pack_set *set);

/* Make all packs durable. Nothing may be added afterwards. */
int pack_set_finish(struct pack_set *set, struct err *err);
/* After finish: they are part of the store's index from now on. */
int pack_set_publish(struct pack_set *set, struct err *err);
/* Unless published, drop the pack that is not durable yet, and leave those that are to the next
 * collection. NULL is allowed. */
void pack_set_destroy(struct pack_set *set);

/* Bytes in packs so far, and time spent writing. */
uint64_t pack_set_bytes(const struct pack_set *set);
int64_t pack_set_write_ns(const struct pack_set *set);

/* A sink of one pack that goes to somebody else than the backend: `append` takes its bytes in
 * order. For exports. */
typedef int (*pack_append_fn)(const void *data, size_t len, void *arg, struct err *err);
int pack_set_create_stream(struct store *store, pack_append_fn append, void *arg,
			   struct pack_set **ret_set, struct err *err);

#endif
