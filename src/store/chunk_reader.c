/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading of single chunks by id, checked, through a cache of segments. */
#include "store/chunk_reader.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "store/chunk_hash.h"
#include "store/store_priv.h"

enum { CACHE_SEGMENTS = 64, READ_TRIES = 4 };

/* A slot of the cache, found by pack and segment; the least recently used one is replaced. */
struct cached {
	uint8_t pack_id[PACK_ID_BYTES];
	uint32_t segment;
	uint64_t used; /* 0: empty */
	uint8_t *raw;
};

struct segment_cache {
	pthread_mutex_t lock;
	uint64_t clock;
	struct cached slots[CACHE_SEGMENTS];
};

struct chunk_reader {
	struct store *store;
	struct chunk_hasher *hasher;
	uint8_t *stored, *raw;
};

struct segment_cache *segment_cache_create(void)
{
	struct segment_cache *cache = calloc(1, sizeof(*cache));

	if (cache)
		pthread_mutex_init(&cache->lock, NULL);
	return cache;
}

void segment_cache_destroy(struct segment_cache *cache)
{
	if (!cache)
		return;
	for (size_t i = 0; i < CACHE_SEGMENTS; i++)
		free(cache->slots[i].raw);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

/* Copy a part of a cached segment out; false when it is not there. */
static bool cache_copy(struct segment_cache *cache, const struct place *place, void *ret_data)
{
	bool found = false;

	pthread_mutex_lock(&cache->lock);
	for (size_t i = 0; i < CACHE_SEGMENTS && !found; i++) {
		struct cached *slot = &cache->slots[i];

		if (!slot->used || slot->segment != place->segment ||
		    memcmp(slot->pack_id, place->pack->header.id, PACK_ID_BYTES))
			continue;
		memcpy(ret_data, slot->raw + place->offset, place->bytes);
		slot->used = ++cache->clock;
		found = true;
	}
	pthread_mutex_unlock(&cache->lock);
	return found;
}

/* Put a segment in; its memory is exchanged for that of the slot. */
static void cache_put(struct segment_cache *cache, const struct place *place, uint8_t **raw)
{
	struct cached *oldest = &cache->slots[0];
	uint8_t *memory;

	pthread_mutex_lock(&cache->lock);
	for (size_t i = 1; i < CACHE_SEGMENTS; i++)
		if (cache->slots[i].used < oldest->used)
			oldest = &cache->slots[i];
	memory = oldest->raw;
	oldest->raw = *raw;
	oldest->segment = place->segment;
	memcpy(oldest->pack_id, place->pack->header.id, PACK_ID_BYTES);
	oldest->used = ++cache->clock;
	pthread_mutex_unlock(&cache->lock);
	*raw = memory;
}

int chunk_reader_create(struct store *store, struct chunk_reader **ret_reader, struct err *err)
{
	struct chunk_reader *reader = calloc(1, sizeof(*reader));
	int rc;

	if (!reader)
		return err_sys(err, ENOMEM, "reader");
	reader->store = store;
	reader->stored = malloc(SEGMENT_STORED_MAX);
	rc = reader->stored ? chunk_hasher_create(store->crypt, &reader->hasher, err)
			    : err_sys(err, ENOMEM, "reader");
	if (rc < 0)
		chunk_reader_destroy(reader);
	else
		*ret_reader = reader;
	return rc;
}

void chunk_reader_destroy(struct chunk_reader *reader)
{
	if (!reader)
		return;
	chunk_hasher_destroy(reader->hasher);
	free(reader->stored);
	free(reader->raw);
	free(reader);
}

bool chunk_find(struct store *store, const struct chunk_id *id, struct place *ret_place)
{
	struct backend *backend = store->backend;

	if (index_find(store->index, id, ret_place))
		return true;
	/* Another process may have stored it since the index was last refreshed. */
	return backend->ops->list &&
	       index_refresh(store->index, backend, store->crypt, NULL) == 0 &&
	       index_find(store->index, id, ret_place);
}

/* A pack that cannot be read, for sentences; "" if there is none. */
static void unreadable_name(const struct store *store, char ret_name[PACK_NAME_MAX])
{
	struct pack **packs = NULL;
	size_t count = 0;

	ret_name[0] = '\0';
	if (index_packs(store->index, &packs, &count, NULL) < 0)
		return;
	for (size_t i = 0; i < count && !ret_name[0]; i++)
		if (packs[i]->unreadable)
			memcpy(ret_name, packs[i]->name, PACK_NAME_MAX);
	free(packs);
}

int chunk_missing(const struct store *store, const struct chunk_id *id, struct err *err)
{
	char hex[2 * CHUNK_ID_BYTES + 1], pack[PACK_NAME_MAX];

	hex_encode(id->bytes, CHUNK_ID_BYTES, hex);
	unreadable_name(store, pack);
	if (pack[0])
		return err_set(
			err, EBADMSG,
			"chunk %.16s is in no readable pack of the store %s; pack %s cannot "
			"be read",
			hex, store->backend->where, pack);
	return err_set(err, EBADMSG, "chunk %.16s is in no readable pack of the store %s", hex,
		       store->backend->where);
}

int chunk_check(struct chunk_reader *reader, const struct pack *pack, uint32_t segment,
		const struct chunk_id *id, const void *data, size_t len, struct err *err)
{
	struct chunk_id is;
	int rc = chunk_hasher_id(reader->hasher, data, len, &is, err);

	if (rc < 0 || chunk_id_equal(&is, id))
		return rc;
	store_suspect(reader->store, pack);
	return err_set(err, EBADMSG,
		       "pack %s is damaged: a chunk of segment %" PRIu32
		       " does not match its id",
		       pack->name, segment);
}

int chunk_reader_segment(struct chunk_reader *reader, const struct pack *pack, uint32_t segment,
			 void *ret_raw, struct err *err)
{
	int rc = pack_segment_read(reader->store->backend, pack, segment, reader->stored,
				   ret_raw, err);

	if (rc == -EBADMSG)
		store_suspect(reader->store, pack);
	return rc;
}

bool chunk_read_again(struct store *store, int rc, int *tries, struct err *err)
{
	return rc == -ESTALE && ++*tries < READ_TRIES &&
	       index_refresh(store->index, store->backend, store->crypt, err) == 0;
}

int chunk_read_end(int rc, struct err *err)
{
	if (rc != -ESTALE)
		return rc;
	if (err)
		err->code = EBADMSG;
	return -EBADMSG;
}

static int chunk_read_once(struct chunk_reader *reader, const struct chunk_id *id,
			   void *ret_data, size_t *ret_len, struct err *err)
{
	struct segment_cache *cache = reader->store->cache;
	struct place place;
	int rc;

	if (!chunk_find(reader->store, id, &place))
		return chunk_missing(reader->store, id, err);
	if (!cache_copy(cache, &place, ret_data)) {
		if (!reader->raw)
			reader->raw = malloc(SEGMENT_RAW_MAX);
		if (!reader->raw)
			return err_sys(err, ENOMEM, "segment");
		rc = chunk_reader_segment(reader, place.pack, place.segment, reader->raw, err);
		if (rc < 0)
			return rc;
		memcpy(ret_data, reader->raw + place.offset, place.bytes);
		cache_put(cache, &place, &reader->raw);
	}
	*ret_len = place.bytes;
	return chunk_check(reader, place.pack, place.segment, id, ret_data, place.bytes, err);
}

int chunk_read(struct chunk_reader *reader, const struct chunk_id *id, void *ret_data,
	       size_t *ret_len, struct err *err)
{
	int rc, tries = 0;

	do
		rc = chunk_read_once(reader, id, ret_data, ret_len, err);
	while (chunk_read_again(reader->store, rc, &tries, err));
	return chunk_read_end(rc, err);
}
