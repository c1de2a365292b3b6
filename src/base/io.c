/* SPDX-License-Identifier: BSD-3-Clause */
/* Files and descriptors: whole reads and writes, atomic durable replacement, directories. */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"

int io_path(char *ret_path, size_t size, struct err *err, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(ret_path, size, fmt, ap);
	va_end(ap);
	if (len < 0 || (size_t)len >= size)
		return err_set(err, ENAMETOOLONG, "path too long: %.200s…", ret_path);
	return 0;
}

int io_write_all(int fd, const void *buf, size_t len, struct err *err)
{
	const char *at = buf;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "write");
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_pwrite_all(int fd, const void *buf, size_t len, off_t offset, struct err *err)
{
	const char *at = buf;

	while (len > 0) {
		ssize_t n = pwrite(fd, at, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "write at offset %lld", (long long)offset);
		at += n;
		offset += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_pread_all(int fd, void *buf, size_t len, off_t offset, struct err *err)
{
	char *at = buf;

	while (len > 0) {
		ssize_t n = pread(fd, at, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "read at offset %lld", (long long)offset);
		if (n == 0)
			return err_set(err, EIO,
				       "file ends at offset %lld, %zu bytes too early",
				       (long long)offset, len);
		at += n;
		offset += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_read_file(const char *path, size_t max, char **ret_buf, size_t *ret_len, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	CLEANUP_FREE char *buf = NULL;
	size_t size = 4096, len = 0;

	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", path);
	buf = malloc(size + 1);
	if (!buf)
		return err_sys(err, ENOMEM, "cannot read %s", path);
	for (;;) {
		ssize_t n = read(fd, buf + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "cannot read %s", path);
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return err_set(err, EFBIG, "%s is larger than %zu bytes", path, max);
		if (len == size) {
			char *more = realloc(buf, size * 2 + 1);

			if (!more)
				return err_sys(err, ENOMEM, "cannot read %s", path);
			buf = more;
			size *= 2;
		}
	}
	buf[len] = '\0';
	*ret_buf = TAKE_PTR(buf);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int io_sync_dir(const char *path, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, errno, "cannot open directory %s", path);
	if (fsync(fd) < 0)
		return err_sys(err, errno, "cannot fsync directory %s", path);
	return 0;
}

int io_sync_parent(const char *path, struct err *err)
{
	char dir[IO_PATH_MAX];
	char *slash;
	int rc = io_path(dir, sizeof(dir), err, "%s", path);

	if (rc < 0)
		return rc;
	slash = strrchr(dir, '/');
	if (!slash)
		return io_sync_dir(".", err);
	slash[slash == dir] = '\0';
	return io_sync_dir(dir, err);
}

int io_replace_file(const char *path, const void *buf, size_t len, mode_t mode, struct err *err)
{
	char tmp[IO_PATH_MAX];
	int fd, rc = io_path(tmp, sizeof(tmp), err, "%s.tmp", path);

	if (rc < 0)
		return rc;
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return err_sys(err, errno, "cannot create %s", tmp);
	rc = io_write_all(fd, buf, len, err);
	if (rc < 0) {
		err_prefix(err, "%s", tmp);
		goto fail;
	}
	if (fsync(fd) < 0) {
		rc = err_sys(err, errno, "cannot fsync %s", tmp);
		goto fail;
	}
	if (rename(tmp, path) < 0) {
		rc = err_sys(err, errno, "cannot rename %s to %s", tmp, path);
		goto fail;
	}
	close(fd);
	return io_sync_parent(path, err);
fail:
	close(fd);
	unlink(tmp);
	return rc;
}

int io_mkdir_all(const char *path, mode_t mode, struct err *err)
{
	char part[IO_PATH_MAX];
	int rc = io_path(part, sizeof(part), err, "%s", path);

	if (rc < 0)
		return rc;
	for (char *at = part + 1;; at++) {
		char keep = *at;

		if (keep != '/' && keep != '\0')
			continue;
		*at = '\0';
		if (mkdir(part, mode) < 0 && errno != EEXIST)
			return err_sys(err, errno, "cannot create directory %s", part);
		*at = keep;
		if (keep == '\0')
			return 0;
	}
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

int io_remove_all(const char *path, struct err *err)
{
	if (nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
		return err_sys(err, errno, "cannot remove %s", path);
	return 0;
}

int io_free_bytes(const char *path, uint64_t *ret_bytes, struct err *err)
{
	struct statvfs fs;

	if (statvfs(path, &fs) < 0)
		return err_sys(err, errno, "cannot ask the file system of %s", path);
	*ret_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	return 0;
}

/* A number out of a one-line file such as a cgroup's; UINT64_MAX for "max" or an unreadable
 * file. */
static uint64_t read_limit(const char *path)
{
	CLEANUP_FREE char *text = NULL;
	char *end;
	uint64_t value;

	if (io_read_file(path, 256, &text, NULL, NULL) < 0)
		return UINT64_MAX;
	value = strtoull(text, &end, 10);
	return end == text ? UINT64_MAX : value;
}

int io_memory_available(uint64_t *ret_bytes, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	uint64_t limit, used;
	const char *at;
	int rc = io_read_file("/proc/meminfo", 1 << 20, &text, NULL, err);

	if (rc < 0)
		return rc;
	at = strstr(text, "MemAvailable:");
	if (!at)
		return err_set(err, EIO, "/proc/meminfo has no MemAvailable line");
	*ret_bytes = strtoull(at + strlen("MemAvailable:"), NULL, 10) * 1024;

	limit = read_limit("/sys/fs/cgroup/memory.max");
	used = read_limit("/sys/fs/cgroup/memory.current");
	if (limit != UINT64_MAX && used != UINT64_MAX) {
		uint64_t left = limit > used ? limit - used : 0;

		if (left < *ret_bytes)
			*ret_bytes = left;
	}
	return 0;
}
