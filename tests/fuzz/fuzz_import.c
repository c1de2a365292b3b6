/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: exported checkpoints, as they are and with their sums mended, taken into a store
 * in memory. What is taken in verifies; what is refused leaves no checkpoint. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "fuzz_packs.h"
#include "store/export.h"
#include "store/store_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Streams of more than this are not tried: the work would be that of all their zeros. */
enum { LOGICAL_MAX = 16 << 20, LOGICAL_VMS_MAX = 8 };

static void store_make(struct store *store)
{
	*store = (struct store){.index = index_create(), .cache = segment_cache_create()};
	pthread_mutex_init(&store->lock, NULL);
	lease_keeper_init(&store->leases);
	governor_init(&store->governor, STORE_LEVEL_RAW);
	if (!store->index || !store->cache ||
	    backend_open_memory("fuzz", &store->backend, NULL) < 0 ||
	    catalog_start(store, NULL) < 0)
		abort();
}

static void store_drop(struct store *store)
{
	lease_keeper_end(&store->leases);
	catalog_close(store->catalog);
	index_destroy(store->index);
	segment_cache_destroy(store->cache);
	governor_destroy(&store->governor);
	pthread_mutex_destroy(&store->lock);
	backend_close(store->backend);
	backend_memory_forget("fuzz");
}

/* Whether the streams that a manifest names are small. */
static bool small(const char *text, size_t len)
{
	struct manifest_stream *streams;
	json_t *manifest;
	size_t count;
	bool all = true;

	if (manifest_decode(text, len, &manifest, NULL) < 0)
		return true;
	if (manifest_streams(manifest, &streams, &count, NULL) < 0)
		abort();
	if (count > 3 + 3 * LOGICAL_VMS_MAX)
		all = false;
	for (size_t i = 0; i < count; i++)
		all &= streams[i].ref.logical_bytes <= LOGICAL_MAX;
	free(streams);
	json_decref(manifest);
	return all;
}

static void import(const void *bytes, size_t len)
{
	const struct store_work work = {.threads = 1};
	int fd = memfd_create("export", MFD_CLOEXEC);
	store_id *ids;
	char id[STORE_ID_MAX];
	struct store store;
	size_t count;
	int rc;

	if (fd < 0 || io_pwrite_all(fd, bytes, len, 0, NULL) < 0)
		abort();
	store_make(&store);
	rc = store_import(&store, fd, &work, id, NULL);
	close(fd);
	if (store_scan(&store, &ids, &count, NULL) < 0 || count != (rc == 0))
		abort();
	if (rc == 0 && (strcmp(ids[0], id) || store_verify(&store, id, false, &work, NULL) < 0))
		abort();
	free(ids);
	store_drop(&store);
}

/* The same with manifest and pack mended. */
static void import_mended(const struct export_head *head, const uint8_t *data, size_t size,
			  size_t head_len)
{
	struct export_head mended = *head;
	char text[EXPORT_HEAD_MAX], *manifest;
	size_t at, len, pack = head_len + head->manifest_bytes;
	uint8_t *bytes;

	manifest = manifest_mend((const char *)data + head_len, head->manifest_bytes, &len);
	mended.manifest_bytes = len;
	at = export_head_encode(&mended, text);
	bytes = malloc(at + len + size - pack + 1);
	if (!bytes)
		abort();
	memcpy(bytes, text, at);
	memcpy(bytes + at, manifest, len);
	memcpy(bytes + at + len, data + pack, size - pack);
	pack_mend(bytes + at + len, size - pack);
	if (small(manifest, len))
		import(bytes, at + len + size - pack);
	free(manifest);
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct export_head head;
	size_t head_len;

	if (export_head_decode((const char *)data, size, &head, &head_len, NULL) < 0) {
		import(data, size);
		return 0;
	}
	if (head_len > size || head.manifest_bytes > size - head_len) {
		import(data, size);
		return 0;
	}
	if (small((const char *)data + head_len, head.manifest_bytes))
		import(data, size);
	import_mended(&head, data, size, head_len);
	return 0;
}
