/* SPDX-License-Identifier: BSD-3-Clause */
/* A set of chunk ids: open addressing, at most half full. Ids are hashes: their bytes are the
 * key. */
#include "store/id_set.h"

#include <errno.h>
#include <stdlib.h>

enum { SLOTS_MIN = 1024 };

void id_set_clear(struct id_set *set)
{
	free(set->slots);
	*set = (struct id_set){0};
}

/* The slot that has the id, or the free one where it belongs. */
static struct chunk_id *slot_find(const struct id_set *set, const struct chunk_id *id)
{
	uint64_t key;

	memcpy(&key, id->bytes, sizeof(key));
	for (;; key++) {
		struct chunk_id *slot = &set->slots[key & (set->slot_count - 1)];

		if (chunk_id_is_zero(slot) || chunk_id_equal(slot, id))
			return slot;
	}
}

bool id_set_has(const struct id_set *set, const struct chunk_id *id)
{
	return set->slot_count && !chunk_id_is_zero(id) &&
	       !chunk_id_is_zero(slot_find(set, id));
}

static int set_grow(struct id_set *set, struct err *err)
{
	struct id_set grown = {.slot_count = set->slot_count ? 2 * set->slot_count : SLOTS_MIN};

	grown.slots = calloc(grown.slot_count, sizeof(*grown.slots));
	if (!grown.slots)
		return err_sys(err, ENOMEM, "set of chunks");
	grown.used = set->used;
	for (size_t i = 0; i < set->slot_count; i++)
		if (!chunk_id_is_zero(&set->slots[i]))
			*slot_find(&grown, &set->slots[i]) = set->slots[i];
	free(set->slots);
	*set = grown;
	return 0;
}

int id_set_add(struct id_set *set, const struct chunk_id *id, struct err *err)
{
	struct chunk_id *slot;

	if (2 * (set->used + 1) > set->slot_count) {
		int rc = set_grow(set, err);

		if (rc < 0)
			return rc;
	}
	slot = slot_find(set, id);
	if (!chunk_id_is_zero(slot))
		return 0;
	*slot = *id;
	set->used++;
	return 1;
}
