/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions: a checkpoint is written beside the others and exists from the rename of its
 * manifest on. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "store/store_priv.h"
#include "store/store_txn.h"

enum { ID_TRIES = 100 };

static int id_make(const char *cluster, char ret_id[STORE_ID_MAX], struct err *err)
{
	time_t now = time(NULL);
	uint16_t salt;
	char stamp[32];
	struct tm utc;

	if (getrandom(&salt, sizeof(salt), 0) != sizeof(salt))
		return err_sys(err, errno, "no random number for an id");
	if (!gmtime_r(&now, &utc) || !strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &utc))
		return err_set(err, EOVERFLOW, "the host's clock is out of range");
	snprintf(ret_id, STORE_ID_MAX, "%.*s-%.15s-%04x", STORE_CLUSTER_MAX - 1, cluster, stamp,
		 salt);
	return 0;
}

/* Create the directory of a new checkpoint under a name that nobody has. */
static int txn_mkdir(struct store_txn *txn, struct err *err)
{
	for (int i = 0; i < ID_TRIES; i++) {
		int rc = id_make(txn->cluster, txn->id, err);

		if (rc == 0)
			rc = store_checkpoint_path(txn->store, txn->id, NULL, txn->dir, err);
		if (rc < 0)
			return rc;
		if (mkdir(txn->dir, 0700) == 0)
			return 0;
		if (errno != EEXIST) {
			rc = err_sys(err, errno, "cannot create directory %s", txn->dir);
			store_explain_space(txn->store, rc, "a checkpoint", SIMG_PAGE_BYTES,
					    err);
			return rc;
		}
	}
	return err_set(err, EEXIST, "found no free id for a checkpoint of \"%s\"",
		       txn->cluster);
}

int store_begin(struct store *store, const char *cluster, char ret_id[STORE_ID_MAX],
		struct store_txn **ret_txn, struct err *err)
{
	struct store_txn *txn;
	int rc;

	if (!name_valid(cluster, STORE_CLUSTER_MAX - 1))
		return err_set(err, EINVAL,
			       "\"%.80s\" is not a cluster's name: 1 to %d letters, digits, "
			       "\".\", \"_\" and \"-\", no dot in front",
			       cluster, STORE_CLUSTER_MAX - 1);
	txn = calloc(1, sizeof(*txn));
	if (!txn)
		return err_sys(err, ENOMEM, "transaction");
	txn->store = store;
	snprintf(txn->cluster, sizeof(txn->cluster), "%s", cluster);
	pthread_mutex_lock(&store->lock);
	rc = txn_mkdir(txn, err);
	if (rc == 0) {
		txn->next = store->txns;
		store->txns = txn;
	}
	pthread_mutex_unlock(&store->lock);
	if (rc < 0) {
		free(txn);
		return rc;
	}
	memcpy(ret_id, txn->id, STORE_ID_MAX);
	*ret_txn = txn;
	return 0;
}

/* Take the transaction off the store's list and free it; its files are left alone. */
static void txn_end(struct store_txn *txn)
{
	struct store *store = txn->store;
	struct store_txn **at = &store->txns;

	pthread_mutex_lock(&store->lock);
	while (*at != txn)
		at = &(*at)->next;
	*at = txn->next;
	if (!store->txns)
		store->pin_count = 0;
	pthread_mutex_unlock(&store->lock);
	free(txn->parts);
	free(txn);
}

void store_abort(struct store_txn *txn)
{
	struct err err = ERR_INIT;
	struct store *store;

	if (!txn)
		return;
	store = txn->store;
	if (io_remove_all(txn->dir, &err) < 0)
		log_error("checkpoint %s is given up, the next start removes its files: %s",
			  txn->id, err.msg);
	txn_end(txn);
	/* Images that were put for it alone. */
	pthread_mutex_lock(&store->lock);
	if (store_images_sweep(store, &err) < 0)
		log_warn("shared images are left for the next removal: %s", err.msg);
	pthread_mutex_unlock(&store->lock);
}

static int txn_note_part(struct store_txn *txn, const char *path, const struct simg_ref *ref,
			 struct err *err)
{
	struct manifest_file *more;
	int rc = 0;

	pthread_mutex_lock(&txn->store->lock);
	more = reallocarray(txn->parts, txn->part_count + 1, sizeof(*more));
	if (more) {
		txn->parts = more;
		more += txn->part_count++;
		*more = (struct manifest_file){.ref = *ref};
		snprintf(more->name, sizeof(more->name), "%s", strrchr(path, '/') + 1);
	} else {
		rc = err_sys(err, ENOMEM, "part");
	}
	pthread_mutex_unlock(&txn->store->lock);
	return rc;
}

int store_txn_put(struct store_txn *txn, const char *part, const struct simg_source *source,
		  unsigned int threads, simg_progress_fn progress, void *progress_arg,
		  struct simg_ref *ret_ref, struct err *err)
{
	char path[IO_PATH_MAX];
	int rc = store_part_path(txn->store, txn->id, part, path, sizeof(path), err);

	if (rc < 0)
		return rc;
	rc = simg_write(path, source, threads, progress, progress_arg, ret_ref, err);
	if (rc == 0)
		return txn_note_part(txn, path, ret_ref, err);
	store_explain_space(txn->store, rc, part, source->logical_bytes, err);
	return rc;
}

static const struct manifest_file *txn_part(const struct store_txn *txn, const char *name)
{
	for (size_t i = 0; i < txn->part_count; i++)
		if (!strcmp(txn->parts[i].name, name))
			return &txn->parts[i];
	return NULL;
}

/* Does the manifest name exactly the parts that were put, as they were put? */
static int commit_check_parts(const struct store_txn *txn, const struct manifest_file *files,
			      size_t count, struct err *err)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++) {
		const struct manifest_file *part;

		if (files[i].shared)
			continue;
		part = txn_part(txn, files[i].name);
		if (!part || !simg_ref_equal(&part->ref, &files[i].ref))
			return err_set(err, EINVAL,
				       "the manifest names %s, which was not put like that",
				       files[i].name);
		found++;
	}
	if (found != txn->part_count)
		return err_set(err, EINVAL, "the manifest names %zu parts, %zu were put", found,
			       txn->part_count);
	return 0;
}

static int commit_check_images(const struct store *store, const struct manifest_file *files,
			       size_t count, struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		char path[IO_PATH_MAX];
		int rc;

		if (!files[i].shared)
			continue;
		rc = store_image_path(store, &files[i].ref, path, sizeof(path), err);
		if (rc == 0)
			rc = simg_check_index(path, &files[i].ref, err);
		if (rc < 0) {
			err_prefix(err, "image \"%s\"", files[i].name);
			return rc;
		}
	}
	return 0;
}

static int file_write_synced(const char *path, const char *text, size_t len, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc;

	if (fd < 0)
		return err_sys(err, errno, "cannot create %s", path);
	rc = io_write_all(fd, text, len, err);
	if (rc == 0 && fsync(fd) < 0)
		rc = err_sys(err, errno, "fsync");
	if (close(fd) < 0 && rc == 0)
		rc = err_sys(err, errno, "close");
	if (rc < 0)
		err_prefix(err, "cannot write %s", path);
	return rc;
}

/* Rename the manifest into place, durably; a rename that could not be made durable is taken
 * back. */
static int commit_rename(const struct store_txn *txn, const char *tmp, const char *path,
			 struct err *err)
{
	int rc = fault_hit(FAULT_STORE_RENAME, err);

	if (rc < 0)
		return rc;
	if (rename(tmp, path) < 0)
		return err_sys(err, errno, "cannot rename %s to %s", tmp, path);
	rc = io_sync_dir(txn->dir, err);
	if (rc == 0)
		rc = io_sync_parent(txn->dir, err);
	if (rc < 0)
		unlink(path);
	return rc;
}

static void commit_tell_catalog(struct store *store, const json_t *document)
{
	struct err fault = ERR_INIT;
	struct store_entry entry;
	int rc = fault_hit(FAULT_STORE_CATALOG, &fault);

	if (rc == 0)
		rc = store_entry_fill(document, false, &entry, &fault);
	if (rc == 0)
		rc = store_catalog_ensure(store, &fault);
	if (rc == 0)
		rc = catalog_put(store->catalog, &entry, &fault);
	if (rc < 0)
		store_catalog_missed(store, "a new checkpoint, which exists all the same,",
				     &fault);
}

static int commit_document(struct store_txn *txn, const json_t *document, struct err *err)
{
	CLEANUP_FREE struct manifest_file *files = NULL;
	CLEANUP_FREE char *text = NULL;
	char tmp[IO_PATH_MAX], path[IO_PATH_MAX];
	size_t len, count;
	int rc = manifest_encode(document, &text, &len, err);

	if (rc == 0)
		rc = manifest_files(document, &files, &count, err);
	if (rc == 0)
		rc = commit_check_parts(txn, files, count, err);
	if (rc == 0)
		rc = store_checkpoint_path(txn->store, txn->id, STORE_MANIFEST_TMP, tmp, err);
	if (rc == 0)
		rc = store_checkpoint_path(txn->store, txn->id, STORE_MANIFEST, path, err);
	if (rc == 0)
		rc = io_sync_dir(txn->dir, err);
	if (rc < 0)
		return rc;
	rc = file_write_synced(tmp, text, len, err);
	if (rc < 0) {
		store_explain_space(txn->store, rc, "a manifest", len, err);
		return rc;
	}
	/* From here on no image that the manifest names may go. */
	pthread_mutex_lock(&txn->store->lock);
	rc = commit_check_images(txn->store, files, count, err);
	if (rc == 0)
		rc = commit_rename(txn, tmp, path, err);
	if (rc == 0)
		commit_tell_catalog(txn->store, document);
	pthread_mutex_unlock(&txn->store->lock);
	return rc;
}

int store_commit(struct store_txn *txn, json_t *manifest, struct err *err)
{
	const char *cluster = json_string_value(json_object_get(manifest, "cluster"));
	json_t *document = json_copy(manifest);
	int rc = 0;

	if (!cluster || strcmp(cluster, txn->cluster))
		rc = err_set(err, EINVAL, "the manifest is not one of cluster \"%s\"",
			     txn->cluster);
	else if (!document ||
		 json_object_set_new(document, "format", json_integer(MANIFEST_VERSION)) < 0 ||
		 json_object_set_new(document, "id", json_string(txn->id)) < 0)
		rc = err_sys(err, ENOMEM, "manifest");
	else
		rc = commit_document(txn, document, err);
	json_decref(document);
	if (rc < 0)
		store_abort(txn);
	else
		txn_end(txn);
	return rc;
}
