/* SPDX-License-Identifier: BSD-3-Clause */
/* A pack in this process's memory: what its index says, and the reading of its segments. */
#ifndef STASIS_STORE_PACK_H
#define STASIS_STORE_PACK_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "store/backend/backend.h"
#include "store/pack_format.h"

struct pack {
	char name[PACK_NAME_MAX];
	struct pack_header header;
	uint8_t key[CRYPT_KEY_BYTES]; /* if it is encrypted */
	uint64_t bytes;
	bool unreadable; /* damaged or newer: it has no chunks here */
	bool newer;      /* of a version that this program does not know */
	/* Marks, which may be set at any time by another thread. */
	atomic_bool condemned; /* no new checkpoint may rely on it */
	atomic_bool suspect; /* damage was found in it: new checkpoints store its chunks anew */
	uint32_t segment_count, chunk_count;
	struct pack_segment *segments;
	struct pack_chunk *chunks;
};

/* Load and check all but the segments. A pack that is damaged or newer is returned, unreadable,
 * with the sentence in the log; other failures (the medium) are errors. */
int pack_load(struct backend *backend, const struct crypt *crypt, const char *name,
	      uint64_t bytes, struct pack **ret_pack, struct err *err);
void pack_destroy(struct pack *pack);

/* Read and check all but the segments of a pack once more. */
int pack_check(struct backend *backend, const struct crypt *crypt, const struct pack *pack,
	       struct err *err);

/*
 * Read a segment, check and open it: raw_bytes into ret_raw, which has room for
 * SEGMENT_RAW_MAX; `scratch` for SEGMENT_STORED_MAX. -EBADMSG names pack and segment; -ESTALE:
 * the pack is gone, and another one may have its chunks.
 */
int pack_segment_read(struct backend *backend, const struct pack *pack, uint32_t segment,
		      void *scratch, void *ret_raw, struct err *err);
/* The same from bytes that are in memory already. */
int pack_segment_open(const struct pack *pack, uint32_t segment, void *stored, void *ret_raw,
		      struct err *err);

/* "packs/<name>", for the backend. */
enum { PACK_OBJECT_MAX = PACK_NAME_MAX + 16 };
void pack_object(const char *kind, const char *name, char ret_object[PACK_OBJECT_MAX]);

#endif
