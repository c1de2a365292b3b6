/* SPDX-License-Identifier: BSD-3-Clause */
/* The incremental decoder of frames: strict, or finding its way back into a cut stream. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rpc_frame.h"

/*
 * The decoder is either in step (the byte at `start` begins a frame) or on the hunt. On the
 * hunt it looks for the magic, checks the header's own check word, waits until that many bytes
 * are there and checks the whole. A damaged candidate is left by one byte, so a valid frame
 * behind it is found; a valid one that is no hello is skipped as a whole, so that frames quoted
 * in its blob are not taken for real ones. Every header's claim is bounded by `max` before
 * anything waits for it or allocates by it.
 */
struct rpc_decoder {
	size_t max;
	bool resync;
	bool hunting;
	bool failed; /* strict mode: the stream is lost for good */
	char *buf;
	size_t start, end, capacity; /* bytes not yet decoded are buf[start … end) */
};

struct rpc_decoder *rpc_decoder_create(size_t max, bool resync)
{
	struct rpc_decoder *decoder = calloc(1, sizeof(*decoder));

	if (decoder) {
		decoder->max = max;
		decoder->resync = resync;
		decoder->hunting = resync;
	}
	return decoder;
}

void rpc_decoder_destroy(struct rpc_decoder *decoder)
{
	if (!decoder)
		return;
	free(decoder->buf);
	free(decoder);
}

void rpc_decoder_hunt(struct rpc_decoder *decoder)
{
	decoder->start = 0;
	decoder->end = 0;
	decoder->hunting = decoder->resync;
}

/* Make room for `len` more bytes at the end of the buffer. */
static int decoder_reserve(struct rpc_decoder *decoder, size_t len)
{
	size_t held = decoder->end - decoder->start;
	size_t capacity = decoder->capacity ? decoder->capacity : 4096;
	char *buf;

	if (len <= decoder->capacity - decoder->end)
		return 0;
	if (held)
		memmove(decoder->buf, decoder->buf + decoder->start, held);
	decoder->start = 0;
	decoder->end = held;
	if (len > SIZE_MAX / 4 - held)
		return -ENOMEM;
	while (capacity < held + len)
		capacity *= 2;
	if (capacity == decoder->capacity)
		return 0;
	buf = realloc(decoder->buf, capacity);
	if (!buf)
		return -ENOMEM;
	decoder->buf = buf;
	decoder->capacity = capacity;
	return 0;
}

int rpc_decoder_feed(struct rpc_decoder *decoder, const void *bytes, size_t len,
		     struct err *err)
{
	if (len == 0)
		return 0;
	if (decoder_reserve(decoder, len) < 0)
		return err_set(err, ENOMEM, "no memory for %zu received bytes", len);
	memcpy(decoder->buf + decoder->end, bytes, len);
	decoder->end += len;
	return 0;
}

/* On the hunt: move to the next place where a frame may begin. */
static void decoder_seek_magic(struct rpc_decoder *decoder)
{
	while (decoder->start < decoder->end) {
		const char *at = decoder->buf + decoder->start;
		size_t held = decoder->end - decoder->start;
		const char *hit = memchr(at, rpc_magic[0], held);

		if (!hit) {
			decoder->start = decoder->end;
			return;
		}
		decoder->start += (size_t)(hit - at);
		held = decoder->end - decoder->start;
		if (memcmp(hit, rpc_magic,
			   held < sizeof(rpc_magic) ? held : sizeof(rpc_magic)) == 0)
			return;
		decoder->start++;
	}
}

static bool msg_is_hello(const struct rpc_msg *msg)
{
	const char *op = json_string_value(json_object_get(msg->json, "op"));
	const char *event = json_string_value(json_object_get(msg->json, "event"));

	return (op && strcmp(op, "hello") == 0) || (event && strcmp(event, "hello") == 0);
}

/* Try the frame at `start`: 1 whole and valid, 0 more bytes needed, -EPROTO, -ENOMEM. */
static int decoder_try(struct rpc_decoder *decoder, struct rpc_msg *ret_msg, struct err *err)
{
	const char *frame;
	size_t held = decoder->end - decoder->start;
	struct rpc_header header = {0};
	size_t total;
	int rc;

	if (held == 0)
		return 0;
	frame = decoder->buf + decoder->start;
	if (memcmp(frame, rpc_magic, held < sizeof(rpc_magic) ? held : sizeof(rpc_magic)) != 0)
		return err_set(err, EPROTO,
			       "the stream does not begin a frame where one is due");
	if (held < RPC_HEADER_BYTES)
		return 0;
	rc = rpc_header_parse(frame, decoder->max, &header, err);
	if (rc < 0)
		return rc;
	total = (size_t)RPC_HEADER_BYTES + header.json_bytes + header.blob_bytes;
	if (held < total)
		return 0;
	rc = rpc_frame_decode(frame, header, ret_msg, err);
	if (rc < 0)
		return rc;
	decoder->start += total;
	return 1;
}

static int decoder_next_strict(struct rpc_decoder *decoder, struct rpc_msg *ret_msg,
			       struct err *err)
{
	int rc;

	if (decoder->failed)
		return err_set(err, EPROTO, "the stream was damaged before");
	rc = decoder_try(decoder, ret_msg, err);
	if (rc == -EPROTO)
		decoder->failed = true;
	return rc;
}

static int decoder_next_resync(struct rpc_decoder *decoder, struct rpc_msg *ret_msg,
			       struct err *err)
{
	for (;;) {
		int rc;

		if (decoder->hunting)
			decoder_seek_magic(decoder);
		rc = decoder_try(decoder, ret_msg, err);
		if (rc == 0 || rc == -ENOMEM)
			return rc;
		if (rc < 0) {
			decoder->hunting = true;
			decoder->start++;
			continue;
		}
		if (!decoder->hunting || msg_is_hello(ret_msg)) {
			decoder->hunting = false;
			return 1;
		}
		rpc_msg_clear(ret_msg);
	}
}

int rpc_decoder_next(struct rpc_decoder *decoder, struct rpc_msg *ret_msg, struct err *err)
{
	if (decoder->resync)
		return decoder_next_resync(decoder, ret_msg, err);
	return decoder_next_strict(decoder, ret_msg, err);
}
