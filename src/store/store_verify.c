/* SPDX-License-Identifier: BSD-3-Clause */
/* Verification of stored checkpoints, and the quarantine of those found damaged. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "store/store_priv.h"

struct verify {
	struct store *store;
	const char *id;
	bool quick;
	simg_progress_fn progress;
	void *progress_arg;
};

static int verify_file(const struct verify *v, const struct manifest_file *file,
		       struct err *err)
{
	char path[IO_PATH_MAX];
	int rc;

	if (file->shared)
		rc = store_image_path(v->store, &file->ref, path, sizeof(path), err);
	else
		rc = store_checkpoint_path(v->store, v->id, file->name, path, err);
	if (rc < 0)
		return rc;
	if (v->quick)
		rc = simg_check_index(path, &file->ref, err);
	else
		rc = simg_read(path, &file->ref, -1, 0, v->progress, v->progress_arg, err);
	if (rc == -ENOENT)
		rc = err_set(err, EBADMSG, "%s is missing", path);
	if (rc == -EBADMSG && file->shared) {
		/* The next checkpoint must write the image anew instead of trusting this file.
		 */
		struct err fault = ERR_INIT;

		pthread_mutex_lock(&v->store->lock);
		if (store_catalog_ensure(v->store, &fault) < 0 ||
		    catalog_file_forget(v->store->catalog, &file->ref, &fault) < 0)
			store_catalog_missed(v->store, "a damaged image", &fault);
		pthread_mutex_unlock(&v->store->lock);
	}
	return rc;
}

static int verify_all(const struct verify *v, struct err *err)
{
	CLEANUP_FREE struct manifest_file *files = NULL;
	json_t *manifest;
	size_t count;
	int rc = store_manifest(v->store, v->id, &manifest, err);

	if (rc < 0)
		return rc;
	rc = manifest_files(manifest, &files, &count, err);
	json_decref(manifest);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = verify_file(v, &files[i], err);
	return rc;
}

/* Set or end the quarantine of a checkpoint, on disk and in the catalog. */
static int quarantine_set(struct store *store, const char *id, const char *reason,
			  struct err *err)
{
	struct err fault = ERR_INIT;
	char path[IO_PATH_MAX];
	int rc = store_checkpoint_path(store, id, STORE_DAMAGED, path, err);

	if (rc == 0 && reason)
		rc = io_replace_file(path, reason, strlen(reason), 0600, err);
	else if (rc == 0 && unlink(path) < 0 && errno != ENOENT)
		rc = err_sys(err, errno, "cannot remove %s", path);
	else if (rc == 0)
		rc = io_sync_parent(path, err);
	if (store_catalog_ensure(store, &fault) < 0 ||
	    catalog_set_damaged(store->catalog, id, reason != NULL, &fault) < 0)
		store_catalog_missed(store, "a quarantine", &fault);
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
	for (at = 0; at < count && !cluster; at++)
		if (!strcmp(entries[at].id, id))
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
	int rc;

	snprintf(reason, sizeof(reason), "%.*s", (int)sizeof(reason) - 1, err->msg);
	pthread_mutex_lock(&store->lock);
	rc = store_checkpoint_has(store, id, STORE_MANIFEST, &fault);
	if (rc == 1)
		rc = quarantine_set(store, id, reason, &fault);
	else if (rc == 0)
		rc = err_set(&fault, ENOENT, "checkpoint %s was removed meanwhile", id);
	pthread_mutex_unlock(&store->lock);
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

	pthread_mutex_lock(&store->lock);
	if (store_checkpoint_has(store, id, STORE_DAMAGED, NULL) == 1) {
		if (quarantine_set(store, id, NULL, &fault) < 0)
			log_error("cannot end the quarantine of %s: %s", id, fault.msg);
		else
			log_info("checkpoint %s is good again", id);
	}
	pthread_mutex_unlock(&store->lock);
}

int store_verify(struct store *store, const char *id, bool quick, simg_progress_fn progress,
		 void *progress_arg, struct err *err)
{
	struct verify v = {
		.store = store,
		.id = id,
		.quick = quick,
		.progress = progress,
		.progress_arg = progress_arg,
	};
	struct err fault = ERR_INIT;
	int rc = verify_all(&v, &fault);

	if (rc == -EBADMSG)
		verify_failed(store, id, &fault);
	else if (rc == 0 && !quick)
		verify_passed(store, id);
	if (rc < 0 && err)
		*err = fault;
	return rc;
}
