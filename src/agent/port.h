/* SPDX-License-Identifier: BSD-3-Clause */
/* The agent's virtio-serial port: opened without blocking, read in frames, queued writes. */
#ifndef STASIS_AGENT_PORT_H
#define STASIS_AGENT_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/watch.h"
#include "base/rpc.h"

struct port_chunk;

struct port {
	struct watch watch;
	const char *path; /* as --port gives it; NULL: find the virtio port */
	struct rpc_decoder *decoder;
	bool is_socket;
	bool readable; /* bytes may be there; cleared when a read finds none */
	bool cut;      /* the host may hold a half frame of ours */
	int64_t retry_ns;
	int retry_ms;
	struct port_chunk *head, *tail;
	size_t head_done;    /* bytes of `head` that are written */
	size_t queued_bytes; /* not yet written */
};

int port_create(struct port *port, const char *path, struct err *err);
void port_destroy(struct port *port);

/* Open the port when that is due, write what it takes, and handle at most one buffer of what
 * has come. */
void port_work(struct agent *agent);

/* Milliseconds until port_work() has something to do without an event. */
int port_timeout_ms(const struct port *port);

/* Queue a message. -EMSGSIZE when it is too large for the port. */
int port_send(struct agent *agent, const json_t *json, const void *blob, size_t blob_len,
	      struct err *err);

/* A new session has begun: forget messages of which no byte is written; fill up what the host
 * may hold half of. */
void port_begin_session(struct port *port);

/* Does the queue have room for replies that need not be made now? */
bool port_has_room(const struct port *port);

#endif
