/* SPDX-License-Identifier: BSD-3-Clause */
/* What is on disk: the directories of checkpoints, and the sweeping of those without a
 * manifest. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "store/store_priv.h"

int store_scan(const struct store *store, store_id **ret_ids, size_t *ret_count,
	       struct err *err)
{
	CLEANUP_CLOSEDIR DIR *handle = NULL;
	CLEANUP_FREE store_id *ids = NULL;
	size_t count = 0, room = 0;
	char path[IO_PATH_MAX];
	struct dirent *item;
	int rc = io_path(path, sizeof(path), err, "%s/checkpoints", store->dir);

	if (rc < 0)
		return rc;
	handle = opendir(path);
	if (!handle)
		return err_sys(err, errno, "cannot open directory %s", path);
	while (errno = 0, (item = readdir(handle))) {
		if (!name_valid(item->d_name, STORE_ID_MAX - 1))
			continue;
		if (count == room) {
			store_id *more;

			room = room ? 2 * room : 16;
			more = reallocarray(ids, room, sizeof(*more));
			if (!more)
				return err_sys(err, ENOMEM, "list of checkpoints");
			ids = more;
		}
		strcpy(ids[count++], item->d_name); /* name_valid() has bounded it */
	}
	if (errno)
		return err_sys(err, errno, "cannot read directory %s", path);
	*ret_ids = TAKE_PTR(ids);
	*ret_count = count;
	return 0;
}

int store_checkpoint_has(const struct store *store, const char *id, const char *name,
			 struct err *err)
{
	char path[IO_PATH_MAX];
	struct stat st;
	int rc = store_checkpoint_path(store, id, name, path, err);

	if (rc < 0)
		return rc;
	if (lstat(path, &st) == 0)
		return 1;
	return errno == ENOENT ? 0 : err_sys(err, errno, "cannot stat %s", path);
}

/* Remove the image that a killed process was putting. */
static int sweep_image(struct store *store, struct err *err)
{
	char path[IO_PATH_MAX];
	int rc = io_path(path, sizeof(path), err, "%s/" STORE_IMAGE_TMP, store->dir);

	if (rc < 0)
		return rc;
	if (unlink(path) == 0)
		log_warn("removed an unfinished image");
	else if (errno != ENOENT)
		return err_sys(err, errno, "cannot remove %s", path);
	return 0;
}

int store_sweep(struct store *store, struct err *err)
{
	CLEANUP_FREE store_id *ids = NULL;
	size_t count;
	int rc = sweep_image(store, err);

	if (rc == 0)
		rc = store_scan(store, &ids, &count, err);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct err fault = ERR_INIT;
		char path[IO_PATH_MAX];
		int has = store_checkpoint_has(store, ids[i], STORE_MANIFEST, &fault),
		    withdrawn;

		if (has < 0)
			log_warn("left alone: %s", fault.msg);
		if (has != 0)
			continue;
		withdrawn = store_checkpoint_has(store, ids[i], STORE_MANIFEST_REMOVED, NULL);
		rc = store_checkpoint_path(store, ids[i], NULL, path, err);
		if (rc == 0)
			rc = io_remove_all(path, err);
		if (rc == 0 && withdrawn == 1)
			log_info("finished the removal of checkpoint %s", ids[i]);
		else if (rc == 0)
			log_warn("removed what the unfinished checkpoint %s left", ids[i]);
	}
	return rc;
}
