/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the store share. */
#ifndef STASIS_STORE_STORE_PRIV_H
#define STASIS_STORE_STORE_PRIV_H

#include <pthread.h>

#include "base/io.h"
#include "store/catalog.h"
#include "store/chunk_reader.h"
#include "store/crypt.h"
#include "store/governor.h"
#include "store/index.h"
#include "store/store.h"

/* Renews the leases that this process holds. */
struct lease_keeper {
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wake;
	pthread_t thread;
	bool started, stop;
	struct store_lease *held;
	struct store_lease *ended; /* whose objects could not be removed yet */
};
void lease_keeper_init(struct lease_keeper *keeper);
void lease_keeper_end(struct lease_keeper *keeper);

struct store {
	struct backend *backend;
	struct crypt_secret *secret; /* NULL: not encrypted */
	struct crypt *crypt;         /* the same */
	uint8_t id[CRYPT_SALT_BYTES];
	bool read_only;
	struct index *index;
	struct governor governor;
	struct segment_cache *cache;
	struct lease_keeper leases;

	pthread_mutex_t lock;           /* guards the catalog */
	char catalog_path[IO_PATH_MAX]; /* empty: in memory */
	struct catalog *catalog;
};

/* What writers of other processes left is removed when it is this old. */
enum { STORE_TIDY_AGE_S = 3600 };

/* "kind/name", for the backend. */
enum { STORE_OBJECT_MAX = 160 };
/* Remove what writers left that are over, or that stood still for an hour. */
void store_tidy(struct store *store);

void store_object(const char *kind, const char *name, char ret_object[STORE_OBJECT_MAX]);

/* -EROFS for a store that was opened for reading only. */
int store_writable(const struct store *store, struct err *err);

/* If `rc` is -ENOSPC or -EDQUOT put the store, what is being written and its size in front of
 * the sentence. */
void store_explain_space(struct store *store, int rc, const char *what, uint64_t need_bytes,
			 struct err *err);

/* Small objects whose bytes are secret in an encrypted store (manifests). */
int store_put_sealed(struct store *store, const char *object, const void *data, size_t len,
		     struct err *err);
int store_get_sealed(struct store *store, const char *object, size_t max, char **ret_data,
		     size_t *ret_len, struct err *err);

/* Note that damage was found in a pack: later checkpoints store its chunks anew. */
void store_suspect(struct store *store, const struct pack *pack);

/* Before something is published in an encrypted store: keys follow from its id, and of two
 * processes that make one at once one has another id than the store. */
int store_format_check(struct store *store, struct err *err);

/* Ids of all manifests, also of checkpoints that are removed but still used (removal.h), in the
 * order of their names; malloc'ed, the caller's. */
int store_scan(struct store *store, store_id **ret_ids, size_t *ret_count, struct err *err);
/* store_manifest(), also of such checkpoints. */
int store_manifest_any(struct store *store, const char *id, json_t **ret_manifest,
		       struct err *err);
/* Whether a checkpoint exists: 1, 0 or -errno. */
int store_exists(struct store *store, const char *id, struct err *err);
int store_id_check(const char *id, struct err *err);

/* Publish an encoded manifest under its id, and tell the catalog. */
int store_publish(struct store *store, const char *id, const json_t *document, struct err *err);

/* The functions below need store->lock. */

/* Open the catalog; one that cannot be used is made anew, in memory if need be. */
int catalog_start(struct store *store, struct err *err);
/* Make it agree with the backend: only what differs is read. */
int catalog_sync(struct store *store, struct err *err);

/* The row of a checkpoint with this manifest. */
int store_entry_fill(const json_t *manifest, bool damaged, struct store_entry *ret_entry,
		     struct err *err);

#endif
