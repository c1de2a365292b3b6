/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a store keeps its objects: a directory, memory, or S3-compatible object storage. */
#ifndef STASIS_STORE_BACKEND_BACKEND_H
#define STASIS_STORE_BACKEND_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * An object is a string of bytes under a name of the form "kind/name": two words of the
 * characters of store/name.h with one slash between ("packs/4f2a….pack", "manifests/demo-1").
 * It is there whole and durable, or not at all; it is never changed in place. Nothing here
 * locks: several hosts may use one backend at the same time.
 *
 * All functions return 0 or -errno with a sentence. They may be called from several threads at
 * once, a writer's from one at a time. -ENOENT: there is no such object. -EIO and its kin: the
 * medium failed, after whatever retries make sense for it. -ENOSPC and -EDQUOT: no room.
 * -EACCES: credentials are refused, the sentence names them. -EBADMSG: the medium handed over
 * something else than it should (truncated, wrong checksum), after retries.
 */
struct backend;
struct backend_writer;

struct backend_stat {
	uint64_t bytes;
	int64_t modified_ns; /* realtime, by the backend's own clock (a server's, not this
				host's) */
};

/* Told of each object: the part of its name behind the slash. A negative result ends the
 * listing and is returned. */
typedef int (*backend_list_fn)(const char *name, const struct backend_stat *stat, void *arg,
			       struct err *err);

struct backend_ops {
	const char *kind; /* "directory", "memory", "s3" */

	/* A new object: bytes are appended in order; commit makes it visible and durable under
	 * its name, in place of one that was there; both commit and abort consume the writer.
	 * After a failed append only abort is allowed. What a killed writer leaves is removed
	 * by tidy(). */
	int (*begin)(struct backend *backend, const char *name,
		     struct backend_writer **ret_writer, struct err *err);
	int (*append)(struct backend_writer *writer, const void *data, size_t len,
		      struct err *err);
	int (*commit)(struct backend_writer *writer, struct err *err);
	void (*abort)(struct backend_writer *writer);

	/* Exactly `len` bytes at `offset`; an object that ends before is -EBADMSG. */
	int (*read)(struct backend *backend, const char *name, uint64_t offset, void *buf,
		    size_t len, struct err *err);
	int (*stat)(struct backend *backend, const char *name, struct backend_stat *ret_stat,
		    struct err *err);
	/* All objects of a kind ("packs"), in any order; a kind that has none is an empty list.
	 */
	int (*list)(struct backend *backend, const char *kind, backend_list_fn fn, void *arg,
		    struct err *err);
	/* Remove durably; a missing object is success. */
	int (*remove)(struct backend *backend, const char *name, struct err *err);

	/* Now, by the clock that modified_ns comes from. */
	int (*now)(struct backend *backend, int64_t *ret_now_ns, struct err *err);
	/* Bytes that still fit; UINT64_MAX where nobody can tell. */
	int (*free_bytes)(struct backend *backend, uint64_t *ret_bytes, struct err *err);
	/* -ENOTEMPTY when the location holds anything but objects of a store that is being
	 * made; NULL where nobody can tell. */
	int (*vacant)(struct backend *backend, struct err *err);
	/* Remove what writers left that were begun more than `age_ns` ago and never ended
	 * (temporary files, unfinished uploads), and what is known to be of processes that are
	 * over. */
	int (*tidy)(struct backend *backend, int64_t age_ns, struct err *err);
	void (*close)(struct backend *backend);
};

/* The head of every backend's own structure. */
struct backend {
	const struct backend_ops *ops;
	char *where; /* for sentences: "/var/lib/stasis/store", "s3://bucket/prefix" */
};

/*
 * Open by location: "s3://bucket/prefix" (see backend/s3.h for its settings), else a directory,
 * which is created if it is missing. Other schemes are -EINVAL.
 */
int backend_open(const char *location, struct backend **ret_backend, struct err *err);
int backend_open_directory(const char *dir, struct backend **ret_backend, struct err *err);
int backend_open_s3(const char *location, struct backend **ret_backend, struct err *err);

/* Objects in this process's memory, for tests: opening the same name (at most 63 characters)
 * again finds the same objects until backend_memory_forget(). */
int backend_open_memory(const char *name, struct backend **ret_backend, struct err *err);
void backend_memory_forget(const char *name);

/* NULL is allowed. */
void backend_close(struct backend *backend);

/* A whole small object at once. */
int backend_put(struct backend *backend, const char *name, const void *data, size_t len,
		struct err *err);
/* A whole object of at most `max` bytes (-EFBIG); *ret_data is malloc'ed with a NUL behind it,
 * the caller's. */
int backend_get(struct backend *backend, const char *name, size_t max, void **ret_data,
		size_t *ret_len, struct err *err);
/* Whether there is such an object: 1, 0 or -errno. */
int backend_has(struct backend *backend, const char *name, struct err *err);

#endif
