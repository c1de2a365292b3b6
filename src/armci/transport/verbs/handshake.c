/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses and the datagrams that set up connections: encoding and strict decoding. Pure. */
#include "armci/transport/verbs/handshake.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { MAGIC = 0x53415631, NUMBER_MAX = 0xffffff, MTU_MAX = 5, LINK_LAYER_MAX = 2 };

/* One walk for both directions: `in` is read, or `out` written; numbers are little-endian. */
struct cursor {
	const uint8_t *in;
	uint8_t *out;
	size_t at, length;
	bool bad;
};

static void number(struct cursor *cursor, uint64_t *value, size_t bytes)
{
	if (cursor->bad || bytes > cursor->length - cursor->at) {
		cursor->bad = true;
		return;
	}
	if (cursor->in)
		*value = 0;
	for (size_t i = 0; i < bytes; i++)
		if (cursor->in)
			*value |= (uint64_t)cursor->in[cursor->at + i] << (8 * i);
		else
			cursor->out[cursor->at + i] = (uint8_t)(*value >> (8 * i));
	cursor->at += bytes;
}

static void number8(struct cursor *cursor, uint8_t *value, uint8_t least, uint8_t most)
{
	uint64_t wide = *value;

	number(cursor, &wide, 1);
	*value = (uint8_t)wide;
	cursor->bad |= wide < least || wide > most;
}

static void number16(struct cursor *cursor, uint16_t *value)
{
	uint64_t wide = *value;

	number(cursor, &wide, 2);
	*value = (uint16_t)wide;
}

static void number32(struct cursor *cursor, uint32_t *value, uint32_t most)
{
	uint64_t wide = *value;

	number(cursor, &wide, 4);
	*value = (uint32_t)wide;
	cursor->bad |= wide > most;
}

static void place(struct cursor *cursor, struct handshake_place *place)
{
	for (size_t i = 0; i < HANDSHAKE_GID_BYTES; i++)
		number8(cursor, &place->gid[i], 0, UINT8_MAX);
	number16(cursor, &place->lid);
	number8(cursor, &place->mtu, 1, MTU_MAX);
	number8(cursor, &place->link_layer, 1, LINK_LAYER_MAX);
	number32(cursor, &place->qpn, NUMBER_MAX);
	number32(cursor, &place->qkey, INT32_MAX);
}

static void body(struct cursor *cursor, struct handshake *shake)
{
	uint8_t reason = (uint8_t)shake->reason;
	enum handshake_kind kind = shake->kind;
	bool address = kind == HANDSHAKE_ADDRESS, connect = kind == HANDSHAKE_CONNECT;
	bool accept = kind == HANDSHAKE_ACCEPT, bye = kind == HANDSHAKE_BYE;
	bool ping = kind == HANDSHAKE_PING;

	if (address || connect || bye || ping) {
		number(cursor, &shake->token, 8);
		number32(cursor, &shake->id, UINT32_MAX);
	}
	if (!address)
		number(cursor, &shake->nonce, 8);
	if (address || connect || ping)
		place(cursor, &shake->place);
	if (connect || accept) {
		number32(cursor, &shake->qpn, NUMBER_MAX);
		number32(cursor, &shake->psn, NUMBER_MAX);
		number8(cursor, &shake->reads, 1, UINT8_MAX);
	}
	if (connect)
		number32(cursor, &shake->message_bytes, INT32_MAX);
	if (accept)
		number8(cursor, &shake->mtu, 1, MTU_MAX);
	if (kind == HANDSHAKE_REFUSE)
		number8(cursor, &reason, HANDSHAKE_STALE, HANDSHAKE_UNREACHED);
	shake->reason = reason;
}

static void all(struct cursor *cursor, struct handshake *shake)
{
	uint32_t magic = MAGIC;
	uint8_t kind = (uint8_t)shake->kind;

	number32(cursor, &magic, UINT32_MAX);
	number8(cursor, &kind, HANDSHAKE_ADDRESS, HANDSHAKE_PONG);
	cursor->bad |= magic != MAGIC;
	shake->kind = kind;
	if (!cursor->bad)
		body(cursor, shake);
}

size_t handshake_encode(const struct handshake *shake, void *ret_bytes)
{
	struct handshake copy = *shake;
	struct cursor cursor = {.out = ret_bytes, .length = HANDSHAKE_BYTES};

	all(&cursor, &copy);
	return cursor.at;
}

int handshake_decode(const void *bytes, size_t length, struct handshake *ret_shake)
{
	struct cursor cursor = {.in = bytes, .length = length};

	memset(ret_shake, 0, sizeof(*ret_shake));
	all(&cursor, ret_shake);
	return cursor.bad || cursor.at != length ? -EINVAL : 0;
}
