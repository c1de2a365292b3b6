/* SPDX-License-Identifier: BSD-3-Clause */
/* What the libfabric transport's messages look like, and checks of what came from a peer. */
#ifndef STASIS_ARMCI_TRANSPORT_OFI_WIRE_H
#define STASIS_ARMCI_TRANSPORT_OFI_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fi_info;

enum { OFI_NAME_MAX = 160, OFI_PROVIDER_MAX = 48, OFI_REASON_MAX = 160 };

enum ofi_type {
	OFI_HELLO = 0x57410100, /* client → server; the last byte counts versions, so that
				   others are not understood */
	OFI_WELCOME,
	OFI_REFUSAL,
	OFI_REQUEST,
	OFI_ANSWER,
	OFI_PING, /* means nothing: it finds out whether the server is there */
	OFI_BYE,
};

/* In front of each message. */
struct ofi_wire {
	uint32_t type;
	uint32_t sequence; /* of requests */
	uint64_t token;    /* the receiver's, from hello or welcome; in a hello 0 */
};

struct ofi_hello {
	uint64_t reply; /* the client's token of the link */
	uint32_t client_id;
	uint32_t message_bytes;
	uint32_t format; /* of the name */
	uint32_t name_bytes;
	uint8_t name[OFI_NAME_MAX];
};

struct ofi_welcome {
	uint64_t token; /* the server's token of the link */
};

struct ofi_refusal {
	char reason[OFI_REASON_MAX];
};

/* How others reach a server: what address() gives. */
struct ofi_address {
	uint32_t type; /* OFI_HELLO: the same version */
	uint32_t format;
	uint32_t name_bytes;
	char provider[OFI_PROVIDER_MAX];
	uint8_t name[OFI_NAME_MAX];
};

/* May this name be given to the provider? It must look like one of its own. */
bool ofi_name_good(const struct fi_info *info, uint32_t format, const uint8_t *name,
		   size_t bytes);

#endif
