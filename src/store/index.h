/* SPDX-License-Identifier: BSD-3-Clause */
/* Where every chunk is: all packs of the store and one hash table over their chunks. */
#ifndef STASIS_STORE_INDEX_H
#define STASIS_STORE_INDEX_H

#include <pthread.h>

#include "store/pack.h"

struct index;

/* Where a chunk is. The pack stays in memory as long as somebody holds the index
 * (index_hold()). */
struct place {
	const struct pack *pack;
	uint32_t segment, offset, bytes;
};

struct index *index_create(void);
void index_destroy(struct index *index);

/* Between hold and drop no pack leaves memory. Held by whatever reads or writes chunks. */
void index_hold(struct index *index);
void index_drop(struct index *index);

/* Agree with the backend: load packs that are new, forget those that are gone, note which are
 * condemned or suspect. */
int index_refresh(struct index *index, struct backend *backend, const struct crypt *crypt,
		  struct err *err);

/* Take a pack over that was just written and is in the backend; it is the index's now, whatever
 * the result. */
int index_add(struct index *index, struct pack *pack, struct err *err);

/* The best place of a chunk, its home: the same for whoever knows the same packs. False if
 * there is none. */
bool index_find(struct index *index, const struct chunk_id *id, struct place *ret_place);

/* For `count` ids at once: whether a new checkpoint may rely on a stored chunk. Ids of zeros
 * are passed over. */
void index_known(struct index *index, const struct chunk_id *ids, size_t count,
		 bool *ret_known);

/* Whether there are packs at all on which no new checkpoint may rely. */
bool index_doubtful(struct index *index);

/* The packs, for those who go through all of them. The array is the caller's (free()); valid
 * while the index is held. */
int index_packs(struct index *index, struct pack ***ret_packs, size_t *ret_count,
		struct err *err);
/* Note it in memory; the backend is told by the caller. */
void index_condemn(struct index *index, const char *pack_name, bool condemned);
void index_suspect(struct index *index, const char *pack_name);

struct index_size {
	uint64_t packs, pack_bytes, chunks, chunk_bytes, memory_bytes;
};
void index_size(struct index *index, struct index_size *ret_size);

#endif
