/* SPDX-License-Identifier: BSD-3-Clause */
/* Objects as files of a directory: one subdirectory for each kind, written beside their place
 * and renamed into it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/process_id.h"
#include "store/backend/directory_priv.h"

/*
 * Several hosts may share the directory, by NFS for instance. So nothing is locked, names of
 * temporary files are random, and what was opened before is used again only for ranges behind
 * the first byte: whoever reads an object from its beginning opens it anew and sees what other
 * hosts have put in its place.
 */

int directory_check_root(const struct directory *directory, struct err *err)
{
	const char *where = directory->base.where;
	struct stat st;

	if (stat(where, &st) < 0)
		return err_set(err, EIO,
			       "the store's directory %s is gone (%s): is its file system "
			       "mounted?",
			       where, strerror(errno));
	if (st.st_dev != directory->device || st.st_ino != directory->inode)
		return err_set(err, EIO,
			       "%s is no longer the directory that was opened as a store: is "
			       "its file system mounted?",
			       where);
	return 0;
}

int directory_path(const struct directory *directory, const char *name,
		   char ret_path[IO_PATH_MAX], struct err *err)
{
	return io_path(ret_path, IO_PATH_MAX, err, "%s/%s", directory->base.where, name);
}

/* No such object, unless the whole directory is not there. */
static int missing(const struct directory *directory, const char *name, struct err *err)
{
	int rc = directory_check_root(directory, err);

	return rc < 0 ? rc : backend_missing(&directory->base, name, err);
}

static int not_a_file(const char *path, struct err *err)
{
	return err_set(err, EBADMSG,
		       "%s is not a regular file: somebody else put it into the store", path);
}

static int object_open(const struct directory *directory, const char *name, int *ret_fd,
		       struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	char path[IO_PATH_MAX];
	struct stat st;
	int rc = directory_path(directory, name, path, err);

	if (rc < 0)
		return rc;
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return missing(directory, name, err);
	if (fd < 0 && errno == ELOOP)
		return not_a_file(path, err);
	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", path);
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot stat %s", path);
	if (!S_ISREG(st.st_mode))
		return not_a_file(path, err);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int object_read(const struct directory *directory, const char *name, int fd,
		       uint64_t offset, char *buf, size_t len, struct err *err)
{
	const struct backend *base = &directory->base;
	size_t done = 0;

	if (offset > INT64_MAX - len)
		return backend_short(base, name, INT64_MAX, offset, len, err);
	while (done < len) {
		ssize_t n = pread(fd, buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "cannot read %s/%s at offset %" PRIu64,
				       base->where, name, offset + done);
		if (n == 0)
			return backend_short(base, name, offset + done, offset, len, err);
		done += (size_t)n;
	}
	return 0;
}

/* Whether a descriptor that was kept is still the object of its name. */
static bool object_current(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* Read by a descriptor that was kept: 1, or 0 when there is none that is of use. */
static int read_kept(struct directory *directory, const char *name, uint64_t offset, void *buf,
		     size_t len)
{
	struct directory_fd *slot = directory_fds_get(&directory->fds, name);
	bool good;

	if (!slot)
		return 0;
	good = object_current(slot->fd) &&
	       object_read(directory, name, slot->fd, offset, buf, len, NULL) == 0;
	directory_fds_put(&directory->fds, slot);
	if (!good)
		directory_fds_drop(&directory->fds, name);
	return good;
}

static int directory_read(struct backend *backend, const char *name, uint64_t offset, void *buf,
			  size_t len, struct err *err)
{
	struct directory *directory = (struct directory *)backend;
	struct directory_fd *slot;
	int fd, rc = backend_check_object(name, err);

	if (rc < 0)
		return rc;
	if (offset > 0 && read_kept(directory, name, offset, buf, len))
		return 0;
	rc = object_open(directory, name, &fd, err);
	if (rc < 0)
		return rc;
	rc = object_read(directory, name, fd, offset, buf, len, err);
	slot = rc == 0 ? directory_fds_add(&directory->fds, name, fd) : NULL;
	if (slot)
		directory_fds_put(&directory->fds, slot);
	else
		close(fd);
	return rc;
}

static int stat_fill(const char *path, const struct stat *st, struct backend_stat *ret_stat,
		     struct err *err)
{
	if (!S_ISREG(st->st_mode))
		return not_a_file(path, err);
	ret_stat->bytes = (uint64_t)st->st_size;
	ret_stat->modified_ns = st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec;
	return 0;
}

static int directory_stat(struct backend *backend, const char *name,
			  struct backend_stat *ret_stat, struct err *err)
{
	struct directory *directory = (struct directory *)backend;
	char path[IO_PATH_MAX];
	struct stat st;
	int rc = backend_check_object(name, err);

	if (rc == 0)
		rc = directory_path(directory, name, path, err);
	if (rc < 0)
		return rc;
	if (lstat(path, &st) < 0) {
		rc = errno;
		return rc == ENOENT ? missing(directory, name, err)
				    : err_sys(err, rc, "cannot stat %s", path);
	}
	return stat_fill(path, &st, ret_stat, err);
}

/* One entry of a kind's directory; what is none of ours is passed over. */
static int list_entry(DIR *dir, const char *path, const char *name, backend_list_fn fn,
		      void *arg, struct err *err)
{
	struct backend_stat entry;
	struct stat st;

	if (!name_valid(name, BACKEND_NAME_LEN_MAX))
		return 0;
	if (fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0
				       : err_sys(err, errno, "cannot stat %s/%s", path, name);
	if (stat_fill(path, &st, &entry, NULL) < 0)
		return 0;
	return fn(name, &entry, arg, err);
}

static int directory_list(struct backend *backend, const char *kind, backend_list_fn fn,
			  void *arg, struct err *err)
{
	struct directory *directory = (struct directory *)backend;
	CLEANUP_CLOSEDIR DIR *dir = NULL;
	const struct dirent *entry;
	char path[IO_PATH_MAX];
	int rc = backend_check_kind(kind, err);

	if (rc == 0)
		rc = directory_path(directory, kind, path, err);
	if (rc < 0)
		return rc;
	directory_fds_sweep(&directory->fds);
	dir = opendir(path);
	if (!dir && errno == ENOENT)
		return directory_check_root(directory, err);
	if (!dir)
		return err_sys(err, errno, "cannot list %s", path);
	while (rc >= 0) {
		errno = 0;
		entry = readdir(dir);
		if (!entry && errno)
			return err_sys(err, errno, "cannot list %s", path);
		if (!entry)
			break;
		rc = list_entry(dir, path, entry->d_name, fn, arg, err);
	}
	if (rc >= 0)
		rc = directory_check_root(directory, err);
	return rc;
}

static int directory_remove(struct backend *backend, const char *name, struct err *err)
{
	struct directory *directory = (struct directory *)backend;
	char path[IO_PATH_MAX];
	int rc = backend_check_object(name, err);

	if (rc == 0)
		rc = directory_path(directory, name, path, err);
	if (rc < 0)
		return rc;
	rc = unlink(path) < 0 ? errno : 0;
	directory_fds_drop(&directory->fds, name);
	if (rc != 0 && rc != ENOENT)
		return err_sys(err, rc, "cannot remove %s", path);
	/* One that is missing may be the one whose removal could not be made durable before. */
	rc = io_sync_parent(path, err);
	return rc == -ENOENT ? directory_check_root(directory, err) : rc;
}

/* The mtime of a new file is by the clock of the file system, a server's for instance. */
static int directory_now(struct backend *backend, int64_t *ret_now_ns, struct err *err)
{
	struct directory *directory = (struct directory *)backend;
	char path[IO_PATH_MAX];
	struct stat st;
	int fd, rc = directory_check_root(directory, err);

	if (rc == 0)
		rc = directory_temporary(directory, ".", path, err);
	if (rc < 0)
		return rc;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, errno, "cannot create %s", path);
	if (futimens(fd, NULL) < 0 || fstat(fd, &st) < 0)
		rc = err_sys(err, errno, "cannot read the time of %s", path);
	else
		*ret_now_ns = st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
	close(fd);
	unlink(path);
	return rc;
}

static int directory_free_bytes(struct backend *backend, uint64_t *ret_bytes, struct err *err)
{
	int rc = directory_check_root((struct directory *)backend, err);

	return rc < 0 ? rc : io_free_bytes(backend->where, ret_bytes, err);
}

/* Another process may make a store here now: what it begins with counts as nothing. */
static int directory_vacant(struct backend *backend, struct err *err)
{
	CLEANUP_CLOSEDIR DIR *dir = opendir(backend->where);
	const struct dirent *entry;

	if (!dir)
		return err_sys(err, errno, "cannot list %s", backend->where);
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    strcmp(entry->d_name, "lost+found") != 0 &&
		    strcmp(entry->d_name, "store") != 0 &&
		    strncmp(entry->d_name, DIRECTORY_TMP, strlen(DIRECTORY_TMP)) != 0)
			return err_set(
				err, ENOTEMPTY,
				"%s is no store and not empty (it has \"%.80s\"): name an "
				"empty directory",
				backend->where, entry->d_name);
	return 0;
}

static uint64_t machine_hash(void)
{
	char machine[PROCESS_MACHINE_MAX];

	process_machine(machine);
	return XXH3_64bits(machine, strlen(machine));
}

/* Whether a temporary file is one of a process of this machine that is over. */
static bool writer_over(const struct directory *directory, const char *name)
{
	uint64_t machine, start_time;
	int pid;

	return sscanf(name, DIRECTORY_TMP "%16" SCNx64 "-%d-%" SCNu64 "-", &machine, &pid,
		      &start_time) == 3 &&
	       machine == directory->machine && pid > 0 && start_time &&
	       process_over(pid, start_time);
}

/* Remove temporary files of one directory that nobody has written to since `oldest_ns`, or
 * whose writer is over. */
static int tidy_dir(const struct directory *directory, int parent_fd, const char *name,
		    int64_t oldest_ns, struct err *err)
{
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	struct stat st;

	if (!dir)
		return err_sys(err, errno, "cannot list %s", name);
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, DIRECTORY_TMP, strlen(DIRECTORY_TMP)) != 0 ||
		    fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode) ||
		    (st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec > oldest_ns &&
		     !writer_over(directory, entry->d_name)))
			continue;
		if (unlinkat(fd, entry->d_name, 0) < 0 && errno != ENOENT)
			return err_sys(err, errno, "cannot remove %s/%s", name, entry->d_name);
		log_info("removed %s/%s, which a writer left", name, entry->d_name);
	}
	return 0;
}

static int directory_tidy(struct backend *backend, int64_t age_ns, struct err *err)
{
	struct directory *directory = (struct directory *)backend;
	CLEANUP_CLOSEDIR DIR *root = NULL;
	const struct dirent *entry;
	int64_t now_ns;
	int rc = directory_now(backend, &now_ns, err);

	if (rc < 0)
		return rc;
	root = opendir(directory->base.where);
	if (!root)
		return err_sys(err, errno, "cannot list %s", directory->base.where);
	rc = tidy_dir(directory, dirfd(root), ".", now_ns - age_ns, err);
	while (rc == 0 && (entry = readdir(root))) {
		struct stat st;

		if (name_valid(entry->d_name, BACKEND_KIND_LEN_MAX) &&
		    fstatat(dirfd(root), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISDIR(st.st_mode))
			rc = tidy_dir(directory, dirfd(root), entry->d_name, now_ns - age_ns,
				      err);
	}
	if (rc < 0)
		err_prefix(err, "%s", directory->base.where);
	return rc;
}

static void directory_close(struct backend *backend)
{
	struct directory *directory = (struct directory *)backend;

	directory_fds_destroy(&directory->fds);
	directory_kinds_free(directory);
	pthread_mutex_destroy(&directory->kinds_lock);
	free(directory->base.where);
	free(directory);
}

static const struct backend_ops directory_ops = {
	.kind = "directory",
	.begin = directory_begin,
	.append = directory_append,
	.commit = directory_commit,
	.abort = directory_abort,
	.read = directory_read,
	.stat = directory_stat,
	.list = directory_list,
	.remove = directory_remove,
	.now = directory_now,
	.free_bytes = directory_free_bytes,
	.vacant = directory_vacant,
	.tidy = directory_tidy,
	.close = directory_close,
};

/* Make the directory and its missing parents, so that they survive a loss of power. */
static int root_make(const char *dir, struct err *err)
{
	char path[IO_PATH_MAX];
	size_t missing = 0;
	int rc = io_path(path, sizeof(path), err, "%s", dir);

	if (rc < 0)
		return rc;
	for (char *slash = path; slash && !missing; slash = strchr(slash + 1, '/')) {
		char keep = *slash;

		*slash = '\0';
		if (slash > path && access(path, F_OK) < 0)
			missing = strlen(path);
		*slash = keep;
	}
	if (!missing && access(path, F_OK) == 0)
		return 0;
	rc = io_mkdir_all(dir, 0700, err);
	for (size_t len = missing ? missing : strlen(dir); rc == 0 && len <= strlen(dir);
	     len += 1 + strcspn(dir + len + 1, "/")) {
		snprintf(path, sizeof(path), "%.*s", (int)len, dir);
		rc = io_sync_parent(path, err);
		if (!dir[len])
			break;
	}
	return rc;
}

int backend_open_directory(const char *dir, struct backend **ret_backend, struct err *err)
{
	CLEANUP_FREE struct directory *directory = NULL;
	CLEANUP_FREE char *where = NULL;
	struct stat st;
	int rc = root_make(dir, err);

	if (rc < 0)
		return rc;
	where = realpath(dir, NULL);
	if (!where || stat(where, &st) < 0)
		return err_sys(err, errno, "cannot open the store's directory %s", dir);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ENOTDIR, "%s is no directory: it cannot be a store", dir);
	directory = calloc(1, sizeof(*directory));
	if (!directory)
		return err_sys(err, ENOMEM, "store in %s", dir);
	directory->base.ops = &directory_ops;
	directory->base.where = TAKE_PTR(where);
	directory->device = st.st_dev;
	directory->inode = st.st_ino;
	directory->machine = machine_hash();
	directory->pid = getpid();
	directory->start_time = process_start_time(directory->pid);
	pthread_mutex_init(&directory->kinds_lock, NULL);
	directory_fds_init(&directory->fds);
	*ret_backend = &TAKE_PTR(directory)->base;
	return 0;
}
