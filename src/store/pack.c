/* SPDX-License-Identifier: BSD-3-Clause */
/* A pack in this process's memory: what its index says, and the reading of its segments. */
#include "store/pack.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/log.h"

void pack_object(const char *kind, const char *name, char ret_object[PACK_OBJECT_MAX])
{
	snprintf(ret_object, PACK_OBJECT_MAX, "%.14s/%s", kind, name);
}

void pack_destroy(struct pack *pack)
{
	if (!pack)
		return;
	free(pack->segments);
	free(pack->chunks);
	free(pack);
}

/* The stored index, checked against the footer and opened; malloc'ed. */
static int index_read(struct backend *backend, const struct pack *pack, const char *object,
		      const uint8_t *raw_header, const struct pack_footer *footer,
		      uint8_t **ret_index, struct err *err)
{
	CLEANUP_FREE uint8_t *index = malloc(footer->index_bytes + 1);
	int rc = 0;

	if (!index)
		return err_sys(err, ENOMEM, "index of %s", object);
	if (footer->index_bytes)
		rc = backend->ops->read(backend, object, footer->index_offset, index,
					footer->index_bytes, err);
	if (rc == 0)
		rc = pack_footer_check(footer, raw_header, index, object, err);
	if (rc == 0 && pack->header.encrypted) {
		rc = crypt_open(pack->key, PACK_INDEX_NUMBER, index, footer->index_bytes, index,
				err);
		if (rc < 0)
			err_prefix(err, "index of %s", object);
	}
	if (rc == 0)
		*ret_index = TAKE_PTR(index);
	return rc;
}

static int pack_fill(struct backend *backend, const struct crypt *crypt, struct pack *pack,
		     struct err *err)
{
	uint8_t header[PACK_HEADER_BYTES], raw_footer[PACK_FOOTER_BYTES], id[PACK_ID_BYTES];
	CLEANUP_FREE uint8_t *index = NULL;
	char object[PACK_OBJECT_MAX];
	struct pack_footer footer;
	int rc;

	pack_object("packs", pack->name, object);
	if (pack->bytes < PACK_HEADER_BYTES + PACK_FOOTER_BYTES)
		return err_set(err, EBADMSG, "%s is damaged: %" PRIu64 " bytes are too few",
			       object, pack->bytes);
	rc = backend->ops->read(backend, object, 0, header, sizeof(header), err);
	if (rc == 0)
		rc = pack_header_decode(header, object, &pack->header, err);
	if (rc == 0 &&
	    (!pack_name_parse(pack->name, id) || memcmp(id, pack->header.id, sizeof(id))))
		rc = err_set(err, EBADMSG, "%s is another pack under this name", object);
	if (rc == 0 && pack->header.encrypted != (crypt != NULL))
		rc = err_set(err, EBADMSG, "%s is %sencrypted, unlike the store", object,
			     crypt ? "not " : "");
	if (rc == 0 && crypt)
		rc = crypt_object_key(crypt, pack->header.id, pack->key, err);
	if (rc == 0)
		rc = backend->ops->read(backend, object, pack->bytes - sizeof(raw_footer),
					raw_footer, sizeof(raw_footer), err);
	if (rc == 0)
		rc = pack_footer_decode(raw_footer, pack->bytes, pack->header.encrypted, object,
					&footer, err);
	if (rc == 0)
		rc = index_read(backend, pack, object, header, &footer, &index, err);
	if (rc < 0)
		return rc;
	pack->segments = calloc((size_t)footer.segment_count + 1, sizeof(*pack->segments));
	pack->chunks = calloc((size_t)footer.chunk_count + 1, sizeof(*pack->chunks));
	if (!pack->segments || !pack->chunks)
		return err_sys(err, ENOMEM, "index of %s", object);
	rc = pack_index_decode(index, &footer, pack->header.encrypted, object, pack->segments,
			       pack->chunks, err);
	if (rc < 0)
		return rc;
	pack->segment_count = footer.segment_count;
	pack->chunk_count = footer.chunk_count;
	return 0;
}

int pack_load(struct backend *backend, const struct crypt *crypt, const char *name,
	      uint64_t bytes, struct pack **ret_pack, struct err *err)
{
	struct pack *pack = calloc(1, sizeof(*pack));
	struct err fault = ERR_INIT;
	int rc;

	if (!pack)
		return err_sys(err, ENOMEM, "pack");
	snprintf(pack->name, sizeof(pack->name), "%s", name);
	pack->bytes = bytes;
	rc = pack_fill(backend, crypt, pack, &fault);
	if (rc == -EBADMSG || rc == -EPROTONOSUPPORT) {
		log_warn("%s: checkpoints that need it cannot be restarted", fault.msg);
		pack->unreadable = true;
		pack->newer = rc == -EPROTONOSUPPORT;
		rc = 0;
	}
	if (rc < 0) {
		pack_destroy(pack);
		if (err)
			*err = fault;
		return rc;
	}
	*ret_pack = pack;
	return 0;
}

int pack_check(struct backend *backend, const struct crypt *crypt, const struct pack *pack,
	       struct err *err)
{
	struct pack *again = calloc(1, sizeof(*again));
	int rc;

	if (!again)
		return err_sys(err, ENOMEM, "pack");
	memcpy(again->name, pack->name, sizeof(again->name));
	again->bytes = pack->bytes;
	rc = pack_fill(backend, crypt, again, err);
	pack_destroy(again);
	if (rc == -ENOENT)
		rc = err_set(err, EBADMSG, "pack %s is missing", pack->name);
	return rc;
}

static int segment_damaged(const struct pack *pack, uint32_t segment, const char *what,
			   struct err *err)
{
	return err_set(err, EBADMSG,
		       "pack %s is damaged: segment %" PRIu32 ", at offset %" PRIu64 ", %s",
		       pack->name, segment, pack->segments[segment].offset, what);
}

int pack_segment_open(const struct pack *pack, uint32_t segment, void *stored, void *ret_raw,
		      struct err *err)
{
	const struct pack_segment *s = &pack->segments[segment];
	size_t len = s->stored_bytes;

	if (pack_check_sum(stored, len) != s->check)
		return segment_damaged(pack, segment, "does not match its checksum", err);
	if (pack->header.encrypted) {
		int rc = crypt_open(pack->key, segment, stored, len, stored, err);

		if (rc == -EBADMSG)
			rc = segment_damaged(pack, segment, "does not fit its encryption tag",
					     err);
		if (rc < 0)
			return rc;
		len -= CRYPT_TAG_BYTES;
	}
	if (s->codec == SEGMENT_RAW)
		memcpy(ret_raw, stored, len);
	else if (ZSTD_decompress(ret_raw, SEGMENT_RAW_MAX, stored, len) != s->raw_bytes)
		return segment_damaged(pack, segment, "cannot be decompressed", err);
	return 0;
}

int pack_segment_read(struct backend *backend, const struct pack *pack, uint32_t segment,
		      void *scratch, void *ret_raw, struct err *err)
{
	const struct pack_segment *s = &pack->segments[segment];
	char object[PACK_OBJECT_MAX];
	int rc;

	pack_object("packs", pack->name, object);
	rc = backend->ops->read(backend, object, s->offset, scratch, s->stored_bytes, err);
	if (rc == -ENOENT)
		rc = err_set(err, ESTALE, "pack %s is missing", pack->name);
	return rc < 0 ? rc : pack_segment_open(pack, segment, scratch, ret_raw, err);
}
