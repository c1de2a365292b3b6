/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: addresses and datagrams of the verbs transport, which come from peers. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "armci/transport/verbs/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was decoded is within bounds, and encodes to the same bytes again. */
static void check(const struct handshake *shake, const uint8_t *data, size_t size)
{
	uint8_t again[HANDSHAKE_BYTES];

	if (size > sizeof(again) || handshake_encode(shake, again) != size ||
	    memcmp(again, data, size) != 0)
		abort();
	if (shake->qpn > 0xffffff || shake->psn > 0xffffff || shake->place.qpn > 0xffffff ||
	    shake->mtu > 5 || shake->place.mtu > 5)
		abort();
}

/* The input with a right head, which chance would hardly find. */
static void decode_as_body(const uint8_t *data, size_t size)
{
	struct handshake shake = {.kind = HANDSHAKE_ADDRESS};
	uint8_t bytes[256];
	size_t head = 5;

	handshake_encode(&shake, bytes);
	if (size == 0 || size + head > sizeof(bytes))
		return;
	bytes[head - 1] = (uint8_t)(HANDSHAKE_ADDRESS + data[0] % HANDSHAKE_PONG);
	memcpy(bytes + head, data + 1, size - 1);
	if (handshake_decode(bytes, head + size - 1, &shake) == 0)
		check(&shake, bytes, head + size - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct handshake shake;

	if (handshake_decode(data, size, &shake) == 0)
		check(&shake, data, size);
	decode_as_body(data, size);
	return 0;
}
