/* SPDX-License-Identifier: BSD-3-Clause */
/* What a store holds, in figures. */
#include "base/cleanup.h"
#include "store/store_priv.h"

static void add_data_bytes(struct store *store, const char *id, struct store_stats *stats)
{
	CLEANUP_FREE struct manifest_stream *streams = NULL;
	json_t *manifest;
	size_t count = 0;

	if (store_manifest(store, id, &manifest, NULL) < 0)
		return;
	if (manifest_streams(manifest, &streams, &count, NULL) == 0)
		for (size_t i = 0; i < count; i++)
			stats->data_bytes += streams[i].shared ? 0 : streams[i].ref.data_bytes;
	json_decref(manifest);
}

int store_stats(struct store *store, struct store_stats *ret_stats, struct err *err)
{
	CLEANUP_FREE struct store_entry *entries = NULL;
	struct index_size size;
	size_t count;
	int rc = index_refresh(store->index, store->backend, store->crypt, err);

	if (rc == 0)
		rc = store_list(store, NULL, &entries, &count, err);
	if (rc < 0)
		return rc;
	index_size(store->index, &size);
	*ret_stats = (struct store_stats){
		.checkpoints = count,
		.packs = size.packs,
		.pack_bytes = size.pack_bytes,
		.chunks = size.chunks,
		.chunk_bytes = size.chunk_bytes,
		.index_memory_bytes = size.memory_bytes,
		.encrypted = store->crypt != NULL,
	};
	for (size_t i = 0; i < count; i++) {
		ret_stats->damaged += entries[i].damaged;
		ret_stats->logical_bytes += entries[i].logical_bytes;
		add_data_bytes(store, entries[i].id, ret_stats);
	}
	return 0;
}
