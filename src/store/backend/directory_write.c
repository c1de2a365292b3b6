/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The writer of the directory backend: a temporary file, renamed into place when it is durable.
 *
 * What comes in whole pages goes to the disk directly: it costs no copying, and the host's
 * memory is left to the guests. The rest, and everything where the file system does not offer
 * that, goes through the page cache and is written back early.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "store/backend/directory_priv.h"

/* So much is written before the kernel is asked to begin writing it back; the fsync at the end
 * then finds little left to do. */
enum { WRITE_BACK_BYTES = 8 << 20 };

/* Through the page cache a larger write makes the kernel look for larger folios, for which it
 * may have to compact memory, or touch some that its hypervisor has not given it yet: 128 MiB
 * in a new file took 0.03 s in writes of 128 KiB and 0.3 to 0.4 s in writes of 1 MiB. */
enum { WRITE_BYTES = 128 << 10 };

/* Of addresses, lengths and offsets of what is written directly. */
enum { DIRECT_ALIGN = 4096 };

struct directory_kind {
	struct directory_kind *next;
	char name[BACKEND_KIND_LEN_MAX + 1];
};

struct backend_writer {
	struct directory *directory;
	char kind[BACKEND_KIND_LEN_MAX + 1];
	char tmp[IO_PATH_MAX], path[IO_PATH_MAX];
	int fd;
	bool direct; /* past the page cache */
	uint64_t written, sent_back;
};

void directory_kinds_free(struct directory *directory)
{
	pthread_mutex_lock(&directory->kinds_lock);
	while (directory->kinds) {
		struct directory_kind *kind = directory->kinds;

		directory->kinds = kind->next;
		free(kind);
	}
	pthread_mutex_unlock(&directory->kinds_lock);
}

static bool kind_known(struct directory *directory, const char *name)
{
	const struct directory_kind *kind;
	bool known = false;

	pthread_mutex_lock(&directory->kinds_lock);
	for (kind = directory->kinds; kind && !known; kind = kind->next)
		known = !strcmp(kind->name, name);
	pthread_mutex_unlock(&directory->kinds_lock);
	return known;
}

/* Make sure that a kind's subdirectory exists and would survive a loss of power. */
static int kind_ensure(struct directory *directory, const char *name, struct err *err)
{
	char path[IO_PATH_MAX];
	struct directory_kind *kind;
	int rc;

	rc = directory_check_root(directory, err);
	if (rc < 0 || kind_known(directory, name))
		return rc;
	rc = directory_path(directory, name, path, err);
	if (rc < 0)
		return rc;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(err, errno, "cannot create directory %s", path);
	rc = io_sync_dir(directory->base.where, err);
	if (rc < 0)
		return rc;
	kind = calloc(1, sizeof(*kind));
	if (!kind)
		return err_sys(err, ENOMEM, "directory %s", path);
	snprintf(kind->name, sizeof(kind->name), "%s", name);
	pthread_mutex_lock(&directory->kinds_lock);
	kind->next = directory->kinds;
	directory->kinds = kind;
	pthread_mutex_unlock(&directory->kinds_lock);
	return 0;
}

int directory_temporary(const struct directory *directory, const char *kind,
			char ret_path[IO_PATH_MAX], struct err *err)
{
	uint64_t salt;

	if (getrandom(&salt, sizeof(salt), 0) != sizeof(salt))
		return err_sys(err, errno, "no random number for a temporary name");
	return io_path(ret_path, IO_PATH_MAX, err,
		       "%s/%s/" DIRECTORY_TMP "%016" PRIx64 "-%d-%" PRIu64 "-%016" PRIx64,
		       directory->base.where, kind, directory->machine, (int)directory->pid,
		       directory->start_time, salt);
}

static int writer_flags(const struct backend_writer *writer, int flags)
{
	return fcntl(writer->fd, F_SETFL, flags);
}

static int writer_create(struct backend_writer *writer, struct err *err)
{
	int rc = kind_ensure(writer->directory, writer->kind, err);

	if (rc == 0)
		rc = directory_temporary(writer->directory, writer->kind, writer->tmp, err);
	if (rc < 0)
		return rc;
	writer->fd =
		open(writer->tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (writer->fd < 0)
		return err_sys(err, errno, "cannot create %s", writer->tmp);
	writer->direct = writer_flags(writer, O_DIRECT) == 0;
	return 0;
}

static int writer_open(struct backend_writer *writer, struct err *err)
{
	struct directory *directory = writer->directory;
	int rc = writer_create(writer, err);

	if (rc != -ENOENT)
		return rc;
	rc = directory_check_root(directory, err);
	if (rc < 0)
		return rc;
	/* Somebody removed the empty subdirectory. */
	directory_kinds_free(directory);
	return writer_create(writer, err);
}

int directory_begin(struct backend *backend, const char *name,
		    struct backend_writer **ret_writer, struct err *err)
{
	CLEANUP_FREE struct backend_writer *writer = NULL;
	int rc = backend_check_object(name, err);

	if (rc < 0)
		return rc;
	writer = calloc(1, sizeof(*writer));
	if (!writer)
		return err_sys(err, ENOMEM, "object %s", name);
	writer->directory = (struct directory *)backend;
	snprintf(writer->kind, sizeof(writer->kind), "%.*s", (int)strcspn(name, "/"), name);
	rc = directory_path(writer->directory, name, writer->path, err);
	if (rc == 0)
		rc = writer_open(writer, err);
	if (rc < 0)
		return rc;
	*ret_writer = TAKE_PTR(writer);
	return 0;
}

/* Ask for the write-back of what was written since the last time; its errors are fsync's to
 * report. */
static void writer_send_back(struct backend_writer *writer)
{
	if (writer->direct)
		writer->sent_back = writer->written;
	if (writer->written - writer->sent_back < WRITE_BACK_BYTES)
		return;
	sync_file_range(writer->fd, (off_t)writer->sent_back,
			(off_t)(writer->written - writer->sent_back), SYNC_FILE_RANGE_WRITE);
	writer->sent_back = writer->written;
}

/* As much as one write takes; what is not in whole pages ends the direct way for good. */
static ssize_t writer_write(struct backend_writer *writer, const char *data, size_t len)
{
	ssize_t n;

	if (writer->direct && ((uintptr_t)data % DIRECT_ALIGN || len % DIRECT_ALIGN ||
			       writer->written % DIRECT_ALIGN))
		writer->direct = writer_flags(writer, 0) < 0;
	if (!writer->direct)
		return write(writer->fd, data, len < WRITE_BYTES ? len : WRITE_BYTES);
	n = write(writer->fd, data, len);
	if (n >= 0 || errno != EINVAL)
		return n;
	writer->direct = writer_flags(writer, 0) < 0;
	return write(writer->fd, data, len < WRITE_BYTES ? len : WRITE_BYTES);
}

int directory_append(struct backend_writer *writer, const void *data, size_t len,
		     struct err *err)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n;
		int rc = fault_hit(FAULT_STORE_WRITE, err);

		if (rc < 0) {
			err_prefix(err, "cannot write %s", writer->path);
			return rc;
		}
		n = writer_write(writer, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "cannot write %s (after %" PRIu64 " bytes)",
				       writer->path, writer->written);
		if (n == 0)
			return err_set(err, EIO,
				       "cannot write %s: the file system takes no bytes",
				       writer->path);
		at += n;
		len -= (size_t)n;
		writer->written += (uint64_t)n;
		writer_send_back(writer);
	}
	return 0;
}

static void writer_free(struct backend_writer *writer)
{
	if (writer->fd >= 0)
		close(writer->fd);
	free(writer);
}

void directory_abort(struct backend_writer *writer)
{
	unlink(writer->tmp);
	writer_free(writer);
}

static int writer_sync(struct backend_writer *writer, struct err *err)
{
	int rc = fault_hit(FAULT_STORE_FSYNC, err);

	if (rc < 0) {
		err_prefix(err, "cannot write %s", writer->path);
		return rc;
	}
	if (fsync(writer->fd) < 0)
		return err_sys(err, errno, "cannot fsync %s", writer->path);
	/* A server may report here what it could not write. */
	if (close(TAKE_FD(writer->fd)) < 0)
		return err_sys(err, errno, "cannot close %s", writer->path);
	return 0;
}

/* A new object whose name could not be made durable is taken back; one that took another's
 * place is as whole as that one was, and stays. */
static int writer_rename(struct backend_writer *writer, struct err *err)
{
	bool fresh = access(writer->path, F_OK) < 0;
	int rc = fault_hit(FAULT_STORE_RENAME, err);

	if (rc < 0) {
		err_prefix(err, "cannot put %s in place", writer->path);
		return rc;
	}
	if (rename(writer->tmp, writer->path) < 0) {
		rc = errno;
		if (rc == ENOENT && directory_check_root(writer->directory, err) < 0)
			return -EIO;
		return err_sys(err, rc == ENOENT ? EIO : rc, "cannot rename %s to %s",
			       writer->tmp, writer->path);
	}
	rc = io_sync_parent(writer->path, err);
	if (rc < 0 && fresh)
		unlink(writer->path);
	return rc;
}

int directory_commit(struct backend_writer *writer, struct err *err)
{
	struct directory *directory = writer->directory;
	int rc = writer_sync(writer, err);

	if (rc == 0)
		rc = writer_rename(writer, err);
	if (rc < 0) {
		directory_abort(writer);
		return rc;
	}
	directory_fds_drop(&directory->fds, writer->path + strlen(directory->base.where) + 1);
	writer_free(writer);
	return 0;
}
