/* SPDX-License-Identifier: BSD-3-Clause */
/* Remote procedure calls in frames: the wire format of stasis, stasisd and stasis-agent. */
#ifndef STASIS_BASE_RPC_H
#define STASIS_BASE_RPC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * A frame (docs/formats/rpc.md) is a 32-byte little-endian header {magic, version, json_bytes,
 * blob_bytes, xxh64 of the rest of the header and the payload}, a JSON object and a binary
 * blob. In the object: request  {"id": N, "op": "job.start", …} event    {"id": N, "event":
 * "progress", …}      any number, before the reply reply    {"id": N, "ok": true, …} or {"id":
 * N, "ok": false, "errno": E, "message": "…"} N is chosen by the requester, unique among its
 * outstanding requests on the connection.
 */
enum {
	RPC_VERSION = 1,
	RPC_FRAME_MAX = 8 << 20, /* on the daemon's socket */
	RPC_AGENT_FRAME_MAX =
		192 << 10, /* on an agent's port; the preamble of a new session is as long */
	RPC_AGENT_BLOB_MAX = 64 << 10,
};

struct rpc_msg {
	json_t *json; /* an object, owned */
	char *blob;   /* malloc'ed, owned, NULL when blob_len is 0 */
	size_t blob_len;
};

void rpc_msg_clear(struct rpc_msg *msg);

/* Encode a frame into malloc'ed bytes; -EMSGSIZE when it would exceed `max`. */
int rpc_encode(const json_t *json, const void *blob, size_t blob_len, size_t max,
	       char **ret_bytes, size_t *ret_len, struct err *err);

/*
 * Incremental decoder. In strict mode the first malformed byte is an error for good. In resync
 * mode (agent's port, whose stream can be cut anywhere by a checkpoint or a lost peer) a
 * malformed frame puts the decoder on the hunt: bytes are skipped until a whole valid frame
 * with "op" or "event" "hello" is found. A new session sends RPC_AGENT_FRAME_MAX zero bytes in
 * front of its hello, so that a half frame of the session before it is filled up, seen as
 * damaged and dropped.
 */
struct rpc_decoder;
struct rpc_decoder *rpc_decoder_create(size_t max, bool resync); /* NULL: no memory */
void rpc_decoder_destroy(struct rpc_decoder *decoder);
int rpc_decoder_feed(struct rpc_decoder *decoder, const void *bytes, size_t len,
		     struct err *err);
/* 1: *ret_msg holds a message, the caller's; 0: more bytes are needed; -EPROTO. */
int rpc_decoder_next(struct rpc_decoder *decoder, struct rpc_msg *ret_msg, struct err *err);
/* Forget buffered bytes and go on the hunt (a new session has begun). */
void rpc_decoder_hunt(struct rpc_decoder *decoder);

/* A reply to `request`; reply members are added by the caller. New references. */
json_t *rpc_reply_ok(const json_t *request);
json_t *rpc_reply_error(const json_t *request, const struct err *err);
/* 0 for an ok reply, else -errno and the peer's sentence in err. */
int rpc_reply_check(const json_t *reply, struct err *err);

/* A blocking connection for clients. Not thread-safe. */
struct rpc_conn;
int rpc_connect_unix(const char *path, size_t max, struct rpc_conn **ret_conn, struct err *err);
int rpc_conn_fd(const struct rpc_conn *conn);
void rpc_conn_close(struct rpc_conn *conn);
int rpc_conn_send(struct rpc_conn *conn, const json_t *json, const void *blob, size_t blob_len,
		  struct err *err);
/* Wait for the next message until the deadline (monotonic; INT64_MAX: for ever); -ETIMEDOUT,
 * -ECONNRESET. */
int rpc_conn_recv(struct rpc_conn *conn, int64_t deadline_ns, struct rpc_msg *ret_msg,
		  struct err *err);
/* Send a request (its "id" is filled in) and wait for its reply; events go to on_event (may be
 * NULL) on the way. */
typedef void (*rpc_event_fn)(const struct rpc_msg *event, void *arg);
int rpc_call(struct rpc_conn *conn, json_t *request, const void *blob, size_t blob_len,
	     int64_t deadline_ns, rpc_event_fn on_event, void *arg, struct rpc_msg *ret_reply,
	     struct err *err);

/* Checked access to members: -EPROTO with a sentence naming the member when it is missing or of
 * another type or range. */
int rpc_get_str(const json_t *json, const char *key, const char **ret_value, struct err *err);
int rpc_get_int(const json_t *json, const char *key, int64_t min, int64_t max,
		int64_t *ret_value, struct err *err);
/* As above; a missing member leaves *ret_value as it was. */
int rpc_opt_str(const json_t *json, const char *key, const char **ret_value, struct err *err);
int rpc_opt_int(const json_t *json, const char *key, int64_t min, int64_t max,
		int64_t *ret_value, struct err *err);
int rpc_opt_bool(const json_t *json, const char *key, bool *ret_value, struct err *err);

#endif
