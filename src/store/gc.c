/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Collection of garbage, beside writers and readers of any host, without a lock.
 *
 * A transaction first makes its lease, then looks at what is condemned, and from then on relies
 * on no condemned pack. A collection marks what the manifests need, condemns packs that nobody
 * needs, and then looks at the leases: only they may have relied on the pack before it was
 * condemned. When all of them have ended the manifests are looked at once more, and the pack is
 * reprieved if it is needed after all. If not there may still be readers that began when nobody
 * but this pack had a chunk: so the leases are looked at once more, and when they have ended,
 * too, the pack is deleted. Round and leases stand in the object condemned/<pack>, so that a
 * later collection, of whatever process, goes on.
 *
 * There is one collection at a time: else one could delete what another one has just reprieved,
 * or each could keep another one of two packs. A collection that finds another one's lease
 * gives up; of two that find each other's both do, to try again.
 *
 * What is relied on by way of a checkpoint is marked as long as its manifest is there:
 * removal.c.
 *
 * A pack with little that is alive, or one of many small ones, is emptied: its living chunks
 * are written into a new pack, and then it is one that nobody needs. Killed anywhere, a
 * collection leaves chunks in two packs, or packs condemned: both are for the next one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "store/copier.h"
#include "store/lease.h"
#include "store/mark.h"
#include "store/removal.h"
#include "store/work.h"

enum {
	SMALL_PACK_BYTES = 4 << 20,
	SMALL_PACKS_MAX = 16,
	NOTE_BYTES_MAX = 1 << 20,
	TRIES = 5,
	TRY_AFTER_MS = 50, /* at least, and at most twice as long for each try */
};

static const char round_one[] = "round 1\n", round_two[] = "round 2\n";

/* Packs of which less than half is needed are emptied. */
static bool mostly_dead(uint64_t live_bytes, uint64_t all_bytes)
{
	return live_bytes < all_bytes / 2;
}

struct judged {
	struct pack *pack;
	uint64_t live_bytes, all_bytes; /* of chunks */
	bool empty_it;
};

struct gc {
	struct store *store;
	struct store_lease *lease; /* its own, for which it does not wait */
	struct mark mark;
	struct judged *packs;
	size_t count;
	struct store_gc_report *report;
};

/* Whether a chunk is alive and at home in this pack: of several places one is home. */
static bool at_home(struct gc *gc, const struct pack *pack, const struct pack_chunk *chunk)
{
	struct place place;

	return id_set_has(&gc->mark.live, &chunk->id) &&
	       index_find(gc->store->index, &chunk->id, &place) && place.pack == pack;
}

/* Whether all that the manifests need is in packs that can be read. */
static bool all_found(struct gc *gc)
{
	const struct id_set *live = &gc->mark.live;
	struct place place;

	for (size_t i = 0; i < live->slot_count; i++)
		if (!chunk_id_is_zero(&live->slots[i]) &&
		    !index_find(gc->store->index, &live->slots[i], &place))
			return false;
	return !gc->mark.partly;
}

/* Whether a living chunk is nowhere else, except perhaps in condemned packs. What a damaged
 * pack had is not known: it is needed as long as anything is missing. */
static bool needed(struct gc *gc, const struct pack *pack)
{
	if (pack->unreadable)
		return pack->newer || !all_found(gc);
	for (uint32_t i = 0; i < pack->chunk_count; i++)
		if (at_home(gc, pack, &pack->chunks[i]))
			return true;
	return false;
}

static void pack_judge(struct gc *gc, struct judged *judged)
{
	for (uint32_t i = 0; i < judged->pack->chunk_count; i++) {
		const struct pack_chunk *chunk = &judged->pack->chunks[i];

		judged->all_bytes += chunk->bytes;
		judged->live_bytes += at_home(gc, judged->pack, chunk) ? chunk->bytes : 0;
	}
}

/* Which packs to empty. A single small pack is left alone, many are put together. */
static void packs_choose(struct gc *gc)
{
	size_t small = 0;

	for (size_t i = 0; i < gc->count; i++)
		small += gc->packs[i].pack->bytes < SMALL_PACK_BYTES &&
			 !gc->packs[i].pack->condemned;
	for (size_t i = 0; i < gc->count; i++) {
		struct judged *judged = &gc->packs[i];
		const struct pack *pack = judged->pack;

		if (pack->unreadable || pack->condemned || pack->suspect ||
		    judged->live_bytes == 0)
			continue;
		judged->empty_it = mostly_dead(judged->live_bytes, judged->all_bytes) ||
				   (small > SMALL_PACKS_MAX && pack->bytes < SMALL_PACK_BYTES);
	}
}

static int packs_judge(struct gc *gc, struct err *err)
{
	struct pack **packs;
	int rc = index_packs(gc->store->index, &packs, &gc->count, err);

	if (rc < 0)
		return rc;
	gc->packs = calloc(gc->count + 1, sizeof(*gc->packs));
	for (size_t i = 0; gc->packs && i < gc->count; i++) {
		gc->packs[i].pack = packs[i];
		pack_judge(gc, &gc->packs[i]);
		gc->report->live_bytes += gc->packs[i].live_bytes;
	}
	free(packs);
	if (!gc->packs)
		return err_sys(err, ENOMEM, "list of packs");
	gc->report->packs = gc->count;
	packs_choose(gc);
	return 0;
}

static int segment_rescue(struct gc *gc, struct copier *copier, const struct pack *pack,
			  uint32_t number, uint8_t *raw, struct err *err)
{
	const struct pack_segment *segment = &pack->segments[number];
	const struct pack_chunk *chunks = &pack->chunks[segment->first_chunk];
	bool read = false;
	int rc = 0;

	for (uint32_t i = 0; i < segment->chunk_count && rc == 0; i++) {
		const uint8_t *data = raw + chunks[i].offset;

		if (!at_home(gc, pack, &chunks[i]))
			continue;
		if (!read)
			rc = chunk_reader_segment(gc->mark.reader, pack, number, raw, err);
		read = true;
		if (rc == 0)
			rc = chunk_check(gc->mark.reader, pack, number, &chunks[i].id, data,
					 chunks[i].bytes, err);
		if (rc == 0)
			rc = copier_chunk(copier, &chunks[i].id, data, chunks[i].bytes, err);
	}
	return rc;
}

/* Write what is alive in the chosen packs into new ones. A damaged pack is left as it is. */
static int packs_empty(struct gc *gc, struct copier *copier, struct err *err)
{
	CLEANUP_FREE uint8_t *raw = malloc(SEGMENT_RAW_MAX);
	int rc = raw ? 0 : err_sys(err, ENOMEM, "segment");

	for (size_t i = 0; i < gc->count && rc == 0; i++) {
		struct judged *judged = &gc->packs[i];

		for (uint32_t s = 0;
		     judged->empty_it && s < judged->pack->segment_count && rc == 0; s++)
			rc = segment_rescue(gc, copier, judged->pack, s, raw, err);
		if (rc == -EBADMSG || rc == -ESTALE) {
			log_warn("left alone: %s", err ? err->msg : "a damaged pack");
			judged->empty_it = false;
			rc = 0;
		}
		gc->report->rewritten += judged->empty_it;
	}
	return rc < 0 ? rc : copier_flush(copier, err);
}

/* There is no room to write anything anew: what is dead as a whole goes all the same. */
static int packs_leave(struct gc *gc)
{
	log_warn(
		"store=%s has no room for what is needed of mostly dead packs: they are left to "
		"the next collection",
		gc->store->backend->where);
	for (size_t i = 0; i < gc->count; i++)
		gc->packs[i].empty_it = false;
	gc->report->rewritten = 0;
	return 0;
}

static int packs_rewrite(struct gc *gc, struct err *err)
{
	struct pack_set *set;
	struct copier copier;
	bool any = false;
	int rc;

	for (size_t i = 0; i < gc->count; i++)
		any |= gc->packs[i].empty_it;
	if (!any)
		return 0;
	rc = pack_set_create(gc->store, &set, err);
	if (rc < 0)
		return rc;
	rc = copier_create(gc->store, set, &copier, err);
	if (rc == 0) {
		rc = packs_empty(gc, &copier, err);
		copier_destroy(&copier);
	}
	if (rc == 0)
		rc = pack_set_finish(set, err);
	if (rc == 0)
		rc = fault_hit(FAULT_GC_REWRITTEN, err);
	if (rc == 0)
		rc = pack_set_publish(set, err);
	pack_set_destroy(set);
	return rc == -ENOSPC || rc == -EDQUOT ? packs_leave(gc) : rc;
}

static int packs_condemn(struct gc *gc, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < gc->count && rc == 0; i++) {
		struct judged *judged = &gc->packs[i];
		char object[PACK_OBJECT_MAX];

		if (judged->pack->condemned || (needed(gc, judged->pack) && !judged->empty_it))
			continue;
		pack_object("condemned", judged->pack->name, object);
		rc = backend_put(gc->store->backend, object, "", 0, err);
		if (rc == 0)
			rc = fault_hit(FAULT_GC_CONDEMNED, err);
		index_condemn(gc->store->index, judged->pack->name, true);
		gc->report->condemned++;
	}
	return rc;
}

static int pack_reprieve(struct gc *gc, const struct pack *pack, struct err *err)
{
	struct backend *backend = gc->store->backend;
	char object[PACK_OBJECT_MAX];
	int rc = fault_hit(FAULT_GC_DELETED, err);

	pack_object("condemned", pack->name, object);
	if (rc == 0)
		rc = backend->ops->remove(backend, object, err);
	if (rc == 0)
		index_condemn(gc->store->index, pack->name, false);
	return rc;
}

static int pack_delete(struct gc *gc, const struct pack *pack, struct err *err)
{
	static const char *const kinds[] = {"packs", "condemned", "suspect"};
	struct backend *backend = gc->store->backend;
	int rc = fault_hit(FAULT_GC_DELETE, err);

	/* Whoever stood still so long that others took the lease for dead must not delete. */
	if (rc == 0)
		rc = lease_check(gc->lease, err);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && rc == 0; i++) {
		char object[PACK_OBJECT_MAX];

		pack_object(kinds[i], pack->name, object);
		rc = backend->ops->remove(backend, object, err);
		if (i == 0 && rc == 0) {
			gc->report->deleted++;
			gc->report->freed_bytes += pack->bytes;
			rc = fault_hit(FAULT_GC_DELETED, err);
		}
	}
	return rc;
}

/* The leases, but for this collection's: first when nothing that may be deleted can be relied
 * on any more, then when the manifests have been looked at after that. */
struct leases {
	lease_name *first, *second;
	size_t first_count, second_count;
};

/* Go on with a condemned pack: 1 if it waits for leases, 0 if it does not any more, or -errno.
 */
static int pack_settle(struct gc *gc, const struct pack *pack, const struct leases *leases,
		       struct err *err)
{
	struct store *store = gc->store;
	CLEANUP_FREE void *text = NULL;
	char object[PACK_OBJECT_MAX];
	size_t len;
	int rc;

	pack_object("condemned", pack->name, object);
	rc = backend_get(store->backend, object, NOTE_BYTES_MAX, &text, &len, err);
	if (rc < 0)
		return rc;
	if (!len && leases->first_count) {
		rc = lease_note(store, object, round_one, leases->first, leases->first_count,
				err);
		return rc < 0 ? rc : 1;
	}
	if (lease_noted(text, leases->first, leases->first_count))
		return 1;
	if (needed(gc, pack))
		return pack_reprieve(gc, pack, err);
	if (leases->second_count && strncmp(text, round_two, strlen(round_two)) != 0) {
		rc = lease_note(store, object, round_two, leases->second, leases->second_count,
				err);
		return rc < 0 ? rc : 1;
	}
	return pack_delete(gc, pack, err);
}

static int packs_settle(struct gc *gc, const struct leases *leases, struct err *err)
{
	struct pack **packs;
	size_t count;
	int rc = index_packs(gc->store->index, &packs, &count, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count && rc >= 0; i++) {
		if (!packs[i]->condemned)
			continue;
		rc = pack_settle(gc, packs[i], leases, err);
		gc->report->waiting += rc == 1;
	}
	free(packs);
	return rc < 0 ? rc : 0;
}

/* Delete, or reprieve, what waits for nobody any more. */
static int condemned_settle(struct gc *gc, struct err *err)
{
	struct store *store = gc->store;
	struct leases leases = {0};
	int rc = lease_list(store, gc->lease, &leases.first, &leases.first_count, err);

	/* What was published until the leases were looked at is marked, too. */
	if (rc == 0)
		rc = mark_manifests(&gc->mark, err);
	if (rc == 0)
		rc = lease_list(store, gc->lease, &leases.second, &leases.second_count, err);
	if (rc == 0)
		rc = packs_settle(gc, &leases, err);
	free(leases.first);
	free(leases.second);
	return rc;
}

/* Marks, and of what they are. */
struct marks {
	struct store *store;
	const char *kind, *of;
};

static int mark_of_nothing(const char *name, const struct backend_stat *stat, void *arg,
			   struct err *err)
{
	const struct marks *marks = arg;
	char object[STORE_OBJECT_MAX];
	int has;

	(void)stat;
	store_object(marks->of, name, object);
	has = backend_has(marks->store->backend, object, err);
	if (has != 0)
		return has < 0 ? has : 0;
	store_object(marks->kind, name, object);
	return marks->store->backend->ops->remove(marks->store->backend, object, err);
}

/* Remove marks of packs and checkpoints that are gone. */
static int marks_tidy(struct store *store, struct err *err)
{
	struct marks all[] = {
		{store, "condemned", "packs"},
		{store, "suspect", "packs"},
		{store, "removed", "manifests"},
		{store, "damaged", "manifests"},
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc == 0; i++)
		rc = store->backend->ops->list(store->backend, all[i].kind, mark_of_nothing,
					       &all[i], err);
	return rc;
}

static int gc_run(struct gc *gc, struct err *err)
{
	struct store *store = gc->store;
	int rc = removals_settle(store, gc->lease, err);

	if (rc == 0)
		rc = index_refresh(store->index, store->backend, store->crypt, err);
	if (rc == 0)
		rc = mark_begin(store, &gc->mark, err);
	if (rc == 0)
		rc = mark_manifests(&gc->mark, err);
	if (rc == 0)
		rc = fault_hit(FAULT_GC_MARKED, err);
	if (rc == 0)
		rc = packs_judge(gc, err);
	if (rc == 0)
		rc = packs_rewrite(gc, err);
	if (rc == 0)
		rc = packs_condemn(gc, err);
	if (rc == 0)
		rc = condemned_settle(gc, err);
	if (rc == 0)
		rc = marks_tidy(store, err);
	store_tidy(store);
	return rc;
}

/* A lease as the only collection: -EBUSY if there is another one. */
static int gc_begin(struct store *store, struct store_lease **ret_lease, struct err *err)
{
	CLEANUP_FREE lease_name *leases = NULL;
	struct store_lease *lease;
	size_t count = 0;
	int rc = lease_begin(store, true, &lease, err);

	if (rc < 0)
		return rc;
	rc = lease_list(store, lease, &leases, &count, err);
	for (size_t i = 0; i < count && rc == 0; i++)
		if (lease_collects(leases[i]))
			rc = err_set(
				err, EBUSY,
				"another collection is at work in the store %s: what it leaves "
				"is for the next one",
				store->backend->where);
	if (rc < 0)
		store_lease_end(lease);
	else
		*ret_lease = lease;
	return rc;
}

/* Two that began at once, and both gave up, are not to meet again. */
static void gc_pause(int try)
{
	uint8_t random = 0;

	if (getrandom(&random, sizeof(random), 0) < 0)
		random = (uint8_t)getpid();
	usleep((useconds_t)(TRY_AFTER_MS * (try + 1)) * (256 + random) * 1000 / 256);
}

static int gc_worker(size_t index, void *arg, struct err *err)
{
	(void)index;
	return gc_run(arg, err);
}

int store_gc(struct store *store, const struct store_work *work,
	     struct store_gc_report *ret_report, struct err *err)
{
	struct gc gc = {.store = store, .report = ret_report};
	int rc = store_writable(store, err);

	*ret_report = (struct store_gc_report){0};
	if (rc < 0)
		return rc;
	rc = -EBUSY;
	for (int try = 0; try < TRIES && rc == -EBUSY; try++) {
		if (try)
			gc_pause(try);
		rc = gc_begin(store, &gc.lease, err);
	}
	if (rc < 0)
		return rc;
	index_hold(store->index);
	rc = work_run(work, 1, gc_worker, &gc, err);
	mark_end(&gc.mark);
	free(gc.packs);
	store_lease_end(gc.lease);
	index_drop(store->index);
	if (rc == 0)
		rc = index_refresh(store->index, store->backend, store->crypt, err);
	return rc;
}
