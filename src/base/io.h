/* SPDX-License-Identifier: BSD-3-Clause */
/* Files and descriptors: whole reads and writes, atomic durable replacement, directories. */
#ifndef STASIS_BASE_IO_H
#define STASIS_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum { IO_PATH_MAX = 4096 };

/* printf into a path buffer; -ENAMETOOLONG if it does not fit. */
int io_path(char *ret_path, size_t size, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Write or read exactly `len` bytes (retrying EINTR and short counts); a short read is -EIO. */
int io_write_all(int fd, const void *buf, size_t len, struct err *err);
int io_pwrite_all(int fd, const void *buf, size_t len, off_t offset, struct err *err);
int io_pread_all(int fd, void *buf, size_t len, off_t offset, struct err *err);

/* Read a whole file of at most `max` bytes; *ret_buf is malloc'ed, NUL-terminated, the
 * caller's. */
int io_read_file(const char *path, size_t max, char **ret_buf, size_t *ret_len,
		 struct err *err);

/* Replace `path` durably: temporary name beside it, write, fsync, rename, fsync of the
 * directory. */
int io_replace_file(const char *path, const void *buf, size_t len, mode_t mode,
		    struct err *err);

/* fsync the directory `path`, or the one that holds the file `path`. */
int io_sync_dir(const char *path, struct err *err);
int io_sync_parent(const char *path, struct err *err);

/* Create a directory and its missing parents with `mode`. Existing ones are left alone. */
int io_mkdir_all(const char *path, mode_t mode, struct err *err);

/* Remove a file or a tree, not following symbolic links; a missing one is success. */
int io_remove_all(const char *path, struct err *err);

/* Free bytes for this user on the file system that holds `path`. */
int io_free_bytes(const char *path, uint64_t *ret_bytes, struct err *err);

/* MemAvailable of this host, lowered to what the process's memory cgroup leaves. */
int io_memory_available(uint64_t *ret_bytes, struct err *err);

#endif
