/* SPDX-License-Identifier: BSD-3-Clause */
/* Verification of stored checkpoints, and the quarantine of those found damaged. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "store/plan.h"
#include "store/store_priv.h"
#include "store/tree.h"
#include "store/work.h"

/* Packs that streams need. */
struct needed {
	struct store *store;
	const struct pack **packs;
	size_t count;
};

static int needed_add(struct needed *needed, const struct pack *pack, struct err *err)
{
	const struct pack **more;

	for (size_t i = needed->count; i-- > 0;)
		if (needed->packs[i] == pack)
			return 0;
	more = reallocarray(needed->packs, needed->count + 1, sizeof(const struct pack *));
	if (!more)
		return err_sys(err, ENOMEM, "list of packs");
	needed->packs = more;
	needed->packs[needed->count++] = pack;
	return 0;
}

static int needed_node(const struct chunk_id *id, void *arg, struct err *err)
{
	struct needed *needed = arg;
	struct place place;

	if (chunk_id_is_zero(id))
		return 0;
	if (!chunk_find(needed->store, id, &place))
		return chunk_missing(needed->store, id, err);
	return needed_add(needed, place.pack, err);
}

/* All chunks of the stream are in packs that are there; their data are not read. */
static int stream_check_index(struct needed *needed, struct chunk_reader *reader,
			      const struct store_target *target, unsigned int threads,
			      struct err *err)
{
	uint64_t blocks = tree_blocks(target->ref.logical_bytes);
	struct chunk_id *leaves = NULL;
	struct plan plan = {0};
	int rc = tree_inner(reader, &target->ref, needed_node, needed, &leaves, err);

	for (uint64_t block = 0; block < blocks && rc == 0; block++)
		rc = needed_node(&leaves[block], needed, err);
	if (rc < 0)
		err_prefix(err, "%s", target->name);
	if (rc == 0)
		rc = plan_make(needed->store, target, 1, &leaves, 0, blocks, threads, &plan,
			       err);
	for (size_t i = 0; i < plan.segment_count && rc == 0; i++)
		rc = needed_add(needed, plan.segments[i].pack, err);
	plan_clear(&plan);
	free(leaves);
	return rc;
}

/* What an open store knows of its packs may have been damaged on the medium meanwhile. */
static int packs_check(struct needed *needed, struct err *err)
{
	struct store *store = needed->store;
	int rc = 0;

	for (size_t i = 0; i < needed->count && rc == 0; i++) {
		rc = pack_check(store->backend, store->crypt, needed->packs[i], err);
		if (rc == -EBADMSG)
			store_suspect(store, needed->packs[i]);
	}
	return rc;
}

static int streams_check(struct store *store, const struct store_target *targets, size_t count,
			 bool quick, const struct store_work *work, struct err *err)
{
	struct needed needed = {.store = store};
	struct chunk_reader *reader = NULL;
	int rc;

	index_hold(store->index);
	rc = chunk_reader_create(store, &reader, err);
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = stream_check_index(&needed, reader, &targets[i], work_threads(work), err);
	if (rc == 0 && !quick)
		rc = packs_check(&needed, err);
	chunk_reader_destroy(reader);
	free(needed.packs);
	index_drop(store->index);
	return rc;
}

/* The next checkpoint must put a damaged image anew instead of trusting what is remembered of
 * it. */
static void images_forget(struct store *store, const struct manifest_stream *streams,
			  size_t count)
{
	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < count; i++)
		if (streams[i].shared && store->catalog)
			catalog_file_forget(store->catalog, &streams[i].ref, NULL);
	pthread_mutex_unlock(&store->lock);
}

static int verify_all(struct store *store, const char *id, bool quick,
		      const struct store_work *work, struct err *err)
{
	CLEANUP_FREE struct manifest_stream *streams = NULL;
	CLEANUP_FREE struct store_target *targets = NULL;
	json_t *manifest;
	size_t count;
	int rc = store_manifest(store, id, &manifest, err);

	if (rc < 0)
		return rc;
	rc = manifest_streams(manifest, &streams, &count, err);
	json_decref(manifest);
	if (rc < 0)
		return rc;
	targets = calloc(count, sizeof(*targets));
	if (!targets)
		return err_sys(err, ENOMEM, "streams");
	for (size_t i = 0; i < count; i++)
		targets[i] = (struct store_target){streams[i].name, streams[i].ref, -1};
	rc = streams_check(store, targets, count, quick, work, err);
	if (rc == 0 && !quick)
		rc = store_fill(store, targets, count, work, err);
	if (rc == -EBADMSG)
		images_forget(store, streams, count);
	if (rc < 0)
		err_prefix(err, "checkpoint %s", id);
	return rc < 0 ? rc : 0;
}

/* Set or end the quarantine of a checkpoint, in the backend and in the catalog. */
static int quarantine_set(struct store *store, const char *id, const char *reason,
			  struct err *err)
{
	char object[STORE_OBJECT_MAX];
	int rc;

	store_object("damaged", id, object);
	rc = reason ? backend_put(store->backend, object, reason, strlen(reason), err)
		    : store->backend->ops->remove(store->backend, object, err);
	pthread_mutex_lock(&store->lock);
	if (store->catalog)
		catalog_set_damaged(store->catalog, id, reason != NULL, NULL);
	pthread_mutex_unlock(&store->lock);
	return rc;
}

/* The newest good checkpoint of the same cluster in front of `id`, or "" if there is none. */
static void good_before(struct store *store, const char *id, char ret_id[STORE_ID_MAX])
{
	CLEANUP_FREE struct store_entry *entries = NULL;
	const char *cluster = NULL;
	size_t count = 0, at;

	ret_id[0] = '\0';
	if (store_list(store, NULL, &entries, &count, NULL) < 0)
		return;
	for (at = 0; at < count && strcmp(entries[at].id, id) != 0; at++)
		;
	if (at < count)
		cluster = entries[at].cluster;
	while (cluster && at-- > 0) {
		if (entries[at].damaged || strcmp(entries[at].cluster, cluster))
			continue;
		memcpy(ret_id, entries[at].id, STORE_ID_MAX);
		return;
	}
}

static void verify_failed(struct store *store, const char *id, struct err *err)
{
	char reason[sizeof(err->msg) - 2 * STORE_ID_MAX], good[STORE_ID_MAX];
	struct err fault = ERR_INIT;
	int rc = store_exists(store, id, &fault);

	snprintf(reason, sizeof(reason), "%.*s", (int)sizeof(reason) - 1, err->msg);
	if (rc == 1 && !store->read_only)
		rc = quarantine_set(store, id, reason, &fault);
	else if (rc == 0)
		rc = err_set(&fault, ENOENT, "checkpoint %s was removed meanwhile", id);
	if (rc < 0)
		log_error("cannot mark checkpoint %s as damaged: %s", id, fault.msg);
	good_before(store, id, good);
	if (good[0])
		err_set(err, EBADMSG, "%s; the newest good checkpoint before it is %s", reason,
			good);
	else
		err_set(err, EBADMSG, "%s; there is no good checkpoint before it", reason);
}

static void verify_passed(struct store *store, const char *id)
{
	struct err fault = ERR_INIT;
	char object[STORE_OBJECT_MAX];

	store_object("damaged", id, object);
	if (backend_has(store->backend, object, NULL) != 1)
		return;
	if (quarantine_set(store, id, NULL, &fault) < 0)
		log_error("cannot end the quarantine of %s: %s", id, fault.msg);
	else
		log_info("checkpoint %s is good again", id);
}

int store_verify(struct store *store, const char *id, bool quick, const struct store_work *work,
		 struct err *err)
{
	struct store_lease *lease = NULL;
	struct err fault = ERR_INIT;
	int rc = store_id_check(id, &fault);

	if (rc == 0)
		rc = store_lease_begin(store, id, &lease, &fault);
	if (rc == 0)
		rc = verify_all(store, id, quick, work, &fault);
	store_lease_end(lease);
	if (rc == -EBADMSG)
		verify_failed(store, id, &fault);
	else if (rc == 0 && !quick && !store->read_only)
		verify_passed(store, id);
	if (rc < 0 && err)
		*err = fault;
	return rc;
}
