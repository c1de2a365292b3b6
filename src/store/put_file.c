/* SPDX-License-Identifier: BSD-3-Clause */
/* Images that checkpoints share: a file is put once, and remembered. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "store/fd_source.h"
#include "store/store_txn.h"

/*
 * A file is known by device, inode, size and times. One that changed less than this before it
 * was hashed might change again within the same tick of the file system's clock, so it is not
 * remembered.
 */
static const int64_t settled_ns = 100 * NS_PER_MS;

int store_source_fd(int fd, struct store_source *ret_source, struct err *err)
{
	struct fd_source *source;
	uint64_t bytes;
	int rc = fd_source_create(fd, &source, &bytes, err);

	if (rc < 0)
		return rc;
	*ret_source = (struct store_source){
		.logical_bytes = bytes,
		.next_data = fd_source_next_data,
		.block = fd_source_block,
		.arg = source,
	};
	return 0;
}

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

static bool file_known(struct store *store, const struct catalog_file *file,
		       struct stream_ref *ret_ref)
{
	int rc;

	pthread_mutex_lock(&store->lock);
	rc = store->catalog ? catalog_file_recall(store->catalog, file, ret_ref, NULL) : 0;
	pthread_mutex_unlock(&store->lock);
	return rc == 1;
}

/* Find a file that was put before and whose stream some checkpoint has: 1, 0 or -errno. */
static int file_recall(struct store_txn *txn, const struct catalog_file *file,
		       struct stream_ref *ret_ref, struct err *err)
{
	return file_known(txn->store, file, ret_ref) ? store_txn_adopt(txn, ret_ref, err) : 0;
}

bool store_file_is(struct store *store, const char *path, const struct stream_ref *ref)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct catalog_file file;
	struct stream_ref known;

	return fd >= 0 && file_identify(fd, path, &file, NULL) == 0 &&
	       file_known(store, &file, &known) && stream_ref_equal(&known, ref);
}

static void file_remember(struct store *store, const struct catalog_file *file,
			  const struct stream_ref *ref)
{
	pthread_mutex_lock(&store->lock);
	if (store->catalog)
		catalog_file_remember(store->catalog, file, ref, NULL);
	pthread_mutex_unlock(&store->lock);
}

static int file_put(struct store_txn *txn, int fd, const char *path,
		    const struct catalog_file *file, struct stream_ref *ret_ref,
		    const struct store_work *work, struct err *err)
{
	bool settled = file->ctime_ns < clock_real_ns() - settled_ns;
	struct store_source source;
	struct store_part part = {.source = &source};
	struct catalog_file after;
	int rc = store_source_fd(fd, &source, err);

	if (rc < 0)
		return rc;
	rc = store_txn_put(txn, &part, 1, work, err);
	free(source.arg);
	if (rc == 0)
		rc = file_identify(fd, path, &after, err);
	if (rc < 0)
		return rc;
	/* A new hard link changes only the file's status, not its bytes. */
	if (file->size_bytes != after.size_bytes || file->mtime_ns != after.mtime_ns)
		return err_set(err, EAGAIN,
			       "%s changed while it was read: it must not be in use", path);
	*ret_ref = part.ref;
	if (settled && file->ctime_ns == after.ctime_ns)
		file_remember(txn->store, file, ret_ref);
	return 0;
}

int store_txn_put_file(struct store_txn *txn, const char *path, struct stream_ref *ret_ref,
		       const struct store_work *work, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct catalog_file file;
	int rc;

	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", path);
	rc = file_identify(fd, path, &file, err);
	if (rc == 0)
		rc = file_recall(txn, &file, ret_ref, err);
	if (rc == 0)
		rc = file_put(txn, fd, path, &file, ret_ref, work, err);
	return rc < 0 ? rc : 0;
}
