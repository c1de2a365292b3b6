/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions: a checkpoint's chunks are written beside the others, and it exists from its
 * manifest on. */
#include "store/store_txn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "store/removal.h"
#include "store/tree.h"

enum { ID_TRIES = 100 };

static int id_make(const char *cluster, char ret_id[STORE_ID_MAX], struct err *err)
{
	time_t now = time(NULL);
	uint32_t salt;
	char stamp[32];
	struct tm utc;

	if (getrandom(&salt, sizeof(salt), 0) != sizeof(salt))
		return err_sys(err, errno, "no random number for an id");
	if (!gmtime_r(&now, &utc) || !strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &utc))
		return err_set(err, EOVERFLOW, "the host's clock is out of range");
	snprintf(ret_id, STORE_ID_MAX, "%.*s-%.15s-%08x", STORE_CLUSTER_MAX - 1, cluster, stamp,
		 salt);
	return 0;
}

/* An id that no checkpoint has, or had and is not rid of yet. */
static int id_find(struct store_txn *txn, struct err *err)
{
	for (int i = 0; i < ID_TRIES; i++) {
		int rc = id_make(txn->cluster, txn->id, err);

		if (rc == 0)
			rc = store_exists(txn->store, txn->id, err);
		if (rc == 0)
			rc = removal_has(txn->store, txn->id, err);
		if (rc <= 0)
			return rc;
	}
	return err_set(err, EEXIST, "found no free id for a checkpoint of \"%s\"",
		       txn->cluster);
}

static void txn_free(struct store_txn *txn)
{
	pack_set_destroy(txn->packs);
	store_lease_end(txn->lease);
	index_drop(txn->store->index);
	id_set_clear(&txn->pending);
	pthread_mutex_destroy(&txn->lock);
	free(txn->streams);
	free(txn);
}

int store_begin(struct store *store, const char *cluster, char ret_id[STORE_ID_MAX],
		struct store_txn **ret_txn, struct err *err)
{
	struct store_txn *txn;
	int rc = store_writable(store, err);

	if (rc < 0)
		return rc;
	if (!name_valid(cluster, STORE_CLUSTER_MAX - 1))
		return err_set(err, EINVAL,
			       "\"%.80s\" is not a cluster's name: 1 to %d letters, digits, "
			       "\".\", \"_\" and \"-\", no dot in front",
			       cluster, STORE_CLUSTER_MAX - 1);
	txn = calloc(1, sizeof(*txn));
	if (!txn)
		return err_sys(err, ENOMEM, "transaction");
	txn->store = store;
	snprintf(txn->cluster, sizeof(txn->cluster), "%s", cluster);
	pthread_mutex_init(&txn->lock, NULL);
	index_hold(store->index);
	/* First the lease, then a look at what is condemned: see gc.c. */
	rc = store_lease_begin(store, NULL, &txn->lease, err);
	if (rc == 0)
		rc = id_find(txn, err);
	if (rc == 0)
		rc = pack_set_create(store, &txn->packs, err);
	if (rc < 0) {
		store_explain_space(store, rc, "a checkpoint", PAGE_BYTES, err);
		txn_free(txn);
		return rc;
	}
	memcpy(ret_id, txn->id, STORE_ID_MAX);
	*ret_txn = txn;
	return 0;
}

void store_abort(struct store_txn *txn)
{
	if (txn)
		txn_free(txn);
}

int txn_note_stream(struct store_txn *txn, const struct stream_ref *ref, struct err *err)
{
	struct stream_ref *more;
	int rc = 0;

	pthread_mutex_lock(&txn->lock);
	more = reallocarray(txn->streams, txn->stream_count + 1, sizeof(*more));
	if (more) {
		txn->streams = more;
		txn->streams[txn->stream_count++] = *ref;
	} else {
		rc = err_sys(err, ENOMEM, "stream");
	}
	pthread_mutex_unlock(&txn->lock);
	return rc;
}

void store_txn_cost(const struct store_txn *txn, struct store_cost *ret_cost)
{
	*ret_cost = (struct store_cost){
		.logical_bytes = txn->logical_bytes,
		.data_bytes = txn->data_bytes,
		.taken_bytes = txn->taken_bytes,
		.new_bytes = txn->new_bytes,
		.stored_bytes = pack_set_bytes(txn->packs),
		.hash_ns = txn->hash_ns,
		.compress_ns = txn->compress_ns,
		.write_ns = pack_set_write_ns(txn->packs),
		.threads = txn->threads,
	};
}

static bool manifest_names(const json_t *manifest, const struct stream_ref *ref)
{
	CLEANUP_FREE struct manifest_stream *streams = NULL;
	size_t count;

	if (manifest_streams(manifest, &streams, &count, NULL) < 0)
		return false;
	for (size_t i = 0; i < count; i++)
		if (stream_ref_equal(&streams[i].ref, ref))
			return true;
	return false;
}

static int chunk_reliable(const struct chunk_id *id, void *arg, struct err *err)
{
	struct store *store = arg;
	bool known;

	index_known(store->index, id, 1, &known);
	return known ? 0 : chunk_missing(store, id, err);
}

/* Whether all chunks of a stream are where a new checkpoint may rely on them: 1, 0 or -errno.
 */
static int stream_reliable(struct store *store, const struct stream_ref *ref, struct err *err)
{
	uint64_t blocks = tree_blocks(ref->logical_bytes);
	CLEANUP_FREE struct chunk_id *leaves = NULL;
	struct chunk_reader *reader = NULL;
	int rc;

	if (!index_doubtful(store->index))
		return 1;
	rc = chunk_reader_create(store, &reader, err);
	if (rc == 0)
		rc = tree_inner(reader, ref, chunk_reliable, store, &leaves, err);
	for (uint64_t block = 0; block < blocks && rc == 0; block++) {
		struct node_ids node;

		if (chunk_id_is_zero(&leaves[block]))
			continue;
		rc = chunk_reliable(&leaves[block], store, err);
		if (rc == 0)
			rc = tree_leaf(reader, ref, block, &leaves[block], &node, err);
		for (unsigned int i = 0; i < NODE_FANOUT && rc == 0; i++)
			if (!chunk_id_is_zero(&node.ids[i]))
				rc = chunk_reliable(&node.ids[i], store, err);
	}
	chunk_reader_destroy(reader);
	return rc == -EBADMSG ? 0 : rc < 0 ? rc : 1;
}

/* A stream that an existing manifest names is whole, and stays while this lease is held, unless
 * it is in packs that are condemned or damaged. */
int store_txn_adopt(struct store_txn *txn, const struct stream_ref *ref, struct err *err)
{
	CLEANUP_FREE struct store_entry *entries = NULL;
	size_t count;
	int rc = store_list(txn->store, NULL, &entries, &count, err);

	while (rc == 0 && count-- > 0) {
		json_t *manifest;
		bool named;

		if (entries[count].damaged ||
		    store_manifest(txn->store, entries[count].id, &manifest, NULL) < 0)
			continue;
		named = manifest_names(manifest, ref);
		json_decref(manifest);
		if (!named)
			continue;
		rc = stream_reliable(txn->store, ref, err);
		if (rc == 1)
			rc = txn_note_stream(txn, ref, err) < 0 ? -ENOMEM : 1;
		return rc;
	}
	return rc;
}

/* Does the manifest name only streams that this transaction has put or taken over? */
static int commit_check(const struct store_txn *txn, const json_t *document, struct err *err)
{
	CLEANUP_FREE struct manifest_stream *streams = NULL;
	size_t count;
	int rc = manifest_streams(document, &streams, &count, err);

	for (size_t i = 0; i < count && rc == 0; i++) {
		bool found = chunk_id_is_zero(&streams[i].ref.root);

		for (size_t j = 0; j < txn->stream_count && !found; j++)
			found = stream_ref_equal(&streams[i].ref, &txn->streams[j]);
		if (!found)
			rc = err_set(err, EINVAL,
				     "the manifest names %s, which was not put like that",
				     streams[i].name);
	}
	return rc;
}

int store_publish(struct store *store, const char *id, const json_t *document, struct err *err)
{
	struct err fault = ERR_INIT;
	CLEANUP_FREE char *text = NULL;
	char object[STORE_OBJECT_MAX];
	struct store_entry entry;
	size_t len;
	int rc = manifest_encode(document, &text, &len, err);

	store_object("manifests", id, object);
	if (rc == 0)
		rc = fault_hit(FAULT_STORE_PUBLISH, err);
	if (rc == 0)
		rc = store_put_sealed(store, object, text, len, err);
	if (rc < 0) {
		store_explain_space(store, rc, "a manifest", len, err);
		return rc;
	}
	rc = fault_hit(FAULT_STORE_CATALOG, &fault);
	pthread_mutex_lock(&store->lock);
	if (rc == 0)
		rc = store_entry_fill(document, false, &entry, &fault);
	if (rc == 0)
		rc = catalog_put(store->catalog, &entry, &fault);
	pthread_mutex_unlock(&store->lock);
	if (rc < 0)
		log_warn("the catalog learns of checkpoint %s when it is next used: %s", id,
			 fault.msg);
	return 0;
}

static int commit_document(struct store_txn *txn, json_t *document, struct err *err)
{
	struct err fault = ERR_INIT;
	int rc = pack_set_finish(txn->packs, err);

	if (rc < 0) {
		store_explain_space(txn->store, rc, "a checkpoint", pack_set_bytes(txn->packs),
				    err);
		return rc;
	}
	if (json_object_set_new(document, "stored_bytes",
				json_integer((json_int_t)pack_set_bytes(txn->packs))) < 0)
		return err_sys(err, ENOMEM, "manifest");
	rc = manifest_check(document, err);
	if (rc == 0)
		rc = commit_check(txn, document, err);
	/* Whoever stood still so long that others took the lease for dead must not publish, nor
	 * have published, if it was between this look and that. */
	if (rc == 0)
		rc = lease_check(txn->lease, err);
	if (rc == 0)
		rc = store_format_check(txn->store, err);
	if (rc < 0)
		return rc;
	txn->published = true;
	rc = store_publish(txn->store, txn->id, document, err);
	if (rc == 0 && lease_check(txn->lease, &fault) == -ESTALE)
		rc = err_set(err, ESTALE, "%s", fault.msg);
	return rc;
}

/* After a failure: the manifest may be there all the same (an answer that was lost). */
static void commit_undo(const struct store_txn *txn)
{
	struct err err = ERR_INIT;
	int rc = txn->published ? store_remove(txn->store, txn->id, &err) : 0;

	if (rc < 0 && rc != -ENOENT)
		log_warn("checkpoint %s failed, but may be in the store: %s", txn->id, err.msg);
}

int store_commit(struct store_txn *txn, json_t *manifest, struct err *err)
{
	const char *cluster = json_string_value(json_object_get(manifest, "cluster"));
	json_t *document = json_copy(manifest);
	struct err fault = ERR_INIT;
	int rc = 0;

	if (!cluster || strcmp(cluster, txn->cluster))
		rc = err_set(err, EINVAL, "the manifest is not one of cluster \"%s\"",
			     txn->cluster);
	else if (txn->failed)
		rc = err_set(err, EINVAL, "a stream of checkpoint %s was not written whole",
			     txn->id);
	else if (!document ||
		 json_object_set_new(document, "format", json_integer(MANIFEST_VERSION)) < 0 ||
		 json_object_set_new(document, "id", json_string(txn->id)) < 0)
		rc = err_sys(err, ENOMEM, "manifest");
	else
		rc = commit_document(txn, document, err);
	json_decref(document);
	if (rc < 0)
		commit_undo(txn);
	else if (pack_set_publish(txn->packs, &fault) < 0)
		log_warn("the index learns of checkpoint %s when it is next refreshed: %s",
			 txn->id, fault.msg);
	txn_free(txn);
	return rc;
}
