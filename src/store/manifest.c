/* SPDX-License-Identifier: BSD-3-Clause */
/* The envelope of a manifest: a first line with version, hash and length, then exactly that
 * much JSON. */
#include "store/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/hash.h"

enum { LINE_MAX_BYTES = 160, DIGITS_MAX = 10 };

static const char magic[] = "stasis-manifest ";

/* A decimal number without sign or leading zero; moves *at behind it. */
static bool parse_number(const char **at, uint64_t *ret_value)
{
	const char *start = *at;
	uint64_t value = 0;

	while (**at >= '0' && **at <= '9' && *at - start < DIGITS_MAX)
		value = value * 10 + (uint64_t)(*(*at)++ - '0');
	*ret_value = value;
	return *at > start && (*start != '0' || *at == start + 1);
}

static bool parse_literal(const char **at, const char *literal)
{
	size_t len = strlen(literal);

	if (strncmp(*at, literal, len))
		return false;
	*at += len;
	return true;
}

/* Decode the first line, a NUL-terminated copy without its newline. */
static int line_decode(const char *line, uint8_t ret_hash[HASH_BYTES], uint64_t *ret_bytes,
		       struct err *err)
{
	uint64_t version;

	if (!parse_literal(&line, magic) || !parse_number(&line, &version) || *line != ' ')
		return err_set(err, EBADMSG, "not a manifest, or its first line is damaged");
	if (version > MANIFEST_VERSION)
		return err_set(err, EPROTONOSUPPORT,
			       "the manifest has version %" PRIu64
			       ", this program knows versions up to %d",
			       version, MANIFEST_VERSION);
	if (version < MANIFEST_VERSION)
		return err_set(err, EPROTONOSUPPORT,
			       "the manifest has version %" PRIu64
			       ", which this program does not read any more",
			       version);
	if (!parse_literal(&line, " sha256=") || !hash_from_hex(line, ret_hash))
		return err_set(err, EBADMSG, "the manifest's first line is damaged");
	line += HASH_HEX_MAX - 1;
	if (!parse_literal(&line, " bytes=") || !parse_number(&line, ret_bytes) || *line)
		return err_set(err, EBADMSG, "the manifest's first line is damaged");
	return 0;
}

int manifest_decode(const char *text, size_t len, json_t **ret_manifest, struct err *err)
{
	uint8_t hash[HASH_BYTES], want[HASH_BYTES];
	const char *newline = memchr(text, '\n', len < LINE_MAX_BYTES ? len : LINE_MAX_BYTES);
	char line[LINE_MAX_BYTES] = "";
	json_error_t fault;
	json_t *manifest;
	uint64_t bytes;
	int rc;

	if (!newline)
		return err_set(err, EBADMSG, "not a manifest, or its first line is damaged");
	memcpy(line, text, (size_t)(newline - text));
	if (strlen(line) != (size_t)(newline - text))
		return err_set(err, EBADMSG, "the manifest's first line is damaged");
	rc = line_decode(line, want, &bytes, err);
	if (rc < 0)
		return rc;
	len -= (size_t)(newline + 1 - text);
	text = newline + 1;
	if (bytes != len || bytes > MANIFEST_BYTES_MAX)
		return err_set(err, EBADMSG,
			       "the manifest is damaged: its first line announces %" PRIu64
			       " bytes, %zu follow",
			       bytes, len);
	rc = hash_sha256(&(struct iovec){(void *)text, len}, 1, hash, err);
	if (rc < 0)
		return rc;
	if (memcmp(hash, want, sizeof(hash)))
		return err_set(err, EBADMSG,
			       "the manifest is damaged: it does not match its checksum");
	manifest = json_loadb(text, len, JSON_REJECT_DUPLICATES, &fault);
	if (!manifest)
		return err_set(err, EBADMSG, "the manifest is not valid JSON: line %d: %s",
			       fault.line, fault.text);
	rc = manifest_check(manifest, err);
	if (rc < 0) {
		json_decref(manifest);
		return rc;
	}
	*ret_manifest = manifest;
	return 0;
}

int manifest_encode(const json_t *manifest, char **ret_text, size_t *ret_len, struct err *err)
{
	CLEANUP_FREE char *json = NULL;
	char *text, hex[HASH_HEX_MAX];
	uint8_t hash[HASH_BYTES];
	size_t len;
	int line, rc = manifest_check(manifest, err);

	if (rc < 0)
		return rc;
	json = json_dumps(manifest, JSON_INDENT(2) | JSON_SORT_KEYS);
	if (!json)
		return err_sys(err, ENOMEM, "manifest");
	len = strlen(json);
	if (len > MANIFEST_BYTES_MAX)
		return err_set(err, EFBIG, "the manifest has %zu bytes, at most %d are allowed",
			       len, MANIFEST_BYTES_MAX);
	rc = hash_sha256(&(struct iovec){json, len}, 1, hash, err);
	if (rc < 0)
		return rc;
	hash_to_hex(hash, hex);
	text = malloc(LINE_MAX_BYTES + len);
	if (!text)
		return err_sys(err, ENOMEM, "manifest");
	line = snprintf(text, LINE_MAX_BYTES, "%s%d sha256=%s bytes=%zu\n", magic,
			MANIFEST_VERSION, hex, len);
	memcpy(text + line, json, len);
	*ret_text = text;
	*ret_len = (size_t)line + len;
	return 0;
}

json_t *stream_ref_to_json(const struct stream_ref *ref)
{
	char hex[HASH_HEX_MAX];

	hash_to_hex(ref->root.bytes, hex);
	return json_pack("{s:s, s:I, s:I}", "root", hex, "logical_bytes",
			 (json_int_t)ref->logical_bytes, "data_bytes",
			 (json_int_t)ref->data_bytes);
}

int manifest_streams(const json_t *manifest, struct manifest_stream **ret_streams,
		     size_t *ret_count, struct err *err)
{
	static const char *const images[] = {"kernel", "initrd", "disk"};
	static const char *const parts[] = {"ram", "state", "disk"};
	const json_t *vm, *vms = json_object_get(manifest, "vms");
	struct manifest_stream *streams =
		calloc(3 + 3 * json_array_size(vms), sizeof(*streams));
	size_t at = 0, i;

	if (!streams)
		return err_sys(err, ENOMEM, "streams of a manifest");
	for (i = 0; i < 3; i++, at++) {
		streams[at].shared = true;
		snprintf(streams[at].name, sizeof(streams[at].name), "%s", images[i]);
		stream_ref_from_json(
			json_object_get(json_object_get(manifest, "images"), images[i]),
			&streams[at].ref, NULL);
	}
	json_array_foreach(vms, i, vm)
	{
		for (size_t j = 0; j < 3; j++, at++) {
			snprintf(streams[at].name, sizeof(streams[at].name), "%s.%s",
				 json_string_value(json_object_get(vm, "name")), parts[j]);
			stream_ref_from_json(json_object_get(vm, parts[j]), &streams[at].ref,
					     NULL);
		}
	}
	*ret_streams = streams;
	*ret_count = at;
	return 0;
}
