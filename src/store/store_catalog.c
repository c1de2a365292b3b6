/* SPDX-License-Identifier: BSD-3-Clause */
/* Keeping the catalog and the manifests in agreement: the manifests are the truth. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/store_priv.h"

int store_entry_fill(const json_t *manifest, bool damaged, struct store_entry *ret_entry,
		     struct err *err)
{
	CLEANUP_FREE struct manifest_file *files = NULL;
	const struct {
		const char *key;
		char *text;
	} texts[] = {
		{"id", ret_entry->id},
		{"cluster", ret_entry->cluster},
		{"tag", ret_entry->tag},
	};
	size_t count;
	int rc = manifest_files(manifest, &files, &count, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		snprintf(texts[i].text, STORE_ID_MAX, "%s",
			 json_string_value(json_object_get(manifest, texts[i].key)));
	ret_entry->created_ns = json_integer_value(json_object_get(manifest, "created_ns"));
	ret_entry->pause_ns = json_integer_value(json_object_get(manifest, "pause_ns"));
	ret_entry->vms = (unsigned int)json_array_size(json_object_get(manifest, "vms"));
	ret_entry->damaged = damaged;
	ret_entry->bytes = 0;
	for (size_t i = 0; i < count; i++)
		if (!files[i].shared)
			ret_entry->bytes += files[i].ref.file_bytes;
	return 0;
}

/* The row of a checkpoint whose manifest cannot be read: what its name and the file's time
 * tell. */
static void entry_unreadable(const struct store *store, const char *id,
			     struct store_entry *ret_entry)
{
	const size_t suffix = STORE_ID_MAX - STORE_CLUSTER_MAX;
	char path[IO_PATH_MAX];
	size_t len = strlen(id);
	struct stat st;

	*ret_entry = (struct store_entry){.damaged = true};
	snprintf(ret_entry->id, sizeof(ret_entry->id), "%s", id);
	snprintf(ret_entry->cluster, sizeof(ret_entry->cluster), "%.*s",
		 (int)(len > suffix ? len - suffix : len), id);
	if (store_checkpoint_path(store, id, STORE_MANIFEST, path, NULL) == 0 &&
	    stat(path, &st) == 0)
		ret_entry->created_ns = st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
}

static int entry_load(struct store *store, const char *id, bool damaged,
		      struct store_entry *ret_entry, struct err *err)
{
	struct err fault = ERR_INIT;
	json_t *manifest;
	int rc = store_manifest(store, id, &manifest, &fault);

	if (rc == 0) {
		rc = store_entry_fill(manifest, damaged, ret_entry, err);
		json_decref(manifest);
		return rc;
	}
	log_warn("%s; it is listed as damaged", fault.msg);
	entry_unreadable(store, id, ret_entry);
	return 0;
}

/* Ids (and quarantine) of all finished checkpoints, in the order of their ids. Other members
 * stay unset. */
static int disk_ids(const struct store *store, struct store_entry **ret_entries,
		    size_t *ret_count, struct err *err)
{
	CLEANUP_FREE store_id *ids = NULL;
	CLEANUP_FREE struct store_entry *entries = NULL;
	size_t count, used = 0;
	int rc = store_scan(store, &ids, &count, err);

	if (rc < 0)
		return rc;
	entries = calloc(count + 1, sizeof(*entries));
	if (!entries)
		return err_sys(err, ENOMEM, "list of checkpoints");
	for (size_t i = 0; i < count; i++) {
		if (store_checkpoint_has(store, ids[i], STORE_MANIFEST, NULL) != 1)
			continue;
		memcpy(entries[used].id, ids[i], STORE_ID_MAX);
		entries[used++].damaged =
			store_checkpoint_has(store, ids[i], STORE_DAMAGED, NULL) == 1;
	}
	*ret_entries = TAKE_PTR(entries);
	*ret_count = used;
	return 0;
}

static int entry_compare(const void *a, const void *b)
{
	return strcmp(((const struct store_entry *)a)->id, ((const struct store_entry *)b)->id);
}

/* Whether catalog and disk name the same checkpoints as good and as damaged: 1, 0 or -errno. */
static int catalog_agrees(struct store *store, struct err *err)
{
	CLEANUP_FREE struct store_entry *rows = NULL, *found = NULL;
	size_t row_count, found_count;
	int rc = catalog_list(store->catalog, NULL, &rows, &row_count, err);

	if (rc == 0)
		rc = disk_ids(store, &found, &found_count, err);
	if (rc < 0)
		return rc;
	if (row_count != found_count)
		return 0;
	if (row_count == 0)
		return 1;
	qsort(rows, row_count, sizeof(*rows), entry_compare);
	qsort(found, found_count, sizeof(*found), entry_compare);
	for (size_t i = 0; i < row_count; i++)
		if (strcmp(rows[i].id, found[i].id) || rows[i].damaged != found[i].damaged)
			return 0;
	return 1;
}

static int catalog_fill(struct store *store, struct err *err)
{
	CLEANUP_FREE struct store_entry *entries = NULL;
	size_t count;
	int rc = disk_ids(store, &entries, &count, err);

	for (size_t i = 0; rc == 0 && i < count; i++) {
		char id[STORE_ID_MAX];

		memcpy(id, entries[i].id, sizeof(id));
		rc = entry_load(store, id, entries[i].damaged, &entries[i], err);
	}
	if (rc == 0)
		rc = catalog_replace(store->catalog, entries, count, err);
	if (rc == 0)
		store->catalog_stale = false;
	return rc;
}

/* Replace the open catalog by the one at `path`, NULL for memory, and fill it. */
static int catalog_reopen(struct store *store, const char *path, struct err *err)
{
	int rc;

	catalog_close(store->catalog);
	store->catalog = NULL;
	rc = catalog_open(path, &store->catalog, err);
	return rc < 0 ? rc : catalog_fill(store, err);
}

int store_catalog_rebuild(struct store *store, struct err *err)
{
	struct err fault = ERR_INIT;
	char path[IO_PATH_MAX];
	int rc = io_path(path, sizeof(path), err, "%s/catalog.db", store->dir);

	if (rc < 0)
		return rc;
	catalog_close(store->catalog);
	store->catalog = NULL;
	rc = catalog_unlink(path, &fault);
	if (rc == 0)
		rc = catalog_reopen(store, path, &fault);
	if (rc == 0)
		return 0;
	/* A full or read-only file system must not keep anyone from listing and removing
	 * checkpoints. */
	log_warn("%s; the catalog is kept in memory", fault.msg);
	return catalog_reopen(store, NULL, err);
}

int store_catalog_open(struct store *store, struct err *err)
{
	struct err fault = ERR_INIT;
	char path[IO_PATH_MAX];
	int rc = io_path(path, sizeof(path), err, "%s/catalog.db", store->dir);

	if (rc < 0)
		return rc;
	rc = catalog_open(path, &store->catalog, &fault);
	if (rc == 0)
		rc = catalog_agrees(store, &fault);
	if (rc == 1)
		return 0;
	if (rc == 0) {
		log_info("the catalog differs from the manifests and is filled anew");
		rc = catalog_fill(store, &fault);
	}
	if (rc == 0)
		return 0;
	log_warn("%s; the catalog is made anew", fault.msg);
	return store_catalog_rebuild(store, err);
}

int store_catalog_ensure(struct store *store, struct err *err)
{
	if (store->catalog && !store->catalog_stale)
		return 0;
	return store_catalog_rebuild(store, err);
}

void store_catalog_missed(struct store *store, const char *change, const struct err *reason)
{
	log_error("the catalog missed %s and will be rebuilt: %s", change, reason->msg);
	store->catalog_stale = true;
}
