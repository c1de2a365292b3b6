/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: manifests, as they are and with their envelope mended, so that the JSON is
 * reached too. */
#include <stdlib.h>

#include "fuzz_packs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What decodes must name its streams and encode to something that decodes to the same. */
static void decode(const char *text, size_t len)
{
	struct manifest_stream *streams;
	json_t *manifest, *again;
	struct err err;
	char *encoded;
	size_t count;

	if (manifest_decode(text, len, &manifest, &err) < 0)
		return;
	if (manifest_streams(manifest, &streams, &count, &err) < 0 || count < 6 ||
	    manifest_encode(manifest, &encoded, &len, &err) < 0 ||
	    manifest_decode(encoded, len, &again, &err) < 0 || !json_equal(manifest, again))
		abort();
	for (size_t i = 0; i < count; i++)
		if (streams[i].ref.logical_bytes > STREAM_BYTES_MAX || !*streams[i].name)
			abort();
	json_decref(again);
	json_decref(manifest);
	free(encoded);
	free(streams);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t len;
	char *text = manifest_mend((const char *)data, size, &len);

	decode((const char *)data, size);
	decode(text, len);
	free(text);
	return 0;
}
