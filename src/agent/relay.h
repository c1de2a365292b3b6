/* SPDX-License-Identifier: BSD-3-Clause */
/* Relays: commands that this guest runs in other VMs of the cluster, by way of the host. */
#ifndef STASIS_AGENT_RELAY_H
#define STASIS_AGENT_RELAY_H

#include <jansson.h>
#include <stdint.h>

#include "agent/watch.h"
#include "base/rpc.h"

#define RELAY_SOCKET "/run/stasis/agent.sock"
/* Names another socket than RELAY_SOCKET to stasis-rsh. */
#define RELAY_SOCKET_ENV "STASIS_AGENT_SOCKET"

struct relay_client;

struct relay_server {
	struct watch listener;
	struct relay_client *clients;
	int count;
	int64_t last_id; /* of requests to the host */
};

/* Listen on the socket `path`. */
int relay_open(struct agent *agent, const char *path, struct err *err);
void relay_close(struct agent *agent);

/* Ask a new session's host for every relay that is outstanding. */
void relay_resend_all(struct agent *agent);

/* The host has answered a relay. */
void relay_answer(struct agent *agent, const struct rpc_msg *reply);

#endif
