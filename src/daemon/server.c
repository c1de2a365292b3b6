/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's socket: clients, their requests, each on a thread of its own, replies and
 * progress.
 *
 * A client's handles belong to the loop. Requests hold a reference to their client and send
 * through loop_post().
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/cluster.h"
#include "daemon/daemon.h"
#include "daemon/loop.h"

enum {
	CLIENTS_MAX = 256,
	READ_BYTES = 64 << 10,
	BACKLOG_BYTES_MAX = 32 << 20, /* unsent replies of one client; a client that reads no
					 more is dropped */
	PROGRESS_EVERY_MS = 50,
	SHUTDOWN_MS = 200,
};

struct client {
	uv_pipe_t pipe;
	atomic_uint refs;
	bool gone; /* loop only */
	size_t backlog;
	struct rpc_decoder *decoder;
	char buf[READ_BYTES];
};

struct client_request {
	struct client *client;
	struct rpc_msg msg;
	pthread_mutex_t lock;
	char phase[32];
	int64_t sent_ns;
};

struct client_send {
	uv_write_t req;
	struct client *client;
	char *bytes;
	size_t len;
};

static uv_pipe_t listener;
static unsigned int client_count;

static void client_unref(struct client *client)
{
	if (atomic_fetch_sub(&client->refs, 1) != 1)
		return;
	rpc_decoder_destroy(client->decoder);
	free(client);
}

static void client_closed(uv_handle_t *handle)
{
	client_count--;
	client_unref(handle->data);
}

static void client_drop(struct client *client)
{
	if (client->gone)
		return;
	client->gone = true;
	uv_close((uv_handle_t *)&client->pipe, client_closed);
}

static void send_done(uv_write_t *req, int status)
{
	struct client_send *send = req->data;

	send->client->backlog -= send->len;
	if (status < 0)
		client_drop(send->client);
	client_unref(send->client);
	free(send->bytes);
	free(send);
}

static void send_now(void *arg)
{
	struct client_send *send = arg;
	struct client *client = send->client;
	uv_buf_t buf = uv_buf_init(send->bytes, (unsigned int)send->len);

	send->req.data = send;
	client->backlog += send->len;
	if (client->backlog > BACKLOG_BYTES_MAX)
		client_drop(client);
	if (client->gone ||
	    uv_write(&send->req, (uv_stream_t *)&client->pipe, &buf, 1, send_done) < 0) {
		client->backlog -= send->len;
		client_unref(client);
		free(send->bytes);
		free(send);
	}
}

/* Encode and send from any thread; what cannot be encoded becomes an error reply. */
static void client_send(struct client *client, const json_t *json, const void *blob,
			size_t blob_len)
{
	struct client_send *send = calloc(1, sizeof(*send));
	struct err err = ERR_INIT;

	if (!send)
		abort();
	if (rpc_encode(json, blob, blob_len, RPC_FRAME_MAX, &send->bytes, &send->len, &err) <
	    0) {
		json_t *reply = rpc_reply_error(json, &err);

		if (rpc_encode(reply, NULL, 0, RPC_FRAME_MAX, &send->bytes, &send->len, NULL) <
		    0)
			abort();
		json_decref(reply);
	}
	send->client = client;
	atomic_fetch_add(&client->refs, 1);
	loop_post(send_now, send);
}

void progress_send(struct progress *progress, const char *phase, uint64_t done, uint64_t total,
		   const char *unit, const char *message)
{
	struct client_request *request = progress->who;
	bool due;
	json_t *event;

	if (!request)
		return;
	pthread_mutex_lock(&request->lock);
	due = message || strcmp(request->phase, phase) != 0 ||
	      clock_mono_ns() - request->sent_ns > PROGRESS_EVERY_MS * NS_PER_MS;
	if (due) {
		snprintf(request->phase, sizeof(request->phase), "%s", phase);
		request->sent_ns = clock_mono_ns();
	}
	pthread_mutex_unlock(&request->lock);
	if (!due)
		return;
	event = json_pack("{s:O,s:s,s:s,s:I,s:I,s:s,s:s*}", "id",
			  json_object_get(request->msg.json, "id"), "event", "progress",
			  "phase", phase, "done", (json_int_t)done, "total", (json_int_t)total,
			  "unit", unit, "message", message);
	client_send(request->client, event, NULL, 0);
	json_decref(event);
}

static void request_free(struct client_request *request)
{
	rpc_msg_clear(&request->msg);
	pthread_mutex_destroy(&request->lock);
	client_unref(request->client);
	free(request);
}

/* On a thread of its own. */
static void request_serve(void *arg)
{
	struct client_request *request = arg;
	const char *op = json_string_value(json_object_get(request->msg.json, "op"));
	daemon_op_fn fn = op ? daemon_op_find(op) : NULL;
	struct progress progress = {.who = request};
	json_t *reply = rpc_reply_ok(request->msg.json);
	struct rpc_msg blob = {0};
	struct err err = ERR_INIT;
	int rc;

	if (fn)
		rc = fn(&request->msg, reply, &blob, &progress, &err);
	else
		rc = err_set(&err, EOPNOTSUPP, "stasisd knows no operation \"%.80s\"",
			     op ? op : "");
	if (rc < 0) {
		/* To a client ECONNRESET is the end of its own connection, not that of a
		 * QEMU's. */
		if (err.code == ECONNRESET && strcmp(op, "agent") != 0)
			err.code = EIO;
		json_decref(reply);
		reply = rpc_reply_error(request->msg.json, &err);
		log_debug("%s: %s", op ? op : "(no op)", err.msg);
	}
	client_send(request->client, reply, blob.blob, rc < 0 ? 0 : blob.blob_len);
	json_decref(reply);
	rpc_msg_clear(&blob);
	request_free(request);
}

static void client_take(struct client *client, struct rpc_msg *msg)
{
	struct client_request *request = calloc(1, sizeof(*request));
	struct err err = ERR_INIT;

	if (!request)
		abort();
	request->client = client;
	atomic_fetch_add(&client->refs, 1);
	request->msg = *msg;
	pthread_mutex_init(&request->lock, NULL);
	if (loop_thread(request_serve, request, &err) < 0) {
		json_t *reply = rpc_reply_error(request->msg.json, &err);

		client_send(client, reply, NULL, 0);
		json_decref(reply);
		request_free(request);
	}
}

static void client_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct client *client = handle->data;

	(void)suggested;
	*buf = uv_buf_init(client->buf, sizeof(client->buf));
}

static void client_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct client *client = stream->data;
	struct err err = ERR_INIT;
	struct rpc_msg msg;
	int rc;

	if (n == 0)
		return;
	if (n < 0) {
		client_drop(client);
		return;
	}
	rc = rpc_decoder_feed(client->decoder, buf->base, (size_t)n, &err);
	while (rc == 0 && (rc = rpc_decoder_next(client->decoder, &msg, &err)) == 1) {
		client_take(client, &msg);
		rc = 0;
	}
	if (rc < 0) {
		log_warn("a client is dropped: %s", err.msg);
		client_drop(client);
	}
}

/* Only this user and root are served. */
static bool client_allowed(const uv_pipe_t *pipe)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int fd;

	if (uv_fileno((const uv_handle_t *)pipe, &fd) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	return cred.uid == geteuid() || cred.uid == 0;
}

static void client_connected(uv_stream_t *server, int status)
{
	struct client *client;

	if (status < 0)
		return;
	client = calloc(1, sizeof(*client));
	if (!client)
		abort();
	client->refs = 1;
	client->decoder = rpc_decoder_create(RPC_FRAME_MAX, false);
	if (!client->decoder)
		abort();
	uv_pipe_init(loop_uv(), &client->pipe, 0);
	client->pipe.data = client;
	client_count++;
	if (uv_accept(server, (uv_stream_t *)&client->pipe) < 0 || client_count > CLIENTS_MAX ||
	    !client_allowed(&client->pipe)) {
		log_warn("a connection is refused");
		client_drop(client);
		return;
	}
	uv_read_start((uv_stream_t *)&client->pipe, client_alloc, client_read);
}

int server_start(const char *socket_path, struct err *err)
{
	mode_t mask;
	int rc;

	unlink(socket_path);
	uv_pipe_init(loop_uv(), &listener, 0);
	mask = umask(0077);
	rc = uv_pipe_bind(&listener, socket_path);
	umask(mask);
	if (rc == 0)
		rc = uv_listen((uv_stream_t *)&listener, CLIENTS_MAX, client_connected);
	return rc < 0 ? err_sys(err, -rc, "cannot listen on %s", socket_path) : 0;
}

static void shutdown_due(uv_timer_t *timer)
{
	(void)timer;
	if (!cluster_any_busy())
		loop_stop();
}

static void shutdown_now(void *arg)
{
	static uv_timer_t timer;

	(void)arg;
	if (timer.loop)
		return;
	uv_timer_init(loop_uv(), &timer);
	uv_timer_start(&timer, shutdown_due, SHUTDOWN_MS, SHUTDOWN_MS);
}

void server_shutdown(void)
{
	loop_post(shutdown_now, NULL);
}
