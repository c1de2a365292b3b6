/* SPDX-License-Identifier: BSD-3-Clause */
/* The client side of remote/: a peer per partner node, the operations under way, and waiting
 * for them. */
#ifndef STASIS_ARMCI_REMOTE_CLIENT_H
#define STASIS_ARMCI_REMOTE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "armci/remote/remote.h"
#include "armci/remote/wire.h"
#include "armci/transport/transport.h"

struct known_key {
	struct transport_key key;
	uint64_t known;
};

/* One partner node, and the server there that this process uses. */
struct peer {
	int node;
	int server;                  /* its world rank */
	struct transport_link *link; /* NULL until the first operation */
	unsigned requests;           /* not answered */
	unsigned writing; /* of them: puts and accumulates; RDMA may not overtake them */
	unsigned local;   /* operations not locally complete */
	bool unflushed;   /* RDMA writes since the last flush */
	bool pinged;
	int64_t heard_ns;       /* last sign of life */
	struct known_key *keys; /* [regions] of the node's arena */
	uint64_t regions;
	uint64_t region_bytes;
	uint8_t address[TRANSPORT_ADDRESS_MAX];
	size_t address_bytes;
};

struct remote_client {
	const struct transport_ops *ops; /* NULL: not open */
	struct transport *transport;
	struct peer *peers; /* [job.node_count] */
	size_t message_bytes;
	size_t inline_bytes;
	bool atomics;
	unsigned messages;  /* mailbox parts that are not taken yet */
	unsigned under_way; /* records that are not complete, of all peers */
	bool draining;      /* not the application's thread: its mailbox is left alone */
	struct remote_stats stats;
};

extern struct remote_client client;

/* What an operation waits for, and what happens at its end. */
enum pending_kind { PENDING_REQUEST, PENDING_READ, PENDING_WRITE, PENDING_FLUSH };

/* The answer of a request that somebody waits for. */
struct result {
	bool done;
	int32_t status;
	int64_t value;
	void *data; /* where the answer's bytes go, NULL: nowhere */
	size_t bytes;
};

struct pending {
	struct peer *peer;
	enum pending_kind kind;
	uint32_t id;
	bool writes;                  /* counted in peer->writing */
	bool message;                 /* counted in client.messages */
	struct remote_handle *handle; /* told when locally complete, NULL: nobody */
	struct result *result;        /* or NULL */
	void *slot;                   /* bounce memory to give back, or NULL */
	void *near; /* READ: where `bytes` of the slot go; get: base of the rows */
	size_t bytes;
	struct xfer shape; /* packed get: what the answer holds */
	uint64_t first, rows;
	const struct remote_segment *segments; /* packed vector get, `rows` of them */
	struct pending *next;
};

int peers_open(struct err *err);
void peers_close(void);

/* Open a device of this kind, and learn what it can do. */
int client_transport_open(const struct transport_ops *ops, struct err *err);

/* The peer of a node, connected. */
struct peer *client_peer(int node);

/* A record that counts in the peer, the handle and so on until its completion. */
struct pending *client_pending(struct peer *peer, enum pending_kind kind,
			       struct remote_handle *handle);

/* Take completions; true if there were any. */
bool client_poll(void);

/* One step of waiting on this peer: poll, and spin or sleep if there was nothing.
 * Zero-initialised at the start of a wait. */
struct patience {
	int64_t since_ns;
};
void client_step(struct peer *peer, struct patience *patience);

/* A buffer for a request, and its posting: `pending` gets the answer. */
void *client_request_buffer(struct peer *peer);
void client_request_post(struct peer *peer, void *buffer, size_t bytes);

/* A request without data, and its answer. */
void client_ask(struct peer *peer, struct wire_request *head, struct result *result);

/* Until the operations of a handle are locally complete. */
void client_wait(struct remote_handle *handle);

/* Begin to make sure that RDMA writes are complete at the peer: `handle` or `result` (the other
 * NULL) tells when they are; at once if there were none. */
void client_flush(struct peer *peer, struct remote_handle *handle, struct result *result);

/* End the job if an answer says that the memory was refused. */
void client_check_status(const struct peer *peer, int status);

/* End the job: the peer is lost. */
_Noreturn void client_lost(const struct peer *peer, const char *why);

#endif
