/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: QEMU's stream of a background snapshot, fed in pieces of a size that the input's
 * first byte chooses, of a guest whose RAM has two pages. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vm/ram/capture.h"
#include "vm/ram/stream.h"

enum { PAGES = 2, PIECE_BYTES = 64 };

struct seen {
	bool pages[PAGES];
	bool devices;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_page(void *arg, uint64_t offset, const void *page)
{
	struct seen *seen = arg;
	char copy[RAM_PAGE_BYTES];

	if (offset % RAM_PAGE_BYTES || offset >= (uint64_t)PAGES * RAM_PAGE_BYTES ||
	    seen->devices)
		abort();
	seen->pages[offset / RAM_PAGE_BYTES] = true;
	if (page)
		memcpy(copy, page, sizeof(copy));
}

static int take_devices(void *arg, const void *bytes, size_t len, struct err *err)
{
	struct seen *seen = arg;

	(void)bytes;
	(void)err;
	if (len == 0 || !seen->pages[0] || !seen->pages[1])
		abort();
	seen->devices = true;
	return 0;
}

/* Pieces are copied, so that a read beyond one is seen. */
static int feed(struct ram_stream *stream, const uint8_t *data, size_t len, size_t *ret_used,
		struct err *err)
{
	uint8_t *copy = malloc(len);
	int rc;

	if (!copy)
		return -1;
	memcpy(copy, data, len);
	rc = ram_stream_feed(stream, copy, len, ret_used, err);
	free(copy);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen seen = {0};
	const struct ram_stream_sink sink = {
		.block = "ram0",
		.bytes = (uint64_t)PAGES * RAM_PAGE_BYTES,
		.page = take_page,
		.devices = take_devices,
		.arg = &seen,
	};
	struct ram_stream *stream = size ? ram_stream_create(&sink, NULL) : NULL;
	size_t piece = size ? (data[0] + (size_t)1) * PIECE_BYTES : 0, at = 1, have = 0, used;
	struct err err = ERR_INIT;
	int rc = 0;

	if (!stream)
		return 0;
	while (rc == 0 && at + have < size) {
		size_t left = size - at - have;

		have += left < piece ? left : piece;
		rc = feed(stream, data + at, have, &used, &err);
		at += rc == 0 ? used : 0;
		have -= rc == 0 ? used : 0;
		if (rc == 0 && have >= RAM_STREAM_REST_MAX)
			abort();
	}
	if (rc == 0)
		rc = ram_stream_end(stream, have, &err);
	if ((rc < 0) != (err.msg[0] != '\0') || (rc == 0 && !seen.devices))
		abort();
	ram_stream_destroy(stream);
	return 0;
}
