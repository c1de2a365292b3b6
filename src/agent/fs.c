/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's files for the host: stat, list, read, write, mkdir, symlink, remove. */
#include "agent/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"

#define PART_PREFIX ".stasis-"
#define PART_SUFFIX ".part"

enum { LIST_BYTES = 96 << 10 }; /* of JSON in one reply; an entry more still fits the frame */

static const char *kind_of(mode_t mode)
{
	if (S_ISREG(mode))
		return "file";
	if (S_ISDIR(mode))
		return "dir";
	return S_ISLNK(mode) ? "link" : "other";
}

static json_t *text_value(const char *text, const char *what, struct err *err)
{
	json_t *value = json_string(text);

	if (!value)
		err_set(err, EILSEQ,
			"the %s of a file is not valid UTF-8: rename it in the guest", what);
	return value;
}

/* Set the members that describe the file `name` in the directory `dir_fd`. */
static int describe(int dir_fd, const char *name, struct reply *reply, struct err *err)
{
	char target[IO_PATH_MAX];
	struct stat st;
	json_t *value;
	ssize_t len;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, errno, "cannot examine %s", name);
	reply_set(reply, "kind", json_string(kind_of(st.st_mode)));
	reply_set(reply, "size", json_integer(st.st_size));
	reply_set(reply, "mode", json_integer(st.st_mode & 07777));
	reply_set(reply, "mtime_ns",
		  json_integer(st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec));
	if (!S_ISLNK(st.st_mode))
		return 0;
	len = readlinkat(dir_fd, name, target, sizeof(target) - 1);
	if (len < 0)
		return err_sys(err, errno, "cannot read the link %s", name);
	target[len] = '\0';
	value = text_value(target, "link's target", err);
	if (!value)
		return -EILSEQ;
	reply_set(reply, "target", value);
	return 0;
}

int fs_stat(struct agent *agent, const struct request *request, struct reply *reply,
	    struct err *err)
{
	(void)agent;
	return describe(AT_FDCWD, request->path, reply, err);
}

static bool is_part(const char *name)
{
	size_t len = strlen(name);
	size_t suffix = strlen(PART_SUFFIX);

	return strncmp(name, PART_PREFIX, strlen(PART_PREFIX)) == 0 && len > suffix &&
	       strcmp(name + len - suffix, PART_SUFFIX) == 0;
}

static bool is_listed(const char *name, const char *after)
{
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !is_part(name) &&
	       strcmp(name, after) > 0;
}

static int compare_names(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

static void names_destroy(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

/* The names behind `after`, sorted by bytes. */
static int names_read(DIR *dir, const char *after, char ***ret_names, size_t *ret_count,
		      struct err *err)
{
	const struct dirent *entry;
	char **names = NULL;
	size_t count = 0;
	size_t capacity = 0;

	while ((entry = readdir(dir))) {
		if (!is_listed(entry->d_name, after))
			continue;
		if (count == capacity) {
			char **grown;

			capacity = capacity ? capacity * 2 : 64;
			grown = reallocarray(names, capacity, sizeof(*names));
			if (!grown)
				goto no_memory;
			names = grown;
		}
		names[count] = strdup(entry->d_name);
		if (!names[count])
			goto no_memory;
		count++;
	}
	if (count)
		qsort(names, count, sizeof(*names), compare_names);
	*ret_names = names;
	*ret_count = count;
	return 0;

no_memory:
	names_destroy(names, count);
	return err_set(err, ENOMEM, "no memory for a directory's names");
}

/* Append an entry; one that has vanished meanwhile is left out. */
static int list_add(int dir_fd, const char *name, json_t *entries, size_t *bytes,
		    struct err *err)
{
	struct reply entry = {.json = json_object()};
	json_t *value = text_value(name, "name", err);
	int rc = value ? describe(dir_fd, name, &entry, err) : -EILSEQ;

	reply_set(&entry, "name", value);
	if (rc < 0) {
		json_decref(entry.json);
		return rc == -ENOENT ? 0 : rc;
	}
	*bytes += json_dumpb(entry.json, NULL, 0, JSON_COMPACT) + 1;
	return json_array_append_new(entries, entry.json) < 0
		       ? err_set(err, ENOMEM, "no memory for a list")
		       : 0;
}

int fs_list(struct agent *agent, const struct request *request, struct reply *reply,
	    struct err *err)
{
	CLEANUP_CLOSEDIR DIR *dir = opendir(request->path);
	json_t *entries;
	char **names = NULL;
	size_t count = 0;
	size_t bytes = 0;
	size_t i = 0;
	int rc;

	(void)agent;
	if (!dir)
		return err_sys(err, errno, "cannot list %s", request->path);
	rc = names_read(dir, request->after, &names, &count, err);
	if (rc < 0)
		return rc;
	entries = json_array();
	while (rc == 0 && i < count && bytes < LIST_BYTES)
		rc = list_add(dirfd(dir), names[i++], entries, &bytes, err);
	reply_set(reply, "entries", entries);
	reply_set(reply, "more", json_boolean(i < count));
	names_destroy(names, count);
	return rc < 0 ? err_prefix(err, "%s", request->path) : 0;
}

/* Open a regular file; O_NONBLOCK so that no FIFO or device holds the agent up. */
static int open_regular(const char *path, struct stat *ret_st, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, ret_st) < 0)
		return err_sys(err, errno, "cannot open %s", path);
	if (!S_ISREG(ret_st->st_mode))
		return err_set(err, S_ISDIR(ret_st->st_mode) ? EISDIR : EINVAL,
			       "%s is not a regular file", path);
	return TAKE_FD(fd);
}

int fs_read(struct agent *agent, const struct request *request, struct reply *reply,
	    struct err *err)
{
	struct stat st;
	CLEANUP_CLOSE int fd = open_regular(request->path, &st, err);

	(void)agent;
	if (fd < 0)
		return fd;
	reply_set(reply, "size", json_integer(st.st_size));
	if (request->max_bytes == 0)
		return 0;
	reply->blob = malloc(request->max_bytes);
	if (!reply->blob)
		return err_set(err, ENOMEM, "no memory for a file's content");
	while (reply->blob_len < request->max_bytes) {
		ssize_t n = pread(fd, reply->blob + reply->blob_len,
				  request->max_bytes - reply->blob_len,
				  request->offset + (off_t)reply->blob_len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "cannot read %s", request->path);
		if (n == 0)
			break;
		reply->blob_len += (size_t)n;
	}
	return 0;
}

/* The name under which `path` is written until it is complete: another agent finds the same. */
static int part_path(const char *path, char *buf, size_t size, struct err *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash + 1;

	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return err_set(err, EISDIR, "%s does not name a file", path);
	return io_path(buf, size, err, "%.*s" PART_PREFIX "%016llx" PART_SUFFIX,
		       (int)(name - path), path,
		       (unsigned long long)XXH64(name, strlen(name), 0));
}

/* Open the unfinished file at the requested offset. */
static int part_open(const char *part, int64_t offset, struct err *err)
{
	int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	CLEANUP_CLOSE int fd = open(part, offset == 0 ? flags | O_TRUNC : flags, 0600);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot open %s", part);
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "%s is not a regular file", part);
	if (offset > st.st_size)
		return err_set(err, ESTALE,
			       "the file's content before offset %lld is not here: begin again",
			       (long long)offset);
	return TAKE_FD(fd);
}

static int part_finish(int fd, const char *part, const struct request *request, struct err *err)
{
	off_t end = request->offset + (off_t)request->blob_len;

	if (ftruncate(fd, end) < 0 || fchmod(fd, request->mode) < 0 || fsync(fd) < 0)
		return err_sys(err, errno, "cannot complete %s", request->path);
	if (rename(part, request->path) < 0)
		return err_sys(err, errno, "cannot put %s in place", request->path);
	return io_sync_parent(request->path, err);
}

int fs_write(struct agent *agent, const struct request *request, struct reply *reply,
	     struct err *err)
{
	char part[IO_PATH_MAX];
	CLEANUP_CLOSE int fd = -1;
	int rc;

	(void)agent;
	(void)reply;
	rc = part_path(request->path, part, sizeof(part), err);
	if (rc < 0)
		return rc;
	fd = part_open(part, request->offset, err);
	if (fd < 0) {
		if (fd == -ESTALE)
			unlink(part);
		return fd;
	}
	rc = io_pwrite_all(fd, request->blob, request->blob_len, request->offset, err);
	if (rc == 0 && request->last)
		rc = part_finish(fd, part, request, err);
	if (rc < 0) {
		unlink(part);
		return err_prefix(err, "%s", request->path);
	}
	return 0;
}

int fs_mkdir(struct agent *agent, const struct request *request, struct reply *reply,
	     struct err *err)
{
	struct stat st;
	int rc;

	(void)agent;
	(void)reply;
	rc = io_mkdir_all(request->path, request->mode, err);
	if (rc < 0)
		return rc;
	if (stat(request->path, &st) < 0)
		return err_sys(err, errno, "cannot examine %s", request->path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ENOTDIR, "%s exists and is not a directory", request->path);
	return 0;
}

int fs_symlink(struct agent *agent, const struct request *request, struct reply *reply,
	       struct err *err)
{
	char part[IO_PATH_MAX];
	struct stat st;
	int rc;

	(void)agent;
	(void)reply;
	if (lstat(request->path, &st) == 0 && !S_ISLNK(st.st_mode))
		return err_set(err, EEXIST, "%s exists and is not a link", request->path);
	rc = part_path(request->path, part, sizeof(part), err);
	if (rc < 0)
		return rc;
	unlink(part);
	if (symlink(request->target, part) < 0 || rename(part, request->path) < 0)
		return err_sys(err, errno, "cannot make the link %s", request->path);
	return 0;
}

int fs_remove(struct agent *agent, const struct request *request, struct reply *reply,
	      struct err *err)
{
	(void)agent;
	(void)reply;
	if (strspn(request->path, "/.") == strlen(request->path))
		return err_set(err, EINVAL, "refusing to remove %s", request->path);
	return io_remove_all(request->path, err);
}
