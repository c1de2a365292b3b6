/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the store share: the open store, its transactions, and helpers under its
 * lock. */
#ifndef STASIS_STORE_STORE_PRIV_H
#define STASIS_STORE_STORE_PRIV_H

#include <pthread.h>

#include "base/io.h"
#include "store/catalog.h"
#include "store/store.h"

#define STORE_MANIFEST         "manifest"
#define STORE_MANIFEST_TMP     "manifest.tmp"
#define STORE_MANIFEST_REMOVED "manifest.removed" /* a removal has begun */
#define STORE_IMAGE_TMP        "images/put.tmp"
#define STORE_DAMAGED          "damaged" /* quarantined; holds the reason */

struct store {
	char dir[IO_PATH_MAX];
	int lock_fd;
	pthread_mutex_t image_lock; /* held while an image is put; taken before `lock` */
	pthread_mutex_t
		lock; /* guards what follows, and manifests and images coming and going */
	struct catalog *catalog;
	bool catalog_stale; /* it missed a change: rebuild it before use */
	struct store_txn *txns;
	struct simg_ref *pins; /* images that open transactions may be going to name */
	size_t pin_count;
};

/* "DIR/checkpoints/ID/NAME"; a NULL name is the directory of the checkpoint. */
int store_checkpoint_path(const struct store *store, const char *id, const char *name,
			  char ret_path[IO_PATH_MAX], struct err *err);

/* Whether the checkpoint has a file of that name: 1, 0 or -errno. */
int store_checkpoint_has(const struct store *store, const char *id, const char *name,
			 struct err *err);

/* The names of all directories of checkpoints, finished or not; malloc'ed, the caller's. */
typedef char store_id[STORE_ID_MAX];
int store_scan(const struct store *store, store_id **ret_ids, size_t *ret_count,
	       struct err *err);

/* Finish half-done removals and remove unfinished checkpoints. Only while no transaction can
 * run. */
int store_sweep(struct store *store, struct err *err);

/* If `rc` is -ENOSPC or -EDQUOT put the store, what is being written and its size in front of
 * the sentence. */
void store_explain_space(const struct store *store, int rc, const char *what,
			 uint64_t need_bytes, struct err *err);

/* The functions below need store->lock. */

/* Open the catalog and make it agree with the manifests. */
int store_catalog_open(struct store *store, struct err *err);

/* Make the catalog anew from the manifests; in memory if the file cannot be used. */
int store_catalog_rebuild(struct store *store, struct err *err);

/* Rebuild the catalog if it missed a change. */
int store_catalog_ensure(struct store *store, struct err *err);

/* Note that the catalog could not be told of a change. */
void store_catalog_missed(struct store *store, const char *change, const struct err *reason);

/* The row of a checkpoint with this manifest. */
int store_entry_fill(const json_t *manifest, bool damaged, struct store_entry *ret_entry,
		     struct err *err);

/* Remove shared images that no manifest names and no open transaction may be going to name. */
int store_images_sweep(struct store *store, struct err *err);

#endif
