/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying of chunks from packs into new ones: for collections and exports. */
#ifndef STASIS_STORE_COPIER_H
#define STASIS_STORE_COPIER_H

#include "store/chunk_reader.h"
#include "store/pack_set.h"

/* One thread's. */
struct copier {
	struct store *store;
	struct pack_set *set;
	struct segment *pages, *nodes;
};

int copier_create(struct store *store, struct pack_set *set, struct copier *ret_copier,
		  struct err *err);
void copier_destroy(struct copier *copier);

/* Checked bytes of a chunk. */
int copier_chunk(struct copier *copier, const struct chunk_id *id, const void *data, size_t len,
		 struct err *err);
/* Hand over what is gathered. */
int copier_flush(struct copier *copier, struct err *err);

#endif
