/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: the decoder of frames, strict and resynchronizing, fed in pieces. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SMALL_MAX = 4096 };

/* What a decoder delivers must encode again to a frame that decodes to the same. */
static void check_round_trip(const struct rpc_msg *msg)
{
	struct rpc_decoder *decoder = rpc_decoder_create(RPC_FRAME_MAX, false);
	struct rpc_msg again = {0};
	char *bytes = NULL;
	size_t len = 0;

	if (decoder && rpc_encode(msg->json, msg->blob, msg->blob_len, RPC_FRAME_MAX, &bytes,
				  &len, NULL) == 0) {
		if (rpc_decoder_feed(decoder, bytes, len, NULL) < 0 ||
		    rpc_decoder_next(decoder, &again, NULL) != 1 ||
		    !json_equal(msg->json, again.json) || again.blob_len != msg->blob_len)
			abort();
	}
	rpc_msg_clear(&again);
	rpc_decoder_destroy(decoder);
	free(bytes);
}

/* Take every message, and look at it as a client does. */
static void drain(struct rpc_decoder *decoder, bool check)
{
	struct rpc_msg msg = {0};
	struct err err = ERR_INIT;
	const char *text = "";
	int64_t number = 0;
	bool flag = false;

	while (rpc_decoder_next(decoder, &msg, &err) == 1) {
		rpc_reply_check(msg.json, &err);
		rpc_get_str(msg.json, "op", &text, &err);
		rpc_get_int(msg.json, "id", 0, INT64_MAX, &number, &err);
		rpc_opt_bool(msg.json, "ok", &flag, &err);
		if (check)
			check_round_trip(&msg);
		rpc_msg_clear(&msg);
	}
}

static void decode(const uint8_t *data, size_t size, bool resync, size_t piece)
{
	struct rpc_decoder *decoder = rpc_decoder_create(SMALL_MAX, resync);

	for (size_t at = 0; decoder && at < size; at += piece) {
		size_t len = size - at < piece ? size - at : piece;

		if (rpc_decoder_feed(decoder, data + at, len, NULL) < 0)
			break;
		drain(decoder, piece >= size);
	}
	rpc_decoder_destroy(decoder);
}

/* Wrap the input as a frame's JSON with right checks, which chance would hardly find. */
static void decode_as_payload(const uint8_t *data, size_t size)
{
	json_t *json = json_loadb((const char *)data, size, 0, NULL);
	struct rpc_msg msg = {.json = json};

	if (json_is_object(json))
		check_round_trip(&msg);
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t piece = size ? data[0] % 61 + 1 : 1;

	decode(data, size, false, size + 1);
	decode(data, size, true, size + 1);
	decode(data, size, true, piece);
	decode_as_payload(data, size);
	return 0;
}
