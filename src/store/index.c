/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where every chunk is: all packs of the store and one hash table over their chunks.
 *
 * The table is open addressing over (pack, chunk) numbers, never more than half full. A chunk
 * may be in several packs; each has a slot. A pack that goes leaves the table at once, and
 * memory when nobody holds the index any more. Chunk ids are hashes already: their first bytes
 * are the key.
 */
#include "store/index.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define SLOT_EMPTY UINT64_MAX

enum { SLOTS_MIN = 1024 };

struct index {
	/* Taken by whoever brings packs in, before `lock`: a pack that is added while another
	 * thread lists the backend would else look as if it were gone. */
	pthread_mutex_t intake;
	pthread_rwlock_t lock;
	struct pack **packs; /* a number is its place here; NULL: free */
	size_t pack_room;
	uint64_t *slots; /* pack number << 32 | chunk number */
	size_t slot_count, used;
	size_t holders;
	struct pack **gone; /* wait for the holders */
	size_t gone_count;
};

struct index *index_create(void)
{
	struct index *index = calloc(1, sizeof(*index));

	if (index) {
		pthread_mutex_init(&index->intake, NULL);
		pthread_rwlock_init(&index->lock, NULL);
	}
	return index;
}

static void gone_free(struct index *index)
{
	for (size_t i = 0; i < index->gone_count; i++)
		pack_destroy(index->gone[i]);
	free(index->gone);
	index->gone = NULL;
	index->gone_count = 0;
}

void index_destroy(struct index *index)
{
	if (!index)
		return;
	gone_free(index);
	for (size_t i = 0; i < index->pack_room; i++)
		pack_destroy(index->packs[i]);
	free(index->packs);
	free(index->slots);
	pthread_rwlock_destroy(&index->lock);
	pthread_mutex_destroy(&index->intake);
	free(index);
}

void index_hold(struct index *index)
{
	pthread_rwlock_wrlock(&index->lock);
	index->holders++;
	pthread_rwlock_unlock(&index->lock);
}

void index_drop(struct index *index)
{
	pthread_rwlock_wrlock(&index->lock);
	if (--index->holders == 0)
		gone_free(index);
	pthread_rwlock_unlock(&index->lock);
}

static size_t slot_first(const struct index *index, const struct chunk_id *id)
{
	uint64_t key;

	memcpy(&key, id->bytes, sizeof(key));
	return key & (index->slot_count - 1);
}

static const struct pack_chunk *slot_chunk(const struct index *index, uint64_t slot)
{
	return &index->packs[slot >> 32]->chunks[slot & UINT32_MAX];
}

static void slot_put(struct index *index, size_t pack, uint32_t chunk)
{
	size_t at = slot_first(index, &index->packs[pack]->chunks[chunk].id);

	while (index->slots[at] != SLOT_EMPTY)
		at = (at + 1) & (index->slot_count - 1);
	index->slots[at] = (uint64_t)pack << 32 | chunk;
	index->used++;
}

static void pack_put(struct index *index, size_t number)
{
	for (uint32_t i = 0; i < index->packs[number]->chunk_count; i++)
		slot_put(index, number, i);
}

/* Make the table anew, with room for `more` chunks beyond those of the packs. */
static int table_make(struct index *index, size_t more, struct err *err)
{
	size_t count = SLOTS_MIN, chunks = more;
	uint64_t *slots;

	for (size_t i = 0; i < index->pack_room; i++)
		chunks += index->packs[i] ? index->packs[i]->chunk_count : 0;
	while (count < 2 * chunks)
		count *= 2;
	slots = malloc(count * sizeof(*slots));
	if (!slots)
		return err_sys(err, ENOMEM, "index of the store");
	memset(slots, 0xff, count * sizeof(*slots));
	free(index->slots);
	index->slots = slots;
	index->slot_count = count;
	index->used = 0;
	for (size_t i = 0; i < index->pack_room; i++)
		if (index->packs[i])
			pack_put(index, i);
	return 0;
}

static int room_find(struct index *index, size_t *ret_number, struct err *err)
{
	struct pack **grown;
	size_t at = 0;

	while (at < index->pack_room && index->packs[at])
		at++;
	*ret_number = at;
	if (at < index->pack_room)
		return 0;
	grown = reallocarray(index->packs, 2 * at + 16, sizeof(struct pack *));
	if (!grown)
		return err_sys(err, ENOMEM, "index of the store");
	memset(grown + at, 0, (at + 16) * sizeof(struct pack *));
	index->packs = grown;
	index->pack_room = 2 * at + 16;
	return 0;
}

static struct pack *pack_named(const struct index *index, const char *name)
{
	for (size_t i = 0; i < index->pack_room; i++)
		if (index->packs[i] && !strcmp(index->packs[i]->name, name))
			return index->packs[i];
	return NULL;
}

/* Lock held. Another thread may have brought the same pack in. */
static int add_locked(struct index *index, struct pack *pack, struct err *err)
{
	size_t number;
	int rc;

	if (pack_named(index, pack->name)) {
		pack_destroy(pack);
		return 0;
	}
	rc = room_find(index, &number, err);
	if (rc == 0 && 2 * (index->used + pack->chunk_count) > index->slot_count)
		rc = table_make(index, pack->chunk_count, err);
	if (rc < 0) {
		pack_destroy(pack);
		return rc;
	}
	index->packs[number] = pack;
	pack_put(index, number);
	return 0;
}

int index_add(struct index *index, struct pack *pack, struct err *err)
{
	int rc;

	pthread_mutex_lock(&index->intake);
	pthread_rwlock_wrlock(&index->lock);
	rc = add_locked(index, pack, err);
	pthread_rwlock_unlock(&index->lock);
	pthread_mutex_unlock(&index->intake);
	return rc;
}

enum { GRADE_GOOD = 4 };

/* How good a pack is as the home of a chunk. One that is condemned is whole, and stays if
 * something needed is at home in it; a suspect one may have lost it. */
static int pack_grade(const struct pack *pack)
{
	return GRADE_GOOD - (pack->condemned ? 1 : 0) - (pack->suspect ? 2 : 0);
}

static bool pack_better(const struct pack *pack, const struct pack *than)
{
	int grade = pack_grade(pack), other = pack_grade(than);

	return grade > other || (grade == other && strcmp(pack->name, than->name) < 0);
}

/* Lock held. */
static bool find_locked(const struct index *index, const struct chunk_id *id,
			struct place *ret_place)
{
	const struct pack *best = NULL;
	size_t at;

	if (index->slot_count == 0)
		return false;
	for (at = slot_first(index, id); index->slots[at] != SLOT_EMPTY;
	     at = (at + 1) & (index->slot_count - 1)) {
		const struct pack_chunk *chunk = slot_chunk(index, index->slots[at]);
		const struct pack *pack = index->packs[index->slots[at] >> 32];

		if (!chunk_id_equal(&chunk->id, id) || (best && !pack_better(pack, best)))
			continue;
		best = pack;
		*ret_place = (struct place){pack, chunk->segment, chunk->offset, chunk->bytes};
	}
	return best;
}

/* Lock held: whether a good pack has it. */
static bool known_locked(const struct index *index, const struct chunk_id *id)
{
	size_t at;

	if (index->slot_count == 0)
		return false;
	for (at = slot_first(index, id); index->slots[at] != SLOT_EMPTY;
	     at = (at + 1) & (index->slot_count - 1))
		if (chunk_id_equal(&slot_chunk(index, index->slots[at])->id, id) &&
		    pack_grade(index->packs[index->slots[at] >> 32]) == GRADE_GOOD)
			return true;
	return false;
}

bool index_find(struct index *index, const struct chunk_id *id, struct place *ret_place)
{
	bool found;

	pthread_rwlock_rdlock(&index->lock);
	found = find_locked(index, id, ret_place);
	pthread_rwlock_unlock(&index->lock);
	return found;
}

void index_known(struct index *index, const struct chunk_id *ids, size_t count, bool *ret_known)
{
	pthread_rwlock_rdlock(&index->lock);
	for (size_t i = 0; i < count; i++)
		ret_known[i] = !chunk_id_is_zero(&ids[i]) && known_locked(index, &ids[i]);
	pthread_rwlock_unlock(&index->lock);
}

bool index_doubtful(struct index *index)
{
	bool doubtful = false;

	pthread_rwlock_rdlock(&index->lock);
	for (size_t i = 0; i < index->pack_room && !doubtful; i++)
		doubtful = index->packs[i] && pack_grade(index->packs[i]) < GRADE_GOOD;
	pthread_rwlock_unlock(&index->lock);
	return doubtful;
}

int index_packs(struct index *index, struct pack ***ret_packs, size_t *ret_count,
		struct err *err)
{
	struct pack **packs;
	size_t count = 0;

	pthread_rwlock_rdlock(&index->lock);
	packs = calloc(index->pack_room + 1, sizeof(struct pack *));
	for (size_t i = 0; packs && i < index->pack_room; i++)
		if (index->packs[i])
			packs[count++] = index->packs[i];
	pthread_rwlock_unlock(&index->lock);
	if (!packs)
		return err_sys(err, ENOMEM, "list of packs");
	*ret_packs = packs;
	*ret_count = count;
	return 0;
}

void index_condemn(struct index *index, const char *pack_name, bool condemned)
{
	struct pack *pack;

	pthread_rwlock_wrlock(&index->lock);
	pack = pack_named(index, pack_name);
	if (pack)
		pack->condemned = condemned;
	pthread_rwlock_unlock(&index->lock);
}

void index_suspect(struct index *index, const char *pack_name)
{
	struct pack *pack;

	pthread_rwlock_wrlock(&index->lock);
	pack = pack_named(index, pack_name);
	if (pack)
		pack->suspect = true;
	pthread_rwlock_unlock(&index->lock);
}

void index_size(struct index *index, struct index_size *ret_size)
{
	*ret_size = (struct index_size){0};
	pthread_rwlock_rdlock(&index->lock);
	ret_size->memory_bytes = index->slot_count * sizeof(*index->slots) +
				 index->pack_room * sizeof(struct pack *);
	for (size_t i = 0; i < index->pack_room; i++) {
		const struct pack *pack = index->packs[i];

		if (!pack)
			continue;
		ret_size->packs++;
		ret_size->pack_bytes += pack->bytes;
		ret_size->chunks += pack->chunk_count;
		for (uint32_t s = 0; s < pack->segment_count; s++)
			ret_size->chunk_bytes += pack->segments[s].raw_bytes;
		ret_size->memory_bytes += sizeof(*pack) +
					  pack->segment_count * sizeof(*pack->segments) +
					  pack->chunk_count * sizeof(*pack->chunks);
	}
	pthread_rwlock_unlock(&index->lock);
}

/* Refreshing: what the backend has. */

struct seen {
	char name[PACK_NAME_MAX];
	uint64_t bytes;
	bool condemned, suspect;
};

struct listing {
	struct seen *items;
	size_t count, room;
};

static int seen_compare(const void *a, const void *b)
{
	return strcmp(((const struct seen *)a)->name, ((const struct seen *)b)->name);
}

static struct seen *seen_find(const struct listing *listing, const char *name)
{
	struct seen key = {0};

	strncpy(key.name, name, sizeof(key.name) - 1);
	return listing->count ? bsearch(&key, listing->items, listing->count,
					sizeof(*listing->items), seen_compare)
			      : NULL;
}

static int list_pack(const char *name, const struct backend_stat *stat, void *arg,
		     struct err *err)
{
	struct listing *listing = arg;
	uint8_t id[PACK_ID_BYTES];

	if (!pack_name_parse(name, id))
		return 0;
	if (listing->count == listing->room) {
		size_t room = listing->room ? 2 * listing->room : 64;
		struct seen *more = reallocarray(listing->items, room, sizeof(*more));

		if (!more)
			return err_sys(err, ENOMEM, "list of packs");
		listing->items = more;
		listing->room = room;
	}
	listing->items[listing->count] = (struct seen){.bytes = stat->bytes};
	memcpy(listing->items[listing->count++].name, name, PACK_NAME_MAX);
	return 0;
}

/* Lock held: forget what is gone, mark what stays; what is known is marked in the listing by
 * bytes of UINT64_MAX. */
static int known_settle(struct index *index, struct listing *listing, struct err *err)
{
	bool changed = false;

	for (size_t i = 0; i < index->pack_room; i++) {
		struct pack *pack = index->packs[i];
		struct seen *seen = pack ? seen_find(listing, pack->name) : NULL;
		struct pack **gone;

		/* One of another size was damaged meanwhile: it is loaded, or refused, anew. */
		if (seen && seen->bytes != pack->bytes)
			seen = NULL;
		if (seen) {
			pack->condemned = seen->condemned;
			pack->suspect = seen->suspect;
			seen->bytes = UINT64_MAX;
		}
		if (!pack || seen)
			continue;
		gone = reallocarray(index->gone, index->gone_count + 1, sizeof(struct pack *));
		if (!gone)
			return err_sys(err, ENOMEM, "index of the store");
		index->gone = gone;
		index->gone[index->gone_count++] = pack;
		index->packs[i] = NULL;
		changed = true;
	}
	if (index->holders == 0)
		gone_free(index);
	return changed || !index->slots ? table_make(index, 0, err) : 0;
}

static int new_load(struct index *index, struct backend *backend, const struct crypt *crypt,
		    const struct listing *listing, struct err *err)
{
	for (size_t i = 0; i < listing->count; i++) {
		const struct seen *seen = &listing->items[i];
		struct pack *pack;
		int rc;

		if (seen->bytes == UINT64_MAX)
			continue;
		rc = pack_load(backend, crypt, seen->name, seen->bytes, &pack, err);
		if (rc == -ENOENT) /* removed since it was listed */
			continue;
		if (rc < 0)
			return rc;
		pack->condemned = seen->condemned;
		pack->suspect = seen->suspect;
		pthread_rwlock_wrlock(&index->lock);
		rc = add_locked(index, pack, err);
		pthread_rwlock_unlock(&index->lock);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The objects of a kind that have names of packs, sorted. */
static int list_kind(struct backend *backend, const char *kind, struct listing *ret_listing,
		     struct err *err)
{
	int rc = backend->ops->list(backend, kind, list_pack, ret_listing, err);

	if (rc == 0 && ret_listing->count)
		qsort(ret_listing->items, ret_listing->count, sizeof(*ret_listing->items),
		      seen_compare);
	return rc;
}

/*
 * The marks are listed before the packs. A collection deletes a pack first and its mark after
 * that: so a pack that is seen here without a mark was not condemned when the marks were
 * listed.
 */
static int list_all(struct backend *backend, struct listing *ret_packs, struct err *err)
{
	struct listing condemned = {0}, suspect = {0};
	int rc = list_kind(backend, "condemned", &condemned, err);

	if (rc == 0)
		rc = list_kind(backend, "suspect", &suspect, err);
	if (rc == 0)
		rc = list_kind(backend, "packs", ret_packs, err);
	for (size_t i = 0; rc == 0 && i < ret_packs->count; i++) {
		struct seen *seen = &ret_packs->items[i];

		seen->condemned = seen_find(&condemned, seen->name);
		seen->suspect = seen_find(&suspect, seen->name);
	}
	free(condemned.items);
	free(suspect.items);
	return rc;
}

int index_refresh(struct index *index, struct backend *backend, const struct crypt *crypt,
		  struct err *err)
{
	struct listing listing = {0};
	int rc;

	pthread_mutex_lock(&index->intake);
	rc = list_all(backend, &listing, err);
	if (rc == 0) {
		pthread_rwlock_wrlock(&index->lock);
		rc = known_settle(index, &listing, err);
		pthread_rwlock_unlock(&index->lock);
	}
	if (rc == 0)
		rc = new_load(index, backend, crypt, &listing, err);
	pthread_mutex_unlock(&index->intake);
	free(listing.items);
	return rc;
}
