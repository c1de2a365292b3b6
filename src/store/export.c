/* SPDX-License-Identifier: BSD-3-Clause */
/* One checkpoint as one stream of bytes: head, manifest, and a pack of what it needs. Written
 * from front to end, so that it can go into a pipe. */
#include "store/export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "store/copier.h"
#include "store/lease.h"
#include "store/mark.h"
#include "store/work.h"

static const char magic[] = "stasis-export 1\n";

size_t export_head_encode(const struct export_head *head, char ret_text[EXPORT_HEAD_MAX])
{
	char format[FORMAT_BYTES_MAX];
	int len;

	format_encode(&head->format, format);
	len = snprintf(ret_text, EXPORT_HEAD_MAX, "%s%scheckpoint %s\nmanifest %" PRIu64 "\n",
		       magic, format, head->id, head->manifest_bytes);
	return (size_t)len;
}

/* The end of the `lines`-th line, or NULL. */
static const char *lines_end(const char *text, int lines)
{
	while (lines-- > 0 && text) {
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return text;
}

int export_head_decode(const char *bytes, size_t len, struct export_head *ret_head,
		       size_t *ret_len, struct err *err)
{
	char text[EXPORT_HEAD_MAX] = "", format[FORMAT_BYTES_MAX], again[EXPORT_HEAD_MAX];
	const char *begin = text + sizeof(magic) - 1, *end;
	int used = 0, lines = 3, rc;

	memcpy(text, bytes, len < sizeof(text) - 1 ? len : sizeof(text) - 1);
	if (strncmp(text, "stasis-export ", 14))
		return err_set(err, EBADMSG, "this is not an exported checkpoint");
	if (strncmp(text, magic, sizeof(magic) - 1))
		return err_set(
			err, EPROTONOSUPPORT,
			"the exported checkpoint has a format that this program does not know");
	if (strstr(begin, "cipher aes"))
		lines = 4;
	end = lines_end(begin, lines);
	if (!end || (size_t)(end - begin) >= sizeof(format))
		return err_set(err, EBADMSG, "the exported checkpoint's head is damaged");
	snprintf(format, sizeof(format), "%.*s", (int)(end - begin), begin);
	if (sscanf(end, "checkpoint %63s manifest %" SCNu64 "%n", ret_head->id,
		   &ret_head->manifest_bytes, &used) != 2 ||
	    end[used] != '\n' || ret_head->manifest_bytes > EXPORT_MANIFEST_MAX)
		return err_set(err, EBADMSG, "the exported checkpoint's head is damaged");
	*ret_len = (size_t)(end - text) + (size_t)used + 1;
	rc = format_decode(format, "exported checkpoint", &ret_head->format, err);
	if (rc < 0)
		return rc;
	/* sscanf() is lenient: the head must be what we would write. */
	len = export_head_encode(ret_head, again);
	if (len != *ret_len || memcmp(again, text, len) != 0 ||
	    !name_valid(ret_head->id, STORE_ID_MAX - 1))
		return err_set(err, EBADMSG, "the exported checkpoint's head is damaged");
	return 0;
}

struct exporter {
	struct store *store;
	const struct store_work *work;
	int fd;
	struct id_set written;
};

static int export_append(const void *data, size_t len, void *arg, struct err *err)
{
	const struct exporter *e = arg;

	return io_write_all(e->fd, data, len, err);
}

/* What is needed of one segment, out of the pack where it is read from. */
static int segment_write(struct exporter *e, struct mark *mark, struct copier *copier,
			 const struct pack *pack, uint32_t number, uint8_t *raw,
			 struct err *err)
{
	const struct pack_segment *segment = &pack->segments[number];
	const struct pack_chunk *chunks = &pack->chunks[segment->first_chunk];
	bool read = false;
	int rc = 0;

	for (uint32_t i = 0; i < segment->chunk_count && rc == 0; i++) {
		const uint8_t *data = raw + chunks[i].offset;
		struct place place;

		if (!id_set_has(&mark->live, &chunks[i].id) ||
		    id_set_has(&e->written, &chunks[i].id) ||
		    !index_find(e->store->index, &chunks[i].id, &place) || place.pack != pack)
			continue;
		if (!read)
			rc = chunk_reader_segment(mark->reader, pack, number, raw, err);
		read = true;
		if (rc == 0)
			rc = chunk_check(mark->reader, pack, number, &chunks[i].id, data,
					 chunks[i].bytes, err);
		if (rc == 0)
			rc = copier_chunk(copier, &chunks[i].id, data, chunks[i].bytes, err);
		if (rc == 0)
			rc = id_set_add(&e->written, &chunks[i].id, err) < 0 ? -ENOMEM : 0;
		work_progress(e->work,
			      rc == 0 && chunks[i].bytes == PAGE_BYTES ? PAGE_BYTES : 0);
	}
	return rc;
}

/* In the order of the packs, so that each segment is read once, here and by the import. */
static int packs_write(struct exporter *e, struct mark *mark, struct copier *copier,
		       struct err *err)
{
	CLEANUP_FREE uint8_t *raw = malloc(SEGMENT_RAW_MAX);
	CLEANUP_FREE struct pack **packs = NULL;
	size_t count = 0;
	int rc = raw ? index_packs(e->store->index, &packs, &count, err)
		     : err_sys(err, ENOMEM, "segment");

	for (size_t i = 0; i < count && rc == 0; i++)
		for (uint32_t s = 0; s < packs[i]->segment_count && rc == 0; s++)
			rc = segment_write(e, mark, copier, packs[i], s, raw, err);
	return rc;
}

/* Chunks whose home another process has changed meanwhile, by marking packs. */
static int rest_write(struct exporter *e, struct mark *mark, struct copier *copier,
		      struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < mark->live.slot_count && rc == 0; i++) {
		const struct chunk_id *id = &mark->live.slots[i];
		uint8_t data[CHUNK_BYTES_MAX];
		size_t len;

		if (chunk_id_is_zero(id) || id_set_has(&e->written, id))
			continue;
		rc = chunk_read(mark->reader, id, data, &len, err);
		if (rc == 0)
			rc = copier_chunk(copier, id, data, len, err);
	}
	return rc;
}

static int chunks_write(struct exporter *e, struct mark *mark, struct err *err)
{
	struct pack_set *set;
	struct copier copier;
	int rc = pack_set_create_stream(e->store, export_append, e, &set, err);

	if (rc < 0)
		return rc;
	rc = copier_create(e->store, set, &copier, err);
	if (rc == 0)
		rc = packs_write(e, mark, &copier, err);
	if (rc == 0)
		rc = rest_write(e, mark, &copier, err);
	if (rc == 0)
		rc = copier_flush(&copier, err);
	if (rc == 0)
		rc = pack_set_finish(set, err);
	copier_destroy(&copier);
	pack_set_destroy(set);
	return rc;
}

static int head_write(const struct exporter *e, const char *id, struct err *err)
{
	struct export_head head = {.format = {.encrypted = e->store->crypt != NULL}};
	CLEANUP_FREE void *manifest = NULL;
	char object[STORE_OBJECT_MAX], text[EXPORT_HEAD_MAX];
	size_t len;
	int rc;

	memcpy(head.format.id, e->store->id, sizeof(head.format.id));
	if (e->store->crypt)
		memcpy(head.format.check, e->store->crypt->check, sizeof(head.format.check));
	snprintf(head.id, sizeof(head.id), "%s", id);
	store_object("manifests", id, object);
	/* As it is in the store: sealed, if that is encrypted. */
	rc = backend_get(e->store->backend, object, EXPORT_MANIFEST_MAX, &manifest, &len, err);
	if (rc < 0)
		return rc;
	head.manifest_bytes = len;
	rc = io_write_all(e->fd, text, export_head_encode(&head, text), err);
	return rc < 0 ? rc : io_write_all(e->fd, manifest, len, err);
}

static int export_write(struct exporter *e, const char *id, struct err *err)
{
	CLEANUP_FREE struct manifest_stream *streams = NULL;
	struct mark mark = {0};
	json_t *manifest;
	size_t count = 0;
	int rc = store_manifest(e->store, id, &manifest, err);

	if (rc < 0)
		return rc;
	rc = manifest_streams(manifest, &streams, &count, err);
	json_decref(manifest);
	if (rc == 0)
		rc = mark_begin(e->store, &mark, err);
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = mark_stream(&mark, &streams[i].ref, err);
	if (rc == 0)
		rc = head_write(e, id, err);
	if (rc == 0)
		rc = chunks_write(e, &mark, err);
	mark_end(&mark);
	return rc;
}

int store_export(struct store *store, const char *id, int fd, const struct store_work *work,
		 struct err *err)
{
	struct exporter e = {.store = store, .work = work, .fd = fd};
	struct store_lease *lease = NULL;
	int rc = store_lease_begin(store, id, &lease, err);

	if (rc < 0)
		return rc;
	index_hold(store->index);
	rc = export_write(&e, id, err);
	id_set_clear(&e.written);
	index_drop(store->index);
	store_lease_end(lease);
	return rc;
}
