/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses and the datagrams that set up connections: encoding and strict decoding. Pure. */
#ifndef STASIS_ARMCI_TRANSPORT_VERBS_HANDSHAKE_H
#define STASIS_ARMCI_TRANSPORT_VERBS_HANDSHAKE_H

#include <stddef.h>
#include <stdint.h>

enum { HANDSHAKE_GID_BYTES = 16, HANDSHAKE_BYTES = 96 };

/*
 * An address tells where a server takes datagrams. A client sends CONNECT until the server
 * answers by ACCEPT or REFUSE; the server answers a repeated CONNECT (same client and nonce) as
 * it did the first. BYE ends the connection at the server.
 */
enum handshake_kind {
	HANDSHAKE_ADDRESS = 1,
	HANDSHAKE_CONNECT,
	HANDSHAKE_ACCEPT,
	HANDSHAKE_REFUSE,
	HANDSHAKE_BYE,
	HANDSHAKE_PING, /* are you there, and is this connection? */
	HANDSHAKE_PONG,
};

enum handshake_reason {
	HANDSHAKE_STALE = 1, /* the address is of a server that was there before */
	HANDSHAKE_FULL,      /* the device has no queue pair left, or no memory */
	HANDSHAKE_MESSAGE,   /* the client's messages are larger than the server's buffers */
	HANDSHAKE_UNREACHED, /* the server finds no way to the client */
};

/* Where a queue pair is. */
struct handshake_place {
	uint8_t gid[HANDSHAKE_GID_BYTES];
	uint16_t lid; /* 0: none */
	uint8_t mtu;  /* as enum ibv_mtu: 1 … 5 */
	uint8_t link_layer;
	uint32_t qpn, qkey; /* takes datagrams */
};

/* Each kind uses the members that are named with it; encoding leaves the others out, decoding
 * leaves them zero. */
struct handshake {
	enum handshake_kind kind;
	uint64_t token; /* of one opening of the server: all but ACCEPT, REFUSE, PONG */
	uint64_t nonce; /* of one opening of the link: all but ADDRESS */
	uint32_t id;    /* world rank of the sender: where token is */
	struct handshake_place place; /* of its sender: ADDRESS, CONNECT, PING */
	uint32_t qpn, psn;      /* of the connection's end at the sender: CONNECT, ACCEPT */
	uint8_t mtu;            /* the path's: ACCEPT */
	uint8_t reads;          /* in flight, at most: CONNECT, ACCEPT */
	uint32_t message_bytes; /* CONNECT */
	enum handshake_reason reason; /* REFUSE */
};

/* At most HANDSHAKE_BYTES; returns how many. */
size_t handshake_encode(const struct handshake *shake, void *ret_bytes);

/* -EINVAL: not one of ours, another version, or a value that cannot be. */
int handshake_decode(const void *bytes, size_t length, struct handshake *ret_shake);

#endif
