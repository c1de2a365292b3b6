/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking an exported checkpoint in.
 *
 * What was exported is opened as a store of its own, with one pack and its own keys, and its
 * streams are put into ours like those of a running cluster: so everything is checked, nothing
 * is stored twice, and it does not matter how either store is encrypted. A pipe is copied to a
 * temporary file first, as a pack is read from its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "store/export.h"
#include "store/removal.h"
#include "store/store_txn.h"
#include "store/work.h"

/* A backend of one pack, which is a part of a file. */
struct region {
	struct backend backend;
	int fd;
	uint64_t offset, bytes;
};

static int region_read(struct backend *backend, const char *name, uint64_t offset, void *buf,
		       size_t len, struct err *err)
{
	const struct region *region = (const struct region *)backend;

	(void)name;
	if (offset > region->bytes || len > region->bytes - offset)
		return err_set(err, EBADMSG, "the exported checkpoint is cut off");
	return io_pread_all(region->fd, buf, len, (off_t)(region->offset + offset), err);
}

static const struct backend_ops region_ops = {.kind = "exported", .read = region_read};

/* The store that the exported bytes are. */
struct source {
	struct region region;
	struct store store;
	struct export_head head;
	json_t *manifest;
};

static int spool(int fd, int *ret_fd, struct err *err)
{
	const char *dir = getenv("TMPDIR");
	CLEANUP_FREE char *buf = malloc(BLOCK_BYTES);
	CLEANUP_CLOSE int to =
		open(dir && *dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ssize_t len;

	if (!buf)
		return err_sys(err, ENOMEM, "import");
	if (to < 0)
		return err_sys(err, errno, "cannot make a temporary file in %s",
			       dir && *dir ? dir : "/tmp");
	while ((len = read(fd, buf, BLOCK_BYTES)) != 0) {
		int rc = len < 0 && errno == EINTR ? 0
			 : len < 0 ? err_sys(err, errno, "cannot read the exported checkpoint")
				   : io_write_all(to, buf, (size_t)len, err);

		if (rc < 0)
			return rc;
	}
	*ret_fd = TAKE_FD(to);
	return 0;
}

/* Keys of the store that it comes from: same secret, another salt. */
static int source_crypt(const struct store *store, struct source *source, struct err *err)
{
	const struct store_format *format = &source->head.format;
	int rc;

	if (!format->encrypted)
		return 0;
	if (!store->secret)
		return err_set(
			err, EKEYREJECTED,
			"the exported checkpoint is encrypted: a store with the same key can take "
			"it in");
	rc = crypt_create(store->secret, format->id, &source->store.crypt, err);
	if (rc == 0 && memcmp(source->store.crypt->check, format->check, sizeof(format->check)))
		rc = err_set(
			err, EKEYREJECTED,
			"the exported checkpoint is encrypted with another key than the store %s",
			store->backend->where);
	return rc;
}

static int source_manifest(struct source *source, uint64_t offset, struct err *err)
{
	size_t len = source->head.manifest_bytes;
	CLEANUP_FREE uint8_t *bytes = malloc(len + 1);
	uint8_t key[CRYPT_KEY_BYTES];
	const char *text = (const char *)bytes;
	int rc;

	if (!bytes)
		return err_sys(err, ENOMEM, "manifest");
	rc = io_pread_all(source->region.fd, bytes, len, (off_t)offset, err);
	if (rc == 0 && source->store.crypt) {
		if (len < CRYPT_SALT_BYTES + CRYPT_TAG_BYTES)
			return err_set(err, EBADMSG, "the exported manifest is cut off");
		rc = crypt_object_key(source->store.crypt, bytes, key, err);
		if (rc == 0)
			rc = crypt_open(key, 0, bytes + CRYPT_SALT_BYTES,
					len - CRYPT_SALT_BYTES, bytes + CRYPT_SALT_BYTES, err);
		text += CRYPT_SALT_BYTES;
		len -= CRYPT_SALT_BYTES + CRYPT_TAG_BYTES;
	}
	return rc < 0 ? rc : manifest_decode(text, len, &source->manifest, err);
}

static int source_pack(struct source *source, struct err *err)
{
	uint8_t header[PACK_HEADER_BYTES];
	struct pack_header decoded;
	struct pack *pack;
	char name[PACK_NAME_MAX];
	int rc = region_read(&source->region.backend, "", 0, header, sizeof(header), err);

	if (rc == 0)
		rc = pack_header_decode(header, "the exported checkpoint", &decoded, err);
	if (rc < 0)
		return rc;
	pack_name(decoded.id, name);
	rc = pack_load(&source->region.backend, source->store.crypt, name, source->region.bytes,
		       &pack, err);
	if (rc == 0 && pack->unreadable) {
		pack_destroy(pack);
		rc = err_set(err, EBADMSG,
			     "the exported checkpoint is damaged: its index cannot be read");
	}
	return rc < 0 ? rc : index_add(source->store.index, pack, err);
}

static void source_close(struct source *source)
{
	json_decref(source->manifest);
	index_destroy(source->store.index);
	segment_cache_destroy(source->store.cache);
	crypt_destroy(source->store.crypt);
	if (source->region.fd >= 0)
		close(source->region.fd);
}

static int source_open(const struct store *store, int fd, struct source *source,
		       struct err *err)
{
	char head[EXPORT_HEAD_MAX];
	struct stat st;
	size_t head_len, used;
	int rc;

	*source = (struct source){
		.region = {.backend = {.ops = &region_ops, .where = (char *)"(exported)"},
			   .fd = fd},
		.store = {.read_only = true},
	};
	source->store.backend = &source->region.backend;
	source->store.index = index_create();
	source->store.cache = segment_cache_create();
	if (!source->store.index || !source->store.cache)
		return err_sys(err, ENOMEM, "import");
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot stat the exported checkpoint");
	head_len = (uint64_t)st.st_size < sizeof(head) ? (size_t)st.st_size : sizeof(head);
	rc = io_pread_all(fd, head, head_len, 0, err);
	if (rc == 0)
		rc = export_head_decode(head, head_len, &source->head, &used, err);
	if (rc < 0)
		return rc;
	source->region.offset = used + source->head.manifest_bytes;
	if (source->region.offset > (uint64_t)st.st_size)
		return err_set(err, EBADMSG, "the exported checkpoint is cut off");
	source->region.bytes = (uint64_t)st.st_size - source->region.offset;
	rc = source_crypt(store, source, err);
	if (rc == 0)
		rc = source_manifest(source, used, err);
	return rc < 0 ? rc : source_pack(source, err);
}

/* Streams of the source as sources of ours. */

static uint64_t stream_next(void *arg, uint64_t offset)
{
	bool data = true;
	uint64_t end = offset;

	/* What cannot be read is found when the block is. */
	if (store_stream_extent(arg, offset, &data, &end, NULL) < 0 || data)
		return offset;
	return end;
}

static int stream_block(void *arg, uint64_t offset, uint32_t len, void *scratch,
			const void **ret_data, struct err *err)
{
	*ret_data = scratch;
	return store_stream_read(arg, offset, scratch, len, err);
}

static int stream_import(struct source *source, struct store_txn *txn, json_t *object,
			 const struct store_work *work, struct err *err)
{
	struct store_source from = {.next_data = stream_next, .block = stream_block};
	struct store_part part = {.source = &from};
	struct store_stream *stream;
	struct stream_ref ref;
	json_t *put;
	int rc = stream_ref_from_json(object, &ref, err);

	if (rc == 0)
		rc = store_stream_open(&source->store, &ref, &stream, err);
	if (rc < 0)
		return rc;
	from.logical_bytes = ref.logical_bytes;
	from.arg = stream;
	rc = store_txn_put(txn, &part, 1, work, err);
	store_stream_close(stream);
	if (rc < 0)
		return rc;
	put = stream_ref_to_json(&part.ref);
	if (!put || json_object_update(object, put) < 0)
		rc = err_sys(err, ENOMEM, "manifest");
	json_decref(put);
	return rc;
}

/* Put all streams and write their references into the manifest. */
static int streams_import(struct source *source, struct store_txn *txn,
			  const struct store_work *work, struct err *err)
{
	static const char *const images[] = {"kernel", "initrd", "disk"};
	static const char *const parts[] = {"ram", "state", "disk"};
	json_t *vms = json_object_get(source->manifest, "vms"), *vm;
	json_t *shared = json_object_get(source->manifest, "images");
	size_t at;
	int rc = 0;

	for (size_t i = 0; i < 3 && rc == 0; i++)
		rc = stream_import(source, txn, json_object_get(shared, images[i]), work, err);
	json_array_foreach(vms, at, vm) for (size_t i = 0; i < 3 && rc == 0; i++) rc =
		stream_import(source, txn, json_object_get(vm, parts[i]), work, err);
	return rc;
}

static int import_source(struct store *store, struct source *source,
			 const struct store_work *work, char ret_id[STORE_ID_MAX],
			 struct err *err)
{
	const char *id = json_string_value(json_object_get(source->manifest, "id"));
	const char *cluster = json_string_value(json_object_get(source->manifest, "cluster"));
	struct store_txn *txn;
	int rc;

	if (strcmp(id, source->head.id) != 0)
		return err_set(err, EBADMSG, "the exported checkpoint's manifest is that of %s",
			       id);
	rc = store_begin(store, cluster, ret_id, &txn, err);
	if (rc < 0)
		return rc;
	rc = store_exists(store, id, err);
	if (rc == 1)
		rc = err_set(err, EEXIST, "the store %s has a checkpoint %s already",
			     store->backend->where, id);
	if (rc == 0)
		rc = removal_has(store, id, err);
	if (rc == 1)
		rc = err_set(
			err, EBUSY,
			"checkpoint %s was removed from the store %s, but is still used: try again "
			"later, after a collection",
			id, store->backend->where);
	if (rc == 0)
		rc = streams_import(source, txn, work, err);
	if (rc < 0) {
		store_abort(txn);
		return rc;
	}
	/* It keeps the id under which people know it. */
	memcpy(txn->id, source->head.id, sizeof(txn->id));
	memcpy(ret_id, source->head.id, STORE_ID_MAX);
	return store_commit(txn, source->manifest, err);
}

int store_import(struct store *store, int fd, const struct store_work *work,
		 char ret_id[STORE_ID_MAX], struct err *err)
{
	struct source source;
	struct stat st;
	int own = -1, rc = 0;

	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot stat the exported checkpoint");
	if (S_ISREG(st.st_mode)) {
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		rc = own < 0 ? err_sys(err, errno, "cannot keep the exported checkpoint open")
			     : 0;
	} else {
		rc = spool(fd, &own, err);
	}
	if (rc < 0)
		return rc;
	rc = source_open(store, own, &source, err);
	if (rc == 0)
		rc = import_source(store, &source, work, ret_id, err);
	source_close(&source);
	return rc;
}
