/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests to the agents of several VMs of a cluster at once: one connection to the daemon for
 * each. */
#ifndef STASIS_CLI_AGENTS_H
#define STASIS_CLI_AGENTS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rpc.h"
#include "base/spec.h"

struct agent {
	char vm[64];
	struct rpc_conn *conn; /* NULL: broken, made anew by the next request */
	int64_t request_id;    /* of the last request sent */
};

struct agents {
	char cluster[SPEC_NAME_MAX];
	size_t count;
	struct agent *list;
};

/* The VMs of a cluster.status object: all of them (vm "all"), or one. */
int agents_open(struct agents *ret_agents, const json_t *cluster, const char *vm,
		struct err *err);
void agents_close(struct agents *agents);

/* Send an operation of docs/formats/agent.md (taken over) to one VM without waiting. */
int agents_send(struct agents *agents, size_t index, json_t *operation, const void *blob,
		size_t blob_len, struct err *err);
/* Wait for the reply to the last request sent; an agent's refusal is an error, told with the
 * VM's name in front. -EINPROGRESS when the deadline passed first: call again. */
int agents_recv(struct agents *agents, size_t index, int64_t deadline_ns,
		struct rpc_msg *ret_reply, struct err *err);
/* Both. */
int agents_call(struct agents *agents, size_t index, json_t *operation, const void *blob,
		size_t blob_len, struct rpc_msg *ret_reply, struct err *err);
/* The same operation (taken over) in all VMs at once; the first error is told, all replies are
 * waited for. */
int agents_call_all(struct agents *agents, json_t *operation, const void *blob, size_t blob_len,
		    struct err *err);

#endif
