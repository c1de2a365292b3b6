/* SPDX-License-Identifier: BSD-3-Clause */
/* A store of checkpoints in a directory: parts, manifests, shared images, and a catalog that
 * can be rebuilt. */
#ifndef STASIS_STORE_STORE_H
#define STASIS_STORE_STORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/manifest.h"
#include "store/simg.h"

/*
 * Layout (docs/formats/store.md):
 *   format                        "stasis-store 1"
 *   lock                          held (flock) by the daemon that has the store open
 *   catalog.db                    SQLite; derived from the manifests, rebuilt when missing,
 * damaged or older images/<root>.simg            base disks and kernels, shared by checkpoints,
 * named by their root hash checkpoints/<id>/<part>.simg  RAM, device state and disk of each VM
 *   checkpoints/<id>/manifest     renamed into place last; without it the checkpoint does not
 * exist Thread-safe: any function may be called from any thread; one txn is used by one thread
 * at a time except store_txn_put(), which may run for several parts at once.
 */
struct store;
struct store_txn;

/* Sizes with the NUL. An id is a cluster's name and "-yyyymmdd-hhmmss-xxxx". */
enum { STORE_ID_MAX = 64, STORE_CLUSTER_MAX = STORE_ID_MAX - 21 };

/* Open, creating a new store in a missing or empty directory. Removes what unfinished
 * transactions left, finishes half-done removals, and removes shared images that no checkpoint
 * names. -EBUSY when another process has it open, -EPROTONOSUPPORT for a newer format,
 * -ENOTEMPTY for a foreign directory. */
int store_open(const char *dir, struct store **ret_store, struct err *err);
/* All transactions must have ended. NULL is allowed. */
void store_close(struct store *store);
const char *store_dir(const struct store *store);

/* Begin a checkpoint of `cluster` (a name of at most STORE_CLUSTER_MAX - 1 characters); its id,
 * made of the time in UTC and four random digits ("demo-20261122-181900-4f2a"), goes to ret_id.
 */
int store_begin(struct store *store, const char *cluster, char ret_id[STORE_ID_MAX],
		struct store_txn **ret_txn, struct err *err);

/* Write one part, "vm0.ram" for instance, from a source. A full file system is -ENOSPC and says
 * what was needed. */
int store_txn_put(struct store_txn *txn, const char *part, const struct simg_source *source,
		  unsigned int threads, simg_progress_fn progress, void *progress_arg,
		  struct simg_ref *ret_ref, struct err *err);

/*
 * Publish: parts are fsynced, the manifest is written, fsynced, renamed into place, the
 * directory fsynced, the catalog told. `manifest` (borrowed) is the document of
 * docs/formats/manifest.md without "format" and "id"; it must name exactly the parts that were
 * put, and images that the store has. Consumes the transaction whatever the result. After an
 * error the checkpoint does not exist. A catalog that cannot be told is no error: it is rebuilt
 * when it is next used.
 */
int store_commit(struct store_txn *txn, json_t *manifest, struct err *err);

/* Remove everything that the transaction wrote. NULL is allowed. */
void store_abort(struct store_txn *txn);

/* Put a file (base disk, kernel, initrd) among the shared images unless it is there; remembers
 * size, mtime and inode of files seen before, in the catalog, so that the second call is
 * instant. Call it after store_begin(): the image is kept, whatever store_remove() does, until
 * no transaction is open. */
int store_image_put(struct store *store, const char *path, struct simg_ref *ret_ref,
		    struct err *err);

/* The path of a shared image, "images/<root>.simg" under the store; the file may be missing. */
int store_image_path(const struct store *store, const struct simg_ref *ref, char *ret_path,
		     size_t size, struct err *err);
int store_part_path(const struct store *store, const char *id, const char *part, char *ret_path,
		    size_t size, struct err *err);

/* One row of the catalog. */
struct store_entry {
	char id[STORE_ID_MAX];
	char cluster[STORE_ID_MAX];
	char tag[STORE_ID_MAX];
	int64_t created_ns; /* realtime */
	uint64_t bytes;     /* of its parts in the store */
	int64_t pause_ns;
	unsigned int vms;
	bool damaged; /* quarantined by a failed verification */
};

/* All checkpoints of `cluster` (NULL: of all), oldest first. *ret_entries is malloc'ed, the
 * caller's. */
int store_list(struct store *store, const char *cluster, struct store_entry **ret_entries,
	       size_t *ret_count, struct err *err);

/* The id of the newest checkpoint of the cluster that is not quarantined; -ENOENT when there is
 * none. */
int store_newest(struct store *store, const char *cluster, char ret_id[STORE_ID_MAX],
		 struct err *err);

/* Read and check a manifest (its own hash, version and every field's shape and bounds). New
 * reference. */
int store_manifest(struct store *store, const char *id, json_t **ret_manifest, struct err *err);

/* Check every stored byte of a checkpoint; one found damaged is quarantined (store_list shows
 * it). -EBADMSG names the file, and the newest good checkpoint before it, if any. `quick`
 * checks manifest, indices and sizes only. A full check that finds nothing wrong ends a
 * quarantine. */
int store_verify(struct store *store, const char *id, bool quick, simg_progress_fn progress,
		 void *progress_arg, struct err *err);

/* Remove a checkpoint (manifest first) and the shared images that no other manifest names. */
int store_remove(struct store *store, const char *id, struct err *err);

/* Drop the catalog and make it anew from the manifests. */
int store_rebuild_catalog(struct store *store, struct err *err);

#endif
