/* SPDX-License-Identifier: BSD-3-Clause */
/* Keeping the catalog and the manifests in agreement: the manifests are the truth. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "store/store_priv.h"

int store_entry_fill(const json_t *manifest, bool damaged, struct store_entry *ret_entry,
		     struct err *err)
{
	CLEANUP_FREE struct manifest_stream *streams = NULL;
	const struct {
		const char *key;
		char *text;
	} texts[] = {
		{"id", ret_entry->id},
		{"cluster", ret_entry->cluster},
		{"tag", ret_entry->tag},
	};
	size_t count;
	int rc = manifest_streams(manifest, &streams, &count, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		snprintf(texts[i].text, STORE_ID_MAX, "%s",
			 json_string_value(json_object_get(manifest, texts[i].key)));
	ret_entry->created_ns = json_integer_value(json_object_get(manifest, "created_ns"));
	ret_entry->pause_ns = json_integer_value(json_object_get(manifest, "pause_ns"));
	ret_entry->vms = (unsigned int)json_array_size(json_object_get(manifest, "vms"));
	ret_entry->damaged = damaged;
	ret_entry->bytes =
		(uint64_t)json_integer_value(json_object_get(manifest, "stored_bytes"));
	ret_entry->logical_bytes = 0;
	for (size_t i = 0; i < count; i++)
		if (!streams[i].shared)
			ret_entry->logical_bytes += streams[i].ref.logical_bytes;
	return 0;
}

/* A checkpoint as the backend lists it. */
struct listed {
	char id[STORE_ID_MAX];
	int64_t modified_ns;
	bool damaged, removed, known;
};

struct listing {
	struct listed *items;
	size_t count, room;
};

static int listed_compare(const void *a, const void *b)
{
	return strcmp(((const struct listed *)a)->id, ((const struct listed *)b)->id);
}

static struct listed *listed_find(const struct listing *listing, const char *id)
{
	struct listed key = {0};

	if (listing->count == 0 || strlen(id) >= sizeof(key.id))
		return NULL;
	memcpy(key.id, id, strlen(id) + 1);
	return bsearch(&key, listing->items, listing->count, sizeof(key), listed_compare);
}

static int list_manifest(const char *name, const struct backend_stat *stat, void *arg,
			 struct err *err)
{
	struct listing *listing = arg;

	if (!name_valid(name, STORE_ID_MAX - 1))
		return 0;
	if (listing->count == listing->room) {
		size_t room = listing->room ? 2 * listing->room : 16;
		struct listed *more = reallocarray(listing->items, room, sizeof(*more));

		if (!more)
			return err_sys(err, ENOMEM, "list of checkpoints");
		listing->items = more;
		listing->room = room;
	}
	listing->items[listing->count] = (struct listed){.modified_ns = stat->modified_ns};
	strcpy(listing->items[listing->count++].id, name); /* name_valid() has bounded it */
	return 0;
}

static int list_damaged(const char *name, const struct backend_stat *stat, void *arg,
			struct err *err)
{
	struct listed *listed = listed_find(arg, name);

	(void)stat;
	(void)err;
	if (listed)
		listed->damaged = true;
	return 0;
}

static int list_removed(const char *name, const struct backend_stat *stat, void *arg,
			struct err *err)
{
	struct listed *listed = listed_find(arg, name);

	(void)stat;
	(void)err;
	if (listed)
		listed->removed = true;
	return 0;
}

/* All manifests. */
static int listing_make(struct store *store, struct listing *listing, struct err *err)
{
	struct backend *backend = store->backend;
	int rc = backend->ops->list(backend, "manifests", list_manifest, listing, err);

	if (rc == 0 && listing->count)
		qsort(listing->items, listing->count, sizeof(*listing->items), listed_compare);
	return rc < 0 ? rc : backend->ops->list(backend, "damaged", list_damaged, listing, err);
}

/* Those of checkpoints that exist. */
static int listing_living(struct store *store, struct listing *listing, struct err *err)
{
	size_t kept = 0;
	int rc = listing_make(store, listing, err);

	if (rc == 0)
		rc = store->backend->ops->list(store->backend, "removed", list_removed, listing,
					       err);
	for (size_t i = 0; i < listing->count; i++)
		if (!listing->items[i].removed)
			listing->items[kept++] = listing->items[i];
	listing->count = kept;
	return rc;
}

int store_scan(struct store *store, store_id **ret_ids, size_t *ret_count, struct err *err)
{
	struct listing listing = {0};
	int rc = listing_make(store, &listing, err);
	store_id *ids = rc == 0 ? calloc(listing.count + 1, sizeof(*ids)) : NULL;

	if (rc == 0 && !ids)
		rc = err_sys(err, ENOMEM, "list of checkpoints");
	for (size_t i = 0; rc == 0 && i < listing.count; i++)
		memcpy(ids[i], listing.items[i].id, sizeof(*ids));
	free(listing.items);
	if (rc < 0)
		return rc;
	*ret_ids = ids;
	*ret_count = listing.count;
	return 0;
}

/* The row of a checkpoint whose manifest cannot be read: what its name and the object's time
 * tell. */
static void entry_unreadable(const struct listed *listed, struct store_entry *ret_entry)
{
	size_t len = strlen(listed->id), cut = len;

	/* Before the third hyphen from the end; an id that was made otherwise has none. */
	for (int hyphens = 0; cut > 0 && hyphens < 3;)
		hyphens += listed->id[--cut] == '-';
	if (cut == 0)
		cut = len;
	*ret_entry = (struct store_entry){.damaged = true, .created_ns = listed->modified_ns};
	memcpy(ret_entry->id, listed->id, sizeof(ret_entry->id));
	snprintf(ret_entry->cluster, sizeof(ret_entry->cluster), "%.*s", (int)cut, listed->id);
}

static int entry_load(struct store *store, const struct listed *listed,
		      struct store_entry *ret_entry, struct err *err)
{
	struct err fault = ERR_INIT;
	json_t *manifest;
	int rc = store_manifest(store, listed->id, &manifest, &fault);

	if (rc == 0) {
		rc = store_entry_fill(manifest, listed->damaged, ret_entry, err);
		json_decref(manifest);
		return rc;
	}
	if (rc == -ENOENT) /* removed since it was listed */
		return rc;
	log_warn("%s; it is listed as damaged", fault.msg);
	entry_unreadable(listed, ret_entry);
	return 0;
}

/* Rows of checkpoints that are gone go, quarantine is brought up to date. */
static int rows_settle(struct store *store, struct listing *listing, struct err *err)
{
	CLEANUP_FREE struct store_entry *rows = NULL;
	size_t count;
	int rc = catalog_list(store->catalog, NULL, &rows, &count, err);

	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct listed *listed = listed_find(listing, rows[i].id);

		if (!listed)
			rc = catalog_remove(store->catalog, rows[i].id, err);
		else if (listed->damaged != rows[i].damaged && rows[i].vms)
			rc = catalog_set_damaged(store->catalog, rows[i].id, listed->damaged,
						 err);
		/* A row without VMs is one of a manifest that could not be read: look again. */
		if (listed && rows[i].vms)
			listed->known = true;
	}
	return rc;
}

/* Make the catalog agree with what the backend has listed. */
static int catalog_settle(struct store *store, struct listing *listing, struct err *err)
{
	int rc = rows_settle(store, listing, err);

	for (size_t i = 0; rc == 0 && i < listing->count; i++) {
		struct store_entry entry;

		if (listing->items[i].known)
			continue;
		rc = entry_load(store, &listing->items[i], &entry, err);
		if (rc == 0)
			rc = catalog_put(store->catalog, &entry, err);
		else if (rc == -ENOENT)
			rc = 0;
	}
	return rc;
}

int catalog_sync(struct store *store, struct err *err)
{
	struct listing listing = {0};
	int rc = listing_living(store, &listing, err);

	if (rc == 0)
		rc = catalog_settle(store, &listing, err);
	free(listing.items);
	return rc;
}

static int catalog_reopen(struct store *store, const char *path, struct err *err)
{
	int rc;

	catalog_close(store->catalog);
	store->catalog = NULL;
	rc = catalog_open(path, &store->catalog, err);
	return rc < 0 ? rc : catalog_sync(store, err);
}

/* Make the catalog anew from the manifests; in memory if the file cannot be used. */
static int catalog_remake(struct store *store, struct err *err)
{
	struct err fault = ERR_INIT;
	int rc;

	if (!store->catalog_path[0])
		return catalog_reopen(store, NULL, err);
	catalog_close(store->catalog);
	store->catalog = NULL;
	rc = catalog_unlink(store->catalog_path, &fault);
	if (rc == 0)
		rc = catalog_reopen(store, store->catalog_path, &fault);
	if (rc == 0)
		return 0;
	/* A full or read-only file system must not keep anyone from listing and removing
	 * checkpoints. */
	log_warn("%s; the catalog is kept in memory", fault.msg);
	return catalog_reopen(store, NULL, err);
}

int catalog_start(struct store *store, struct err *err)
{
	struct err fault = ERR_INIT;

	if (catalog_reopen(store, store->catalog_path[0] ? store->catalog_path : NULL,
			   &fault) == 0)
		return 0;
	log_warn("%s; the catalog is made anew", fault.msg);
	return catalog_remake(store, err);
}

int store_list(struct store *store, const char *cluster, struct store_entry **ret_entries,
	       size_t *ret_count, struct err *err)
{
	struct listing listing = {0};
	struct err fault = ERR_INIT;
	int rc;

	pthread_mutex_lock(&store->lock);
	rc = listing_living(store, &listing, err);
	if (rc < 0) {
		/* That is no fault of the catalog's. */
		pthread_mutex_unlock(&store->lock);
		free(listing.items);
		return rc;
	}
	rc = store->catalog ? catalog_settle(store, &listing, &fault) : -EBADF;
	free(listing.items);
	if (rc == 0)
		rc = catalog_list(store->catalog, cluster, ret_entries, ret_count, &fault);
	if (rc < 0) {
		/* Whatever is wrong with the catalog, the manifests can replace it. */
		rc = catalog_remake(store, err);
		if (rc == 0)
			rc = catalog_list(store->catalog, cluster, ret_entries, ret_count, err);
	}
	pthread_mutex_unlock(&store->lock);
	return rc;
}

int store_rebuild_catalog(struct store *store, struct err *err)
{
	int rc;

	pthread_mutex_lock(&store->lock);
	rc = catalog_remake(store, err);
	pthread_mutex_unlock(&store->lock);
	return rc;
}
