/* SPDX-License-Identifier: BSD-3-Clause */
/* The catalog: a SQLite table of checkpoints, and a memory of files that were hashed before
 * (docs/formats/store.md). */
#ifndef STASIS_STORE_CATALOG_H
#define STASIS_STORE_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

/* Not thread-safe: the store's lock guards it. A damaged database is -EBADMSG from any
 * function. */
struct catalog;

/* What a file looked like when it was hashed. */
struct catalog_file {
	uint64_t device, inode, size_bytes;
	int64_t mtime_ns, ctime_ns;
};

/*
 * Open the catalog at `path`, making an empty one in place of a missing or damaged one or one
 * of another version. A NULL path makes one in memory.
 */
int catalog_open(const char *path, struct catalog **ret_catalog, struct err *err);
void catalog_close(struct catalog *catalog);

/* Remove the database and what SQLite keeps beside it. */
int catalog_unlink(const char *path, struct err *err);

int catalog_put(struct catalog *catalog, const struct store_entry *entry, struct err *err);
int catalog_remove(struct catalog *catalog, const char *id, struct err *err);
int catalog_set_damaged(struct catalog *catalog, const char *id, bool damaged, struct err *err);

/* Checkpoints of `cluster`, or of all for NULL, oldest first; *ret_entries is malloc'ed, the
 * caller's. */
int catalog_list(struct catalog *catalog, const char *cluster, struct store_entry **ret_entries,
		 size_t *ret_count, struct err *err);

/* Files that were hashed: 1 with the reference if the file is known, else 0. */
int catalog_file_recall(struct catalog *catalog, const struct catalog_file *file,
			struct stream_ref *ret_ref, struct err *err);
int catalog_file_remember(struct catalog *catalog, const struct catalog_file *file,
			  const struct stream_ref *ref, struct err *err);
int catalog_file_forget(struct catalog *catalog, const struct stream_ref *ref, struct err *err);

#endif
