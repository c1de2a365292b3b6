/* SPDX-License-Identifier: BSD-3-Clause */
/* A store of checkpoints: deduplicated chunks in packs, manifests, and a catalog that can be
 * rebuilt (docs/formats/store.md). */
#ifndef STASIS_STORE_STORE_H
#define STASIS_STORE_STORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/backend/backend.h"
#include "store/chunk.h"
#include "store/manifest.h"

/*
 * Objects in the backend:
 *   store/format              "stasis-store 2", the store's random id, how it is encrypted
 *   packs/<id>.pack           chunks
 *   manifests/<checkpoint>    makes the checkpoint exist
 *   leases/<id>               somebody writes or reads now (store/lease.h)
 *   condemned/<id>            a pack that goes when all leases of that moment have ended
 *   suspect/<id>              a pack in which damage was found
 *   removed/<checkpoint>      it exists no more, but a lease may still use it
 *   damaged/<checkpoint>      quarantine, with the reason
 * Several processes and hosts may have one store open. Thread-safe: any function may be called
 * from any thread; one transaction is used by one thread at a time.
 */
struct store;
struct store_txn;

/* Sizes with the NUL. An id is a cluster's name and "-yyyymmdd-hhmmss-xxxxxxxx". */
enum { STORE_ID_MAX = 64, STORE_CLUSTER_MAX = STORE_ID_MAX - 25 };

/* Told as work proceeds: bytes of streams dealt with since the last call. From any thread. */
typedef void (*store_progress_fn)(uint64_t bytes, void *arg);

/* How much of the machine a piece of work may have. */
struct store_work {
	unsigned int threads;       /* 0: one for each processor */
	bool background;            /* lowest CPU and I/O priority: it yields to the guests */
	store_progress_fn progress; /* or NULL */
	void *progress_arg;
};

enum { STORE_LEVEL_AUTO = 1000, STORE_LEVEL_RAW = 1001 };

struct store_config {
	const char *location; /* as for backend_open() */
	const char
		*cache_dir; /* where the catalog lives, local to this host; NULL: in memory */
	/* Encryption: the key is what the file holds, or what the command prints; both NULL: a
	 * new store is not encrypted. A key file that others may read is refused. */
	const char *key_file, *key_command;
	int level; /* STORE_LEVEL_AUTO follows the measured speeds; STORE_LEVEL_RAW; or zstd's
		    */
	bool read_only; /* nothing is created, swept or catalogued */
};

/*
 * Open, creating a new store in an empty location. -EPROTONOSUPPORT: another format version,
 * -ENOTEMPTY: a location with something else in it, -EKEYREJECTED: no key or the wrong one.
 * What died processes of this host left (leases) is removed.
 */
int store_open(const struct store_config *config, struct store **ret_store, struct err *err);
/* All transactions must have ended. NULL is allowed. */
void store_close(struct store *store);
/* Its location, for sentences. */
const char *store_where(const struct store *store);
int store_free_bytes(struct store *store, uint64_t *ret_bytes, struct err *err);

/* Writing. */

/* Begin a checkpoint of `cluster` (a name of at most STORE_CLUSTER_MAX - 1 characters); its id,
 * made of the time in UTC and eight random digits ("demo-20261122-181900-4f2a91c3"), goes to
 * ret_id.
 */
int store_begin(struct store *store, const char *cluster, char ret_id[STORE_ID_MAX],
		struct store_txn **ret_txn, struct err *err);

/*
 * Where a stream's bytes come from. `next_data` returns the first offset >= `offset` that may
 * hold data (UINT64_MAX: none); `block` returns a pointer to `len` readable bytes at `offset`
 * (a multiple of BLOCK_BYTES, len at most that), either its own memory or `scratch` filled
 * (BLOCK_BYTES large). Both may be called from several threads at once. Each byte is taken
 * once, so a stream is consistent with its ids even if the source changes meanwhile.
 *
 * With `base`, a stream of a checkpoint that exists (look with store_manifest() after
 * store_begin()), `changed` sets a bit for each page of the block that may differ from it, bit
 * p % 8 of byte p / 8 for page p, and returns whether it set any; the others are taken from the
 * base without being looked at. A stream that is longer or shorter than its base is fine; pages
 * behind the base's end count as changed whatever it says.
 */
struct store_source {
	uint64_t logical_bytes;
	uint64_t (*next_data)(void *arg, uint64_t offset);
	int (*block)(void *arg, uint64_t offset, uint32_t len, void *scratch,
		     const void **ret_data, struct err *err);
	const struct stream_ref *base; /* or NULL */
	bool (*changed)(void *arg, uint64_t offset, uint32_t len,
			uint8_t bitmap[NODE_FANOUT / 8]);
	void *arg;
};

/* A source over a regular file or memfd (holes are skipped by SEEK_DATA, which moves the fd's
 * offset). The fd must stay open; free() the arg. `base` and `changed` are NULL. */
int store_source_fd(int fd, struct store_source *ret_source, struct err *err);

/* Write streams; all share the work's threads, blocks in order. Data that the store has already
 * are not written again. A full medium is -ENOSPC and says what was needed. */
struct store_part {
	const struct store_source *source;
	struct stream_ref ref; /* result */
};
int store_txn_put(struct store_txn *txn, struct store_part *parts, size_t count,
		  const struct store_work *work, struct err *err);

/* What the transaction has cost so far. */
struct store_cost {
	uint64_t logical_bytes; /* of its streams */
	uint64_t data_bytes;    /* of their pages that are not zero */
	uint64_t taken_bytes;   /* of pages that were read and hashed (not taken from a base) */
	uint64_t new_bytes;     /* of pages that the store did not have, before compression */
	uint64_t stored_bytes;  /* in packs, everything counted */
	int64_t hash_ns, compress_ns, write_ns; /* time of all threads together */
	unsigned int threads; /* that were to put the last streams, beside who writes */
};
void store_txn_cost(const struct store_txn *txn, struct store_cost *ret_cost);

/*
 * Publish: packs are made durable, then the manifest. `manifest` (borrowed) is the document of
 * docs/formats/manifest.md without "format", "id" and "stored_bytes"; every stream that it
 * names must have been put in this transaction or taken over with store_txn_adopt(). Consumes
 * the transaction whatever the result. After an error the checkpoint does not exist. A catalog
 * that cannot be told is no error.
 */
int store_commit(struct store_txn *txn, json_t *manifest, struct err *err);

/* Give up what was written: packs that are durable already go with the next store_gc(). NULL is
 * allowed. */
void store_abort(struct store_txn *txn);

/* Put a file (kernel, initrd, base disk) as a stream; size, times and inode of files seen
 * before are remembered in the catalog, so that the second call is instant as long as a
 * checkpoint names the stream. */
int store_txn_put_file(struct store_txn *txn, const char *path, struct stream_ref *ret_ref,
		       const struct store_work *work, struct err *err);

/* Whether the file is remembered to hold this stream. */
bool store_file_is(struct store *store, const char *path, const struct stream_ref *ref);

/* Use a stream of a checkpoint that exists: 1 if some manifest names it, and it can be named by
 * this transaction's, 0 if not. */
int store_txn_adopt(struct store_txn *txn, const struct stream_ref *ref, struct err *err);

/* Reading. What is read under a lease stays until the lease ends, whatever is removed. */

struct store_lease;
/* `checkpoint` must exist (-ENOENT); NULL: none in particular. It is renewed by a thread of the
 * store's, so that it lives as long as the process. */
int store_lease_begin(struct store *store, const char *checkpoint,
		      struct store_lease **ret_lease, struct err *err);
void store_lease_end(struct store_lease *lease); /* NULL is allowed */

/*
 * Check streams against their references and put them into files or memfds that are all zeros
 * (they are given the size if they have another). Every chunk is read and checked once,
 * whatever number of streams has it. fd -1: only check. Damage is -EBADMSG and names the
 * object.
 */
struct store_target {
	const char *name; /* for sentences: "vm0.ram" */
	struct stream_ref ref;
	int fd;
};
int store_fill(struct store *store, const struct store_target *targets, size_t count,
	       const struct store_work *work, struct err *err);

/* Random reading of one stream, checked; any number of threads. */
struct store_stream;
int store_stream_open(struct store *store, const struct stream_ref *ref,
		      struct store_stream **ret_stream, struct err *err);
int store_stream_read(struct store_stream *stream, uint64_t offset, void *buf, size_t len,
		      struct err *err);
/* From `offset` on, up to *ret_end everything is data (*ret_data), or a hole. */
int store_stream_extent(struct store_stream *stream, uint64_t offset, bool *ret_data,
			uint64_t *ret_end, struct err *err);
void store_stream_close(struct store_stream *stream);

/* Checkpoints. */

/* One row of the catalog. */
struct store_entry {
	char id[STORE_ID_MAX];
	char cluster[STORE_ID_MAX];
	char tag[STORE_ID_MAX];
	int64_t created_ns;     /* realtime */
	uint64_t logical_bytes; /* of its VMs' streams */
	uint64_t bytes;         /* that it added to the store */
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
 * it). -EBADMSG names the object, and the newest good checkpoint before it, if any. `quick`
 * checks the manifest and that all chunks of its trees are in packs that are there. A full
 * check that finds nothing wrong ends a quarantine. Data found damaged are not used again by
 * later checkpoints, which store them anew. */
int store_verify(struct store *store, const char *id, bool quick, const struct store_work *work,
		 struct err *err);

/* Remove a checkpoint. Its data go with the next store_gc(); those that the holder of a lease
 * may use, when that has ended. */
int store_remove(struct store *store, const char *id, struct err *err);

/*
 * Retention. A checkpoint stays if any rule says so: the `keep` newest good ones of each
 * cluster, those younger than `keep_within_ns`, those with one of the tags. `cluster` NULL: all
 * clusters. The newest good checkpoint of a cluster always stays. *ret_ids: those that were
 * removed (or, with dry_run, would be), malloc'ed, the caller's.
 */
typedef char store_id[STORE_ID_MAX];
struct store_retention {
	const char *cluster;
	unsigned int keep;
	int64_t keep_within_ns; /* 0: no such rule */
	const char *const *keep_tags;
	size_t keep_tag_count;
	bool dry_run;
};
int store_prune(struct store *store, const struct store_retention *retention,
		store_id **ret_ids, size_t *ret_count, struct err *err);

/*
 * Complete removals, and collect garbage: condemn packs that no manifest needs, move what is
 * still needed out of packs that are mostly dead or tiny, and delete condemned packs of which
 * no lease is left that might need them. Safe beside writers and readers of any host, and to be
 * killed at any instant. There is one at a time: -EBUSY if another one goes on, of whatever
 * host. It works on one thread, beside who
 * writes packs; of `work` its priority counts.
 */
struct store_gc_report {
	uint64_t packs, condemned, deleted, rewritten; /* packs */
	uint64_t live_bytes, freed_bytes;              /* in packs */
	uint64_t waiting; /* condemned packs that leases still hold */
};
int store_gc(struct store *store, const struct store_work *work,
	     struct store_gc_report *ret_report, struct err *err);

struct store_stats {
	uint64_t checkpoints, damaged;
	uint64_t packs, pack_bytes;   /* what is stored */
	uint64_t chunks, chunk_bytes; /* before compression, each once */
	uint64_t logical_bytes;       /* of all checkpoints' VMs */
	uint64_t data_bytes;          /* of their pages that are not zero */
	uint64_t index_memory_bytes;  /* of this process */
	bool encrypted;
};
int store_stats(struct store *store, struct store_stats *ret_stats, struct err *err);

/* One checkpoint as one file or pipe (docs/formats/export.md). An import that exists already is
 * -EEXIST; a damaged one is -EBADMSG, and nothing of it stays. */
int store_export(struct store *store, const char *id, int fd, const struct store_work *work,
		 struct err *err);
int store_import(struct store *store, int fd, const struct store_work *work,
		 char ret_id[STORE_ID_MAX], struct err *err);

/* Drop the catalog and make it anew from the manifests. */
int store_rebuild_catalog(struct store *store, struct err *err);

#endif
