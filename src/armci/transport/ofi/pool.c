/* SPDX-License-Identifier: BSD-3-Clause */
/* Items of one size, made in slabs. */
#include <stdlib.h>
#include <string.h>

#include "armci/transport/ofi/ofi.h"

enum { SLAB_BYTES = 128 << 10, SLAB_ALIGN = 64 };

struct ofi_slab {
	struct ofi_slab *next;
	struct fid_mr *mr;
	char *memory;
};

void ofi_pool_open(struct ofi_pool *pool, struct fid_domain *domain, size_t item_bytes)
{
	size_t rounded = (item_bytes + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN;

	*pool = (struct ofi_pool){.domain = domain, .item_bytes = rounded};
	pool->per_slab = rounded < SLAB_BYTES ? (unsigned)(SLAB_BYTES / rounded) : 1;
	TAILQ_INIT(&pool->free);
}

void ofi_pool_close(struct ofi_pool *pool)
{
	while (pool->slabs) {
		struct ofi_slab *slab = pool->slabs;

		pool->slabs = slab->next;
		if (slab->mr)
			fi_close(&slab->mr->fid);
		free(slab->memory);
		free(slab);
	}
	*pool = (struct ofi_pool){0};
}

static void grow(struct ofi_pool *pool)
{
	size_t bytes = pool->item_bytes * pool->per_slab;
	struct ofi_slab *slab = calloc(1, sizeof(*slab));

	if (!slab)
		return;
	slab->memory = aligned_alloc(SLAB_ALIGN, bytes);
	if (!slab->memory)
		goto out;
	if (pool->domain && fi_mr_reg(pool->domain, slab->memory, bytes, FI_SEND | FI_RECV, 0,
				      0, 0, &slab->mr, NULL) != 0)
		goto out;
	slab->next = pool->slabs;
	pool->slabs = slab;
	for (unsigned i = 0; i < pool->per_slab; i++) {
		struct ofi_item *item = (void *)(slab->memory + i * pool->item_bytes);

		memset(item, 0, sizeof(*item));
		item->desc = slab->mr ? fi_mr_desc(slab->mr) : NULL;
		TAILQ_INSERT_TAIL(&pool->free, item, queue);
	}
	return;
out:
	free(slab->memory);
	free(slab);
}

struct ofi_item *ofi_pool_get(struct ofi_pool *pool)
{
	struct ofi_item *item;

	if (TAILQ_EMPTY(&pool->free))
		grow(pool);
	item = TAILQ_FIRST(&pool->free);
	if (!item)
		return NULL;
	TAILQ_REMOVE(&pool->free, item, queue);
	item->busy = false;
	item->link = NULL;
	item->peer = NULL;
	item->context = NULL;
	item->bytes = 0;
	return item;
}

/* Last in, first out: the warmest is used next. */
void ofi_pool_put(struct ofi_pool *pool, struct ofi_item *item)
{
	TAILQ_INSERT_HEAD(&pool->free, item, queue);
}
