/* SPDX-License-Identifier: BSD-3-Clause */
/* Images that checkpoints share: putting them into the store, and removing those that nobody
 * names. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/hash.h"
#include "store/store_priv.h"

/*
 * A file is known by device, inode, size and times. One that changed less than this before it
 * was hashed might change again within the same tick of the file system's clock, so it is not
 * remembered.
 */
static const int64_t settled_ns = 100 * NS_PER_MS;

static int file_identify(int fd, const char *path, struct catalog_file *ret_file,
			 struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot stat %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "%s is not a regular file", path);
	*ret_file = (struct catalog_file){
		.device = st.st_dev,
		.inode = st.st_ino,
		.size_bytes = (uint64_t)st.st_size,
		.mtime_ns = st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec,
		.ctime_ns = st.st_ctim.tv_sec * NS_PER_S + st.st_ctim.tv_nsec,
	};
	return 0;
}

static bool file_same(const struct catalog_file *a, const struct catalog_file *b)
{
	return a->size_bytes == b->size_bytes && a->mtime_ns == b->mtime_ns &&
	       a->ctime_ns == b->ctime_ns;
}

/* Keep the image until no transaction is open. */
static int image_pin(struct store *store, const struct simg_ref *ref, struct err *err)
{
	struct simg_ref *more = reallocarray(store->pins, store->pin_count + 1, sizeof(*more));

	if (!more)
		return err_sys(err, ENOMEM, "image");
	store->pins = more;
	store->pins[store->pin_count++] = *ref;
	return 0;
}

static bool image_pinned(const struct store *store, const uint8_t *root)
{
	for (size_t i = 0; i < store->pin_count; i++)
		if (!memcmp(store->pins[i].root, root, SIMG_HASH_BYTES))
			return true;
	return false;
}

/* Find a file that was put before and whose image is still there, and pin it: 1, 0 or -errno.
 */
static int image_recall(struct store *store, const struct catalog_file *file,
			struct simg_ref *ret_ref, struct err *err)
{
	struct err fault = ERR_INIT;
	char path[IO_PATH_MAX];
	struct stat st;
	int rc;

	pthread_mutex_lock(&store->lock);
	rc = store_catalog_ensure(store, &fault);
	if (rc == 0)
		rc = catalog_file_recall(store->catalog, file, ret_ref, &fault);
	if (rc < 0)
		store_catalog_missed(store, "a question for an image", &fault);
	rc = rc == 1 && store_image_path(store, ret_ref, path, sizeof(path), NULL) == 0 &&
	     stat(path, &st) == 0 && (uint64_t)st.st_size == ret_ref->file_bytes;
	if (rc == 1 && image_pin(store, ret_ref, err) < 0)
		rc = -ENOMEM;
	pthread_mutex_unlock(&store->lock);
	return rc;
}

/* Give a written image its name, pin it, and remember the file it came from. */
static int image_publish(struct store *store, const char *tmp, const struct simg_ref *ref,
			 const struct catalog_file *file, bool settled, struct err *err)
{
	struct err fault = ERR_INIT;
	char path[IO_PATH_MAX];
	int rc = store_image_path(store, ref, path, sizeof(path), err);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&store->lock);
	rc = image_pin(store, ref, err);
	if (rc == 0 && rename(tmp, path) < 0)
		rc = err_sys(err, errno, "cannot rename %s to %s", tmp, path);
	if (rc == 0)
		rc = io_sync_parent(path, err);
	if (rc == 0 && settled && store_catalog_ensure(store, &fault) == 0 &&
	    catalog_file_remember(store->catalog, file, ref, &fault) < 0)
		store_catalog_missed(store, "an image", &fault);
	pthread_mutex_unlock(&store->lock);
	return rc;
}

static int image_write(struct store *store, int fd, const char *path,
		       const struct catalog_file *file, struct simg_ref *ret_ref,
		       struct err *err)
{
	bool settled = file->ctime_ns < clock_real_ns() - settled_ns;
	struct simg_source source;
	struct catalog_file after;
	char tmp[IO_PATH_MAX];
	int rc = io_path(tmp, sizeof(tmp), err, "%s/" STORE_IMAGE_TMP, store->dir);

	if (rc == 0)
		rc = simg_source_fd(fd, &source, err);
	if (rc < 0)
		return rc;
	rc = simg_write(tmp, &source, 0, NULL, NULL, ret_ref, err);
	free(source.arg);
	if (rc < 0) {
		store_explain_space(store, rc, "an image", file->size_bytes, err);
		return rc;
	}
	rc = file_identify(fd, path, &after, err);
	/* A new hard link changes only the file's status, not its bytes. */
	if (rc == 0 &&
	    (file->size_bytes != after.size_bytes || file->mtime_ns != after.mtime_ns))
		rc = err_set(err, EAGAIN, "%s changed while it was read: it must not be in use",
			     path);
	if (rc == 0)
		rc = image_publish(store, tmp, ret_ref, file,
				   settled && file_same(file, &after), err);
	if (rc < 0)
		unlink(tmp);
	return rc;
}

int store_image_put(struct store *store, const char *path, struct simg_ref *ret_ref,
		    struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct catalog_file file;
	int rc;

	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", path);
	rc = file_identify(fd, path, &file, err);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&store->image_lock);
	rc = image_recall(store, &file, ret_ref, err);
	if (rc == 0)
		rc = image_write(store, fd, path, &file, ret_ref, err);
	pthread_mutex_unlock(&store->image_lock);
	return rc < 0 ? rc : 0;
}

/* Add the roots of the images that a checkpoint names to the set `used`. */
static int images_note(struct store *store, const char *id, json_t *used, struct err *err)
{
	CLEANUP_FREE struct manifest_file *files = NULL;
	json_t *manifest;
	size_t count;
	int rc = store_manifest(store, id, &manifest, err);

	if (rc < 0)
		return rc;
	rc = manifest_files(manifest, &files, &count, err);
	json_decref(manifest);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		char hex[HASH_HEX_MAX];

		hash_to_hex(files[i].ref.root, hex);
		if (files[i].shared && json_object_set_new(used, hex, json_true()) < 0)
			rc = err_sys(err, ENOMEM, "set of images");
	}
	return rc;
}

/* Remove the images whose root is neither in `used` nor pinned. */
static int images_remove_unused(struct store *store, const json_t *used, struct err *err)
{
	CLEANUP_CLOSEDIR DIR *handle = NULL;
	char dir[IO_PATH_MAX];
	struct dirent *item;
	int rc = io_path(dir, sizeof(dir), err, "%s/images", store->dir);

	if (rc < 0)
		return rc;
	handle = opendir(dir);
	if (!handle)
		return err_sys(err, errno, "cannot open directory %s", dir);
	while ((item = readdir(handle))) {
		uint8_t root[HASH_BYTES];
		char hex[HASH_HEX_MAX];

		if (!hash_from_hex(item->d_name, root) ||
		    strcmp(item->d_name + HASH_HEX_MAX - 1, ".simg"))
			continue;
		hash_to_hex(root, hex);
		if (json_object_get(used, hex) || image_pinned(store, root))
			continue;
		if (unlinkat(dirfd(handle), item->d_name, 0) < 0 && errno != ENOENT)
			return err_sys(err, errno, "cannot remove %s/%s", dir, item->d_name);
		log_info("removed image %.12s, which no checkpoint names", hex);
	}
	return 0;
}

int store_images_sweep(struct store *store, struct err *err)
{
	CLEANUP_FREE store_id *ids = NULL;
	json_t *used = json_object();
	size_t count;
	int rc = used ? store_scan(store, &ids, &count, err) : err_sys(err, ENOMEM, "images");

	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct err fault = ERR_INIT;

		rc = store_checkpoint_has(store, ids[i], STORE_MANIFEST, &fault);
		if (rc == 1)
			rc = images_note(store, ids[i], used, &fault);
		if (rc < 0) {
			/* It may name any image: keep all. */
			log_warn("shared images are kept: %s", fault.msg);
			json_decref(used);
			return 0;
		}
	}
	if (rc == 0)
		rc = images_remove_unused(store, used, err);
	json_decref(used);
	return rc;
}
