/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Collection of garbage, beside writers and readers of any host. One is at work at a time, which
 * their leases see to; against all others nothing is locked.
 *
 * A transaction first makes its lease, then looks at what is condemned, and from then on relies on
 * no condemned pack, not even through the stream that it takes for a base. A collection marks what
 * the manifests need, condemns packs that nobody needs, and then looks at the leases: only they may
 * have relied on the pack before it was condemned. When all of them have ended the manifests are
 * looked at once more. A pack that is needed after all is reprieved. One that is not may still be
 * read by those who began while a manifest needed it: it is deleted when the leases of that moment
 * have ended, too. The names of the leases stand in the object condemned/<pack>, so that a later
 * collection, of whatever process, goes on.
 *
 * A pack with little that is alive, or one of many small ones, is emptied: its living chunks are
 * written into a new pack, and then it is one that nobody needs. Killed anywhere, a collection
 * leaves chunks in two packs, or packs condemned: both are for the next one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "store/copier.h"
#include "store/lease.h"
#include "store/mark.h"

enum { SMALL_PACK_BYTES = 4 << 20, SMALL_PACKS_MAX = 16, LEASES_BYTES_MAX = 1 << 20 };

/* The first line of an object condemned/<pack> when only readers are waited for. */
static const char readers_line[] = "readers\n";

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

/* Whether a living chunk is nowhere else, except perhaps in condemned packs. What a damaged pack had
 * is not known: it is needed as long as anything is missing. */
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
		small += gc->packs[i].pack->bytes < SMALL_PACK_BYTES && !gc->packs[i].pack->condemned;
	for (size_t i = 0; i < gc->count; i++) {
		struct judged *judged = &gc->packs[i];
		const struct pack *pack = judged->pack;

		if (pack->unreadable || pack->condemned || pack->suspect || judged->live_bytes == 0)
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

		for (uint32_t s = 0; judged->empty_it && s < judged->pack->segment_count && rc == 0;
		     s++)
			rc = segment_rescue(gc, copier, judged->pack, s, raw, err);
		if (rc == -EBADMSG) {
			log_warn("left alone: %s", err ? err->msg : "a damaged pack");
			judged->empty_it = false;
			rc = 0;
		}
		gc->report->rewritten += judged->empty_it;
	}
	return rc < 0 ? rc : copier_flush(copier, err);
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
	return rc;
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
		index_mark(gc->store->index, judged->pack->name, true, judged->pack->suspect);
		gc->report->condemned++;
	}
	return rc;
}

/* Leases that are not this collection's own. */
struct leases {
	lease_name *names;
	size_t count;
};

static int leases_look(const struct gc *gc, struct leases *ret_leases, struct err *err)
{
	int rc = lease_list(gc->store, &ret_leases->names, &ret_leases->count, err);
	size_t kept = 0;

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < ret_leases->count; i++)
		if (strcmp(ret_leases->names[i], lease_name_get(gc->lease)) != 0)
			memmove(ret_leases->names[kept++], ret_leases->names[i], LEASE_NAME_MAX);
	ret_leases->count = kept;
	return 0;
}

static bool names_any(const char *text, const struct leases *leases)
{
	for (size_t i = 0; i < leases->count; i++)
		if (strstr(text, leases->names[i]))
			return true;
	return false;
}

/* Write down for whom a condemned pack waits, a line each. */
static int leases_note(struct gc *gc, const char *object, const char *first_line,
		       const struct leases *leases, struct err *err)
{
	CLEANUP_FREE char *text =
		malloc(strlen(first_line) + leases->count * (LEASE_NAME_MAX + 1) + 1);
	char *at = text;

	if (!text)
		return err_sys(err, ENOMEM, "leases");
	at = stpcpy(at, first_line);
	for (size_t i = 0; i < leases->count; i++) {
		at = stpcpy(at, leases->names[i]);
		at = stpcpy(at, "\n");
	}
	return backend_put(gc->store->backend, object, text, strlen(text), err);
}

/* Whether a condemned pack still waits for a lease: 1, 0 or -errno. `before` are the leases before
 * the manifests were marked last, `after` those behind it. */
static int condemned_waits(struct gc *gc, const struct pack *pack, const struct leases *before,
			   const struct leases *after, struct err *err)
{
	CLEANUP_FREE void *text = NULL;
	char object[PACK_OBJECT_MAX];
	size_t len;
	int rc;

	pack_object("condemned", pack->name, object);
	rc = backend_get(gc->store->backend, object, LEASES_BYTES_MAX, &text, &len, err);
	if (rc == -ENOENT)
		return 1; /* somebody has removed the mark */
	if (rc < 0)
		return rc;
	if (needed(gc, pack))
		return 0;
	if (len == 0 && before->count > 0) {
		rc = leases_note(gc, object, "", before, err);
		return rc < 0 ? rc : 1;
	}
	if (names_any(text, before))
		return 1;
	if (!strncmp(text, readers_line, strlen(readers_line)) || after->count == 0)
		return 0;
	rc = leases_note(gc, object, readers_line, after, err);
	return rc < 0 ? rc : 1;
}

static int condemned_end(struct gc *gc, const struct pack *pack, struct err *err)
{
	struct backend *backend = gc->store->backend;
	char object[PACK_OBJECT_MAX];
	bool reprieve = needed(gc, pack);
	int rc = 0;

	if (!reprieve) {
		rc = fault_hit(FAULT_GC_DELETE, err);
		pack_object("packs", pack->name, object);
		if (rc == 0)
			rc = backend->ops->remove(backend, object, err);
		if (rc < 0)
			return rc;
		gc->report->deleted++;
		gc->report->freed_bytes += pack->bytes;
	}
	rc = fault_hit(FAULT_GC_DELETED, err);
	pack_object("condemned", pack->name, object);
	if (rc == 0)
		rc = backend->ops->remove(backend, object, err);
	if (rc == 0 && reprieve)
		index_mark(gc->store->index, pack->name, false, pack->suspect);
	pack_object("suspect", pack->name, object);
	return rc == 0 && !reprieve ? backend->ops->remove(backend, object, err) : rc;
}

static int packs_settle(struct gc *gc, const struct leases *before, const struct leases *after,
			struct err *err)
{
	CLEANUP_FREE struct pack **packs = NULL;
	size_t count = 0;
	int rc = index_packs(gc->store->index, &packs, &count, err);

	for (size_t i = 0; i < count && rc == 0; i++) {
		int waits;

		if (!packs[i]->condemned)
			continue;
		waits = condemned_waits(gc, packs[i], before, after, err);
		if (waits == 0)
			rc = condemned_end(gc, packs[i], err);
		else if (waits < 0)
			rc = waits;
		else
			gc->report->waiting++;
	}
	return rc;
}

/* Delete, or reprieve, what waits for nobody any more. */
static int condemned_settle(struct gc *gc, struct err *err)
{
	struct leases before = {0}, after = {0};
	int rc = leases_look(gc, &before, err);

	/* What was published while we looked at the leases is marked, too. */
	if (rc == 0)
		rc = mark_manifests(&gc->mark, err);
	if (rc == 0)
		rc = leases_look(gc, &after, err);
	/* Who has stood still so long that others took it for dead deletes nothing. */
	if (rc == 0)
		rc = lease_check(gc->lease, err);
	if (rc == 0)
		rc = packs_settle(gc, &before, &after, err);
	free(before.names);
	free(after.names);
	return rc;
}

/* A kind of marks, and of what they are marks. */
struct marks {
	struct store *store;
	const char *kind, *of;
};

static int mark_of_nothing(const char *name, const struct backend_stat *stat, void *arg,
			   struct err *err)
{
	const struct marks *marks = arg;
	struct backend *backend = marks->store->backend;
	char object[STORE_OBJECT_MAX];
	int has;

	(void)stat;
	store_object(marks->of, name, object);
	has = backend_has(backend, object, err);
	if (has != 0)
		return has < 0 ? has : 0;
	store_object(marks->kind, name, object);
	return backend->ops->remove(backend, object, err);
}

/* Remove marks of packs and checkpoints that are gone. */
static int marks_sweep(struct store *store, struct err *err)
{
	struct marks kinds[] = {
		{store, "condemned", "packs"},
		{store, "suspect", "packs"},
		{store, "damaged", "manifests"},
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && rc == 0; i++)
		rc = store->backend->ops->list(store->backend, kinds[i].kind, mark_of_nothing,
					       &kinds[i], err);
	return rc;
}

static int gc_run(struct gc *gc, struct err *err)
{
	struct store *store = gc->store;
	int rc = mark_begin(store, &gc->mark, err);

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
		rc = marks_sweep(store, err);
	return rc < 0 ? rc : store->backend->ops->tidy(store->backend,
							    STORE_TIDY_AGE_S * NS_PER_S, err);
}

int store_gc(struct store *store, const struct store_work *work,
	     struct store_gc_report *ret_report, struct err *err)
{
	struct gc gc = {.store = store, .report = ret_report};
	struct store_lease *lease = NULL;
	int rc = store_writable(store, err);

	(void)work;
	*ret_report = (struct store_gc_report){0};
	if (rc < 0)
		return rc;
	index_hold(store->index);
	rc = lease_begin_collection(store, &lease, err);
	gc.lease = lease;
	if (rc == 0)
		rc = gc_run(&gc, err);
	mark_end(&gc.mark);
	free(gc.packs);
	store_lease_end(lease);
	index_drop(store->index);
	if (rc == 0)
		rc = index_refresh(store->index, store->backend, store->crypt, err);
	return rc;
}
