/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: manifests, as they are and with their envelope mended, so that the JSON is
 * reached too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/hash.h"
#include "store/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What decodes must name its files and encode to something that decodes to the same. */
static void decode(const char *text, size_t len)
{
	struct manifest_file *files;
	json_t *manifest, *again;
	struct err err;
	char *encoded;
	size_t count;

	if (manifest_decode(text, len, &manifest, &err) < 0)
		return;
	if (manifest_files(manifest, &files, &count, &err) < 0 ||
	    manifest_encode(manifest, &encoded, &len, &err) < 0 ||
	    manifest_decode(encoded, len, &again, &err) < 0 || !json_equal(manifest, again))
		abort();
	json_decref(again);
	json_decref(manifest);
	free(encoded);
	free(files);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *json = memchr(data, '\n', size);
	char hex[HASH_HEX_MAX], *text;
	uint8_t hash[HASH_BYTES];
	size_t len;
	int line;

	decode((const char *)data, size);
	json = json ? json + 1 : (const char *)data;
	len = size - (size_t)(json - (const char *)data);
	text = malloc(len + 128);
	if (!text || hash_sha256(&(struct iovec){(void *)json, len}, 1, hash, NULL) < 0)
		abort();
	hash_to_hex(hash, hex);
	line = snprintf(text, 128, "stasis-manifest 1 sha256=%s bytes=%zu\n", hex, len);
	memcpy(text + line, json, len);
	decode(text, (size_t)line + len);
	free(text);
	return 0;
}
