/* SPDX-License-Identifier: BSD-3-Clause */
/* Removal of a checkpoint: its manifest first, so that it never exists in part. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/log.h"
#include "store/store_txn.h"

static bool being_written(const struct store *store, const char *id)
{
	for (const struct store_txn *txn = store->txns; txn; txn = txn->next)
		if (!strcmp(txn->id, id))
			return true;
	return false;
}

/* Rename the manifest away, durably. One that is gone already is a removal that was begun
 * before. */
static int manifest_withdraw(struct store *store, const char *id, const char *dir,
			     struct err *err)
{
	char from[IO_PATH_MAX], to[IO_PATH_MAX];
	int rc = store_checkpoint_path(store, id, STORE_MANIFEST, from, err);

	if (rc == 0)
		rc = store_checkpoint_path(store, id, STORE_MANIFEST_REMOVED, to, err);
	if (rc < 0)
		return rc;
	if (rename(from, to) < 0 && errno != ENOENT)
		return err_sys(err, errno, "cannot rename %s to %s", from, to);
	return io_sync_dir(dir, err);
}

static int remove_locked(struct store *store, const char *id, const char *dir, struct err *err)
{
	struct err fault = ERR_INIT;
	struct stat st;
	int rc;

	if (being_written(store, id))
		return err_set(err, EBUSY, "checkpoint %s is still being written", id);
	if (lstat(dir, &st) < 0)
		return errno == ENOENT
			       ? err_set(err, ENOENT,
					 "there is no checkpoint \"%s\" in the store %s", id,
					 store->dir)
			       : err_sys(err, errno, "cannot stat %s", dir);
	rc = manifest_withdraw(store, id, dir, err);
	if (rc < 0)
		return rc;
	rc = store_catalog_ensure(store, &fault);
	if (rc == 0)
		rc = catalog_remove(store->catalog, id, &fault);
	if (rc < 0)
		store_catalog_missed(store, "a removal", &fault);
	rc = fault_hit(FAULT_STORE_REMOVE, err);
	if (rc == 0)
		rc = io_remove_all(dir, err);
	if (rc == 0)
		rc = io_sync_parent(dir, err);
	if (rc < 0) {
		err_prefix(
			err,
			"checkpoint %s is removed, but its files are not yet (the next start "
			"removes them)",
			id);
		return rc;
	}
	if (store_images_sweep(store, &fault) < 0)
		log_warn("shared images are left for the next removal: %s", fault.msg);
	return 0;
}

int store_remove(struct store *store, const char *id, struct err *err)
{
	char dir[IO_PATH_MAX];
	int rc = store_checkpoint_path(store, id, NULL, dir, err);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&store->lock);
	rc = remove_locked(store, id, dir, err);
	pthread_mutex_unlock(&store->lock);
	return rc;
}
