/* SPDX-License-Identifier: BSD-3-Clause */
/* The store as a directory: opening, locking, paths, and what is asked of its catalog and
 * manifests. */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "store/hash.h"
#include "store/store_priv.h"

enum { FORMAT_VERSION = 1, FORMAT_BYTES_MAX = 64 };

static const char format_magic[] = "stasis-store ";

/* A directory may become a store if it holds nothing but what a half-made store or a new file
 * system has. */
static int dir_check_empty(const char *dir, struct err *err)
{
	static const char *const allowed[] = {".", "..", "lock", "format.tmp", "lost+found"};
	CLEANUP_CLOSEDIR DIR *handle = opendir(dir);
	struct dirent *item;

	if (!handle)
		return err_sys(err, errno, "cannot open directory %s", dir);
	while ((item = readdir(handle))) {
		bool known = false;

		for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
			known |= !strcmp(item->d_name, allowed[i]);
		if (!known)
			return err_set(
				err, ENOTEMPTY,
				"%s is neither a store nor empty (it holds \"%s\"): name an "
				"empty or new directory",
				dir, item->d_name);
	}
	return 0;
}

static int format_check(const char *dir, const char *text, struct err *err)
{
	const size_t skip = sizeof(format_magic) - 1;
	unsigned long version;
	char *end;

	if (strncmp(text, format_magic, skip) || text[skip] < '1' || text[skip] > '9')
		return err_set(err, EBADMSG, "%s/format is not a store's format file", dir);
	version = strtoul(text + skip, &end, 10);
	if (strcmp(end, "\n"))
		return err_set(err, EBADMSG, "%s/format is not a store's format file", dir);
	if (version > FORMAT_VERSION)
		return err_set(err, EPROTONOSUPPORT,
			       "the store %s has format version %lu, this program "
			       "knows versions up to %d",
			       dir, version, FORMAT_VERSION);
	return 0;
}

/* Check an existing store's format; a missing format file is fine in an empty directory. Sets
 * *ret_new. */
static int format_probe(const char *dir, bool *ret_new, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	char path[IO_PATH_MAX];
	int rc = io_path(path, sizeof(path), err, "%s/format", dir);

	if (rc < 0)
		return rc;
	rc = io_read_file(path, FORMAT_BYTES_MAX, &text, NULL, err);
	*ret_new = rc == -ENOENT;
	if (rc == 0)
		return format_check(dir, text, err);
	return rc == -ENOENT ? dir_check_empty(dir, err) : rc;
}

static int store_lock(struct store *store, struct err *err)
{
	char path[IO_PATH_MAX], text[32];
	int len, rc = io_path(path, sizeof(path), err, "%s/lock", store->dir);

	if (rc < 0)
		return rc;
	store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (store->lock_fd < 0)
		return err_sys(err, errno, "cannot open %s", path);
	if (flock(store->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		ssize_t n = pread(store->lock_fd, text, sizeof(text) - 1, 0);

		if (errno != EWOULDBLOCK)
			return err_sys(err, errno, "cannot lock %s", path);
		text[n > 0 ? n : 0] = '\0';
		return err_set(err, EBUSY,
			       "the store %s is in use by another process (pid %.*s)",
			       store->dir, (int)strcspn(text, "\n"), text);
	}
	/* The pid is a help for people; a full file system must not keep the store from
	 * opening. */
	len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(store->lock_fd, 0) == 0)
		io_pwrite_all(store->lock_fd, text, (size_t)len, 0, NULL);
	return 0;
}

static int store_make_dirs(struct store *store, bool is_new, struct err *err)
{
	static const char *const names[] = {"images", "checkpoints"};
	char path[IO_PATH_MAX], text[FORMAT_BYTES_MAX];
	int len, rc;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		rc = io_path(path, sizeof(path), err, "%s/%s", store->dir, names[i]);
		if (rc < 0)
			return rc;
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return err_sys(err, errno, "cannot create directory %s", path);
	}
	if (!is_new)
		return 0;
	rc = io_path(path, sizeof(path), err, "%s/format", store->dir);
	if (rc < 0)
		return rc;
	len = snprintf(text, sizeof(text), "%s%d\n", format_magic, FORMAT_VERSION);
	return io_replace_file(path, text, (size_t)len, 0600, err);
}

static int store_init(struct store *store, const char *dir, struct err *err)
{
	bool is_new;
	int rc = io_mkdir_all(dir, 0700, err);

	if (rc == 0 && !realpath(dir, store->dir))
		rc = err_sys(err, errno, "cannot resolve %s", dir);
	if (rc == 0)
		rc = format_probe(store->dir, &is_new, err);
	if (rc == 0)
		rc = store_lock(store, err);
	/* Between the first look and the lock another process may have made the store. */
	if (rc == 0)
		rc = format_probe(store->dir, &is_new, err);
	if (rc == 0)
		rc = store_make_dirs(store, is_new, err);
	if (rc == 0)
		rc = store_sweep(store, err);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&store->lock);
	rc = store_catalog_open(store, err);
	if (rc == 0)
		rc = store_images_sweep(store, err);
	pthread_mutex_unlock(&store->lock);
	return rc;
}

int store_open(const char *dir, struct store **ret_store, struct err *err)
{
	struct store *store = calloc(1, sizeof(*store));
	int rc;

	if (!store)
		return err_sys(err, ENOMEM, "store");
	store->lock_fd = -1;
	pthread_mutex_init(&store->lock, NULL);
	pthread_mutex_init(&store->image_lock, NULL);
	rc = store_init(store, dir, err);
	if (rc < 0)
		store_close(store);
	else
		*ret_store = store;
	return rc;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	catalog_close(store->catalog);
	free(store->pins);
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	pthread_mutex_destroy(&store->image_lock);
	pthread_mutex_destroy(&store->lock);
	free(store);
}

const char *store_dir(const struct store *store)
{
	return store->dir;
}

int store_image_path(const struct store *store, const struct simg_ref *ref, char *ret_path,
		     size_t size, struct err *err)
{
	char hex[HASH_HEX_MAX];

	hash_to_hex(ref->root, hex);
	return io_path(ret_path, size, err, "%s/images/%s.simg", store->dir, hex);
}

int store_part_path(const struct store *store, const char *id, const char *part, char *ret_path,
		    size_t size, struct err *err)
{
	char file[NAME_FILE_LEN_MAX + 1];

	if (!name_valid(id, STORE_ID_MAX - 1))
		return err_set(err, EINVAL, "\"%.80s\" is not the id of a checkpoint", id);
	if ((size_t)snprintf(file, sizeof(file), "%s.simg", part) >= sizeof(file) ||
	    !name_valid_file(file))
		return err_set(err, EINVAL, "\"%.80s\" is not the name of a part", part);
	return io_path(ret_path, size, err, "%s/checkpoints/%s/%s", store->dir, id, file);
}

int store_checkpoint_path(const struct store *store, const char *id, const char *name,
			  char ret_path[IO_PATH_MAX], struct err *err)
{
	if (!name_valid(id, STORE_ID_MAX - 1))
		return err_set(err, EINVAL, "\"%.80s\" is not the id of a checkpoint", id);
	return io_path(ret_path, IO_PATH_MAX, err, "%s/checkpoints/%s%s%s", store->dir, id,
		       name ? "/" : "", name ? name : "");
}

void store_explain_space(const struct store *store, int rc, const char *what,
			 uint64_t need_bytes, struct err *err)
{
	uint64_t free_bytes = 0;

	if (rc != -ENOSPC && rc != -EDQUOT)
		return;
	io_free_bytes(store->dir, &free_bytes, NULL);
	err_prefix(err,
		   "no space left on the store %s: %s needs up to %llu bytes, %llu are free",
		   store->dir, what, (unsigned long long)need_bytes,
		   (unsigned long long)free_bytes);
}

int store_list(struct store *store, const char *cluster, struct store_entry **ret_entries,
	       size_t *ret_count, struct err *err)
{
	int rc;

	pthread_mutex_lock(&store->lock);
	rc = store_catalog_ensure(store, err);
	if (rc == 0)
		rc = catalog_list(store->catalog, cluster, ret_entries, ret_count, err);
	if (rc < 0) {
		/* Whatever is wrong with the catalog, the manifests can replace it. */
		rc = store_catalog_rebuild(store, err);
		if (rc == 0)
			rc = catalog_list(store->catalog, cluster, ret_entries, ret_count, err);
	}
	pthread_mutex_unlock(&store->lock);
	return rc;
}

int store_newest(struct store *store, const char *cluster, char ret_id[STORE_ID_MAX],
		 struct err *err)
{
	CLEANUP_FREE struct store_entry *entries = NULL;
	size_t count;
	int rc = store_list(store, cluster, &entries, &count, err);

	if (rc < 0)
		return rc;
	for (; count > 0; count--) {
		struct err fault = ERR_INIT;
		json_t *manifest;

		if (entries[count - 1].damaged)
			continue;
		/* One that was damaged or lost unnoticed, or that a newer program wrote, must
		 * not stand in front of those that can be used. */
		rc = store_manifest(store, entries[count - 1].id, &manifest, &fault);
		if (rc == 0) {
			json_decref(manifest);
			memcpy(ret_id, entries[count - 1].id, STORE_ID_MAX);
			return 0;
		}
		log_warn("passed over: %s", fault.msg);
	}
	return err_set(err, ENOENT, "cluster \"%s\" has no good checkpoint in the store %s",
		       cluster, store->dir);
}

int store_manifest(struct store *store, const char *id, json_t **ret_manifest, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	char path[IO_PATH_MAX];
	json_t *manifest;
	size_t len;
	int rc = store_checkpoint_path(store, id, STORE_MANIFEST, path, err);

	if (rc < 0)
		return rc;
	rc = io_read_file(path, MANIFEST_BYTES_MAX + FORMAT_BYTES_MAX * 4, &text, &len, err);
	if (rc == -ENOENT)
		return err_set(err, ENOENT, "there is no checkpoint \"%s\" in the store %s", id,
			       store->dir);
	if (rc == -EFBIG)
		return err_set(err, EBADMSG,
			       "checkpoint %s: the manifest is damaged: it is too large", id);
	if (rc < 0)
		return rc;
	rc = manifest_decode(text, len, &manifest, err);
	if (rc < 0) {
		err_prefix(err, "checkpoint %s", id);
		return rc;
	}
	if (strcmp(json_string_value(json_object_get(manifest, "id")), id)) {
		rc = err_set(err, EBADMSG, "checkpoint %s: its manifest is that of %s", id,
			     json_string_value(json_object_get(manifest, "id")));
		json_decref(manifest);
		return rc;
	}
	*ret_manifest = manifest;
	return 0;
}

int store_rebuild_catalog(struct store *store, struct err *err)
{
	int rc;

	pthread_mutex_lock(&store->lock);
	rc = store_catalog_rebuild(store, err);
	pthread_mutex_unlock(&store->lock);
	return rc;
}
