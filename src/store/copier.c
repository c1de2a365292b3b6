/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying of chunks from packs into new ones: for collections and exports. */
#include "store/copier.h"

#include "store/store_priv.h"

int copier_create(struct store *store, struct pack_set *set, struct copier *ret_copier,
		  struct err *err)
{
	int rc;

	*ret_copier = (struct copier){.store = store, .set = set};
	rc = segment_create(true, &ret_copier->pages, err);
	if (rc == 0)
		rc = segment_create(false, &ret_copier->nodes, err);
	if (rc < 0)
		copier_destroy(ret_copier);
	return rc;
}

void copier_destroy(struct copier *copier)
{
	segment_destroy(copier->pages);
	segment_destroy(copier->nodes);
	*copier = (struct copier){0};
}

static int segment_hand_over(struct copier *copier, struct segment *segment, struct err *err)
{
	struct segment_image image;
	int rc;

	if (segment_empty(segment))
		return 0;
	segment_finish(segment, &copier->store->governor, 1, &image);
	rc = pack_set_add(copier->set, &image, err);
	segment_reset(segment);
	return rc;
}

int copier_chunk(struct copier *copier, const struct chunk_id *id, const void *data, size_t len,
		 struct err *err)
{
	/* Which it is matters for compression only. */
	struct segment *segment = len == PAGE_BYTES ? copier->pages : copier->nodes;
	int rc = segment_fits(segment, len) ? 0 : segment_hand_over(copier, segment, err);

	if (rc == 0)
		segment_add(segment, id, data, len);
	return rc;
}

int copier_flush(struct copier *copier, struct err *err)
{
	int rc = segment_hand_over(copier, copier->pages, err);

	return rc < 0 ? rc : segment_hand_over(copier, copier->nodes, err);
}
