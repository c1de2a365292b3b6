/* SPDX-License-Identifier: BSD-3-Clause */
/* A client's blocking connection: requests, events and replies until a deadline. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rpc.h"

enum {
	RECV_BYTES = 64 << 10,
	SEND_STALL_MS = 30000, /* a peer that takes nothing for so long is not there any more */
};

struct rpc_conn {
	int fd;
	size_t max;
	int64_t last_id;
	struct rpc_decoder *decoder;
	char buf[RECV_BYTES];
};

int rpc_connect_unix(const char *path, size_t max, struct rpc_conn **ret_conn, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct rpc_conn *conn;
	int rc;

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, ENAMETOOLONG,
			       "the socket's path is longer than %zu bytes: %s",
			       sizeof(addr.sun_path) - 1, path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	conn = calloc(1, sizeof(*conn));
	if (!conn)
		return err_set(err, ENOMEM, "no memory for a connection");
	conn->max = max;
	conn->decoder = rpc_decoder_create(max, false);
	conn->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!conn->decoder || conn->fd < 0)
		rc = err_sys(err, conn->decoder ? errno : ENOMEM, "cannot make a socket");
	else if (connect(conn->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		rc = err_sys(err, errno, "cannot connect to %s", path);
	else
		rc = 0;
	if (rc < 0) {
		rpc_conn_close(conn);
		return rc;
	}
	*ret_conn = conn;
	return 0;
}

int rpc_conn_fd(const struct rpc_conn *conn)
{
	return conn->fd;
}

void rpc_conn_close(struct rpc_conn *conn)
{
	if (!conn)
		return;
	if (conn->fd >= 0)
		close(conn->fd);
	rpc_decoder_destroy(conn->decoder);
	free(conn);
}

/* Wait until the socket is ready for `events` or the deadline has passed. */
static int conn_wait(const struct rpc_conn *conn, short events, int64_t deadline_ns,
		     struct err *err)
{
	struct pollfd pfd = {.fd = conn->fd, .events = events};

	for (;;) {
		int left_ms = deadline_ns == INT64_MAX ? -1 : deadline_left_ms(deadline_ns);
		int n = poll(&pfd, 1, left_ms);

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_sys(err, errno, "cannot wait for the peer");
		if (n == 0 && left_ms == 0)
			return err_set(err, ETIMEDOUT, "the peer did not answer in time");
	}
}

int rpc_conn_send(struct rpc_conn *conn, const json_t *json, const void *blob, size_t blob_len,
		  struct err *err)
{
	size_t len = 0;
	size_t done = 0;
	char *bytes = NULL;
	int rc;

	rc = rpc_encode(json, blob, blob_len, conn->max, &bytes, &len, err);
	while (rc == 0 && done < len) {
		ssize_t n =
			send(conn->fd, bytes + done, len - done, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			rc = conn_wait(conn, POLLOUT, deadline_in_ms(SEND_STALL_MS), err);
		else if (errno == EPIPE)
			rc = err_set(err, ECONNRESET, "the peer has closed the connection");
		else if (errno != EINTR)
			rc = err_sys(err, errno, "cannot send to the peer");
	}
	free(bytes);
	return rc;
}

int rpc_conn_recv(struct rpc_conn *conn, int64_t deadline_ns, struct rpc_msg *ret_msg,
		  struct err *err)
{
	for (;;) {
		ssize_t n;
		int rc;

		rc = rpc_decoder_next(conn->decoder, ret_msg, err);
		if (rc != 0)
			return rc > 0 ? 0 : rc;
		rc = conn_wait(conn, POLLIN, deadline_ns, err);
		if (rc < 0)
			return rc;
		n = recv(conn->fd, conn->buf, sizeof(conn->buf), MSG_DONTWAIT);
		if (n == 0)
			return err_set(err, ECONNRESET, "the peer has closed the connection");
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return err_sys(err, errno, "cannot receive from the peer");
		rc = rpc_decoder_feed(conn->decoder, conn->buf, (size_t)n, err);
		if (rc < 0)
			return rc;
	}
}

int rpc_call(struct rpc_conn *conn, json_t *request, const void *blob, size_t blob_len,
	     int64_t deadline_ns, rpc_event_fn on_event, void *arg, struct rpc_msg *ret_reply,
	     struct err *err)
{
	int64_t id = ++conn->last_id;
	struct rpc_msg msg = {0};
	int rc;

	if (json_object_set_new(request, "id", json_integer(id)) < 0)
		return err_set(err, ENOMEM, "no memory for a request");
	rc = rpc_conn_send(conn, request, blob, blob_len, err);
	while (rc == 0) {
		rc = rpc_conn_recv(conn, deadline_ns, &msg, err);
		if (rc < 0)
			return rc;
		/* Anything with another id belongs to a call that was given up before. */
		if (json_integer_value(json_object_get(msg.json, "id")) != id) {
			rpc_msg_clear(&msg);
			continue;
		}
		if (json_object_get(msg.json, "ok"))
			break;
		if (on_event)
			on_event(&msg, arg);
		rpc_msg_clear(&msg);
	}
	if (rc == 0)
		rc = rpc_reply_check(msg.json, err);
	if (rc < 0)
		rpc_msg_clear(&msg);
	else
		*ret_reply = msg;
	return rc;
}
