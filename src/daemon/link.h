/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's link to one guest's agent: connects, begins sessions, carries calls from
 * threads. */
#ifndef STASIS_DAEMON_LINK_H
#define STASIS_DAEMON_LINK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rpc.h"

struct link;

/* A request of the agent ("relay"). Called on a thread of its own; ret_reply's members are sent
 * back. */
typedef int (*link_request_fn)(const json_t *request, json_t *reply, char **ret_blob,
			       size_t *ret_blob_len, void *arg, struct err *err);

/*
 * Connect to a port's socket, now and again until closed. Any thread. `on_free` is called once,
 * from any thread, when nothing can call on_request any more.
 */
struct link *link_open(const char *socket_path, const char *name, link_request_fn on_request,
		       void (*on_free)(void *arg), void *arg);

/* Close; calls under way fail with -ECONNRESET. The link is freed when the last reference is
 * gone. NULL is allowed. */
void link_close(struct link *link);

/* For callers that may race with link_close(): hold the memory. */
void link_ref(struct link *link);
void link_unref(struct link *link);

/* True once the agent has answered the present session's hello. */
bool link_is_up(struct link *link);

/*
 * Keep back what is to be sent, and send it all later. Bytes that come to a port of a paused VM
 * are put into its RAM by QEMU, if the guest has room for them: between the capture of its
 * devices and of its RAM that would tear the two apart.
 */
void link_hold(struct link *link);
void link_let_go(struct link *link);

/*
 * Send a request (its "id" is overwritten) and wait for its reply. Waits for the session first,
 * within the deadline (monotonic). A connection lost on the way fails the call with
 * -ECONNRESET. Returns 0 with an ok reply, else -errno and the agent's sentence.
 */
int link_call(struct link *link, json_t *request, const void *blob, size_t blob_len,
	      int64_t deadline_ns, struct rpc_msg *ret_reply, struct err *err);

#endif
