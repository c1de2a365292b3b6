/* SPDX-License-Identifier: BSD-3-Clause */
/* Recording of what a program does to files: between the program and libc, by the linker's
 * --wrap. */
#include "power.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FDS = 1024 };

static struct {
	pthread_mutex_t lock;
	char dir[512];
	struct power_op *ops;
	size_t count, room;
	uint32_t inodes;
	/* Of each descriptor: an inode, or a directory. */
	uint32_t inode[FDS];
	char sync_dir[FDS][POWER_PATH_MAX];
} record = {.lock = PTHREAD_MUTEX_INITIALIZER};

int __real_open(const char *path, int flags, ...);
ssize_t __real_write(int fd, const void *data, size_t len);
int __real_fsync(int fd);
int __real_close(int fd);
int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __real_mkdir(const char *path, mode_t mode);

int __wrap_open(const char *path, int flags, ...);
ssize_t __wrap_write(int fd, const void *data, size_t len);
int __wrap_fsync(int fd);
int __wrap_close(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_unlink(const char *path);
int __wrap_mkdir(const char *path, mode_t mode);

/* The part below the recorded directory ("." is that directory itself), without "/./". */
static bool below(const char *path, char ret_path[POWER_PATH_MAX])
{
	size_t len = strlen(record.dir);
	char *dot;

	if (!record.dir[0] || strncmp(path, record.dir, len) != 0 ||
	    (path[len] != '/' && path[len] != '\0'))
		return false;
	snprintf(ret_path, POWER_PATH_MAX, "%s", path[len] ? path + len + 1 : ".");
	while ((dot = strstr(ret_path, "/./")))
		memmove(dot, dot + 2, strlen(dot + 2) + 1);
	return true;
}

/* Lock held. */
static struct power_op *op_add(enum power_kind kind, const char *path)
{
	struct power_op *op;

	if (record.count == record.room) {
		record.room = record.room ? 2 * record.room : 256;
		record.ops = realloc(record.ops, record.room * sizeof(*record.ops));
		if (!record.ops)
			abort();
	}
	op = &record.ops[record.count++];
	*op = (struct power_op){.kind = kind};
	snprintf(op->path, sizeof(op->path), "%s", path);
	return op;
}

int __wrap_open(const char *path, int flags, ...)
{
	char name[POWER_PATH_MAX];
	mode_t mode = 0;
	va_list args;
	int fd;

	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	pthread_mutex_lock(&record.lock);
	fd = __real_open(path, flags, mode);
	if (fd >= 0 && fd < FDS && below(path, name)) {
		record.inode[fd] = 0;
		record.sync_dir[fd][0] = '\0';
		if (flags & O_DIRECTORY)
			snprintf(record.sync_dir[fd], POWER_PATH_MAX, "%s", name);
		if (flags & O_CREAT)
			record.inode[fd] = op_add(POWER_CREATE, name)->inode = ++record.inodes;
	}
	pthread_mutex_unlock(&record.lock);
	return fd;
}

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
	ssize_t done;

	pthread_mutex_lock(&record.lock);
	done = __real_write(fd, data, len);
	if (done > 0 && fd < FDS && record.inode[fd]) {
		struct power_op *op = op_add(POWER_WRITE, "");

		op->inode = record.inode[fd];
		op->len = (uint32_t)done;
		op->data = malloc((size_t)done);
		if (!op->data)
			abort();
		memcpy(op->data, data, (size_t)done);
	}
	pthread_mutex_unlock(&record.lock);
	return done;
}

int __wrap_fsync(int fd)
{
	int rc;

	pthread_mutex_lock(&record.lock);
	rc = __real_fsync(fd);
	if (rc == 0 && fd < FDS && record.inode[fd])
		op_add(POWER_FSYNC, "")->inode = record.inode[fd];
	else if (rc == 0 && fd < FDS && record.sync_dir[fd][0])
		op_add(POWER_SYNC_DIR, record.sync_dir[fd]);
	pthread_mutex_unlock(&record.lock);
	return rc;
}

int __wrap_close(int fd)
{
	int rc;

	pthread_mutex_lock(&record.lock);
	if (fd >= 0 && fd < FDS) {
		record.inode[fd] = 0;
		record.sync_dir[fd][0] = '\0';
	}
	rc = __real_close(fd);
	pthread_mutex_unlock(&record.lock);
	return rc;
}

int __wrap_rename(const char *from, const char *to)
{
	char name[POWER_PATH_MAX], new_name[POWER_PATH_MAX];
	int rc;

	pthread_mutex_lock(&record.lock);
	rc = __real_rename(from, to);
	if (rc == 0 && below(from, name) && below(to, new_name))
		memcpy(op_add(POWER_RENAME, name)->to, new_name, sizeof(new_name));
	pthread_mutex_unlock(&record.lock);
	return rc;
}

int __wrap_unlink(const char *path)
{
	char name[POWER_PATH_MAX];
	int rc;

	pthread_mutex_lock(&record.lock);
	rc = __real_unlink(path);
	if (rc == 0 && below(path, name))
		op_add(POWER_UNLINK, name);
	pthread_mutex_unlock(&record.lock);
	return rc;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
	char name[POWER_PATH_MAX];
	int rc;

	pthread_mutex_lock(&record.lock);
	rc = __real_mkdir(path, mode);
	if (rc == 0 && below(path, name))
		op_add(POWER_MKDIR, name);
	pthread_mutex_unlock(&record.lock);
	return rc;
}

void power_record(const char *dir)
{
	pthread_mutex_lock(&record.lock);
	snprintf(record.dir, sizeof(record.dir), "%s", dir);
	pthread_mutex_unlock(&record.lock);
}

void power_note(const char *what, const char *about)
{
	pthread_mutex_lock(&record.lock);
	snprintf(op_add(POWER_NOTE, about)->to, POWER_PATH_MAX, "%s", what);
	pthread_mutex_unlock(&record.lock);
}

void power_save(const char *path)
{
	FILE *file;

	power_record("");
	file = fopen(path, "we");
	if (!file)
		abort();
	for (size_t i = 0; i < record.count; i++) {
		const struct power_op *op = &record.ops[i];

		if (fwrite(op, sizeof(*op), 1, file) != 1 ||
		    (op->len && fwrite(op->data, op->len, 1, file) != 1))
			abort();
	}
	if (fclose(file) != 0)
		abort();
}
