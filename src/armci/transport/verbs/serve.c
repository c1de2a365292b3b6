/* SPDX-License-Identifier: BSD-3-Clause */
/* The server at work: requests come in, answers go out, the service thread sleeps between. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "armci/transport/verbs/verbs.h"

void server_post_recv(struct server *server, uint32_t buffer)
{
	struct ibv_sge sge = {.addr = (uintptr_t)pool_at(&server->requests, buffer),
			      .length = (uint32_t)server->requests.size,
			      .lkey = server->requests.mr->lkey};
	struct ibv_recv_wr wr = {
		.wr_id = work_id(WORK_REQUEST, 0, 0, buffer), .sg_list = &sge, .num_sge = 1};
	struct ibv_recv_wr *bad;

	ibv_post_srq_recv(server->srq, &wr, &bad);
}

static void broken(struct server *server, struct connection *connection)
{
	server->broken_count += !connection->broken;
	connection->broken = true;
}

static void take_request(struct server *server, const struct ibv_wc *wc)
{
	struct connection *connection = server_find(server, wc->qp_num);
	uint32_t buffer = (uint32_t)wc->wr_id;

	if (connection && wc->status != IBV_WC_SUCCESS)
		broken(server, connection);
	if (!connection || wc->status != IBV_WC_SUCCESS) {
		server_post_recv(server, buffer);
		return;
	}
	connection->unanswered++;
	connection->undone++;
	server->ready[server->ready_tail++ & server->ready_mask] =
		(struct ready){connection, buffer, wc->byte_len};
}

/* An answer is sent: its wr_id holds 1 + its buffer, if it kept that, and its number on the
 * connection. */
static void take_sent(struct server *server, const struct ibv_wc *wc)
{
	struct connection *connection = server_find(server, wc->qp_num);
	uint32_t buffer = work_index(wc->wr_id);
	struct answer *answer = buffer ? &server->answer[buffer - 1] : NULL;

	if (connection)
		connection->done = (uint32_t)wc->wr_id + 1;
	if (connection && wc->status != IBV_WC_SUCCESS)
		broken(server, connection);
	if (answer && answer->posted && answer->generation == work_generation(wc->wr_id)) {
		*answer = (struct answer){.generation = (uint8_t)(answer->generation + 1)};
		server->answers.free[server->answers.free_count++] = buffer - 1;
	}
	server->starved = false;
}

static void take(struct server *server, const struct ibv_wc *wc)
{
	struct handshake shake;

	switch (work_kind(wc->wr_id)) {
	case WORK_REQUEST: take_request(server, wc); break;
	case WORK_ANSWER: take_sent(server, wc); break;
	default:
		/* One that finds no room is lost, and the client will send it again. */
		if (datagram_taken(&server->datagrams, wc, &shake) &&
		    server->handshake_count < HANDSHAKES_MAX)
			server->handshakes[server->handshake_count++] = shake;
	}
}

void server_drain(struct transport *transport)
{
	struct server *server = &transport->server;
	struct ibv_wc wc[POLL_MAX];
	int n;

	do {
		n = ibv_poll_cq(server->cq, POLL_MAX, wc);
		for (int i = 0; i < n; i++)
			take(server, &wc[i]);
	} while (n == POLL_MAX);
}

/* Dropping drains the queue, which may break others and bring datagrams: go on until nothing is
 * left. */
void server_tend(struct transport *transport)
{
	struct server *server = &transport->server;

	for (uint32_t i = 0; i < server->handshake_count; i++) {
		struct handshake shake = server->handshakes[i];

		server_handshake(transport, &shake);
	}
	server->handshake_count = 0;
	for (uint32_t i = 0; server->broken_count > 0 && i < server->connection_count;)
		if (server->connections[i]->qp && server->connections[i]->broken) {
			server_drop(transport, server->connections[i]);
			i = 0;
		} else {
			i++;
		}
}

int verbs_serve_poll(struct transport *transport, struct transport_request *ret, int max)
{
	struct server *server = &transport->server;
	int n = 0;

	server_drain(transport);
	if (server->handshake_count > 0 || server->broken_count > 0)
		server_tend(transport);
	for (; n < max && server->ready_head != server->ready_tail; n++) {
		struct ready *ready = &server->ready[server->ready_head++ & server->ready_mask];

		ret[n] = (struct transport_request){
			.data = pool_at(&server->requests, ready->buffer),
			.bytes = ready->bytes,
			.from = ready->connection,
			.slot = pool_at(&server->requests, ready->buffer)};
	}
	return n;
}

void *verbs_answer_buffer(struct transport *transport, void *from)
{
	struct server *server = &transport->server;
	struct connection *connection = from;
	struct pool *pool = &server->answers;
	uint32_t buffer;

	if (pool->free_count == 0 ||
	    (connection->qp && connection->posted - connection->done >= server->sends_max)) {
		server->starved = true;
		return NULL;
	}
	buffer = pool->free[--pool->free_count];
	server->answer[buffer].connection = connection;
	server->answer[buffer].posted = false;
	return pool_at(pool, buffer);
}

static int answer_send(struct transport *transport, struct connection *connection,
		       uint32_t buffer, size_t bytes, bool small)
{
	struct server *server = &transport->server;
	struct pool *pool = &server->answers;
	struct ibv_sge sge = {.addr = (uintptr_t)pool_at(pool, buffer),
			      .length = (uint32_t)bytes,
			      .lkey = pool->mr->lkey};
	struct ibv_send_wr wr = {.opcode = IBV_WR_SEND, .sg_list = &sge, .num_sge = 1};
	struct ibv_send_wr *bad;
	bool signalled = !small || (connection->unsignalled + 1) * 4 >= server->sends_max;
	int rc;

	wr.send_flags = (small ? IBV_SEND_INLINE : 0) | (signalled ? IBV_SEND_SIGNALED : 0);
	wr.wr_id = work_id(WORK_ANSWER, small ? 0 : buffer + 1,
			   server->answer[buffer].generation, connection->posted);
	rc = ibv_post_send(connection->qp, &wr, &bad);
	if (rc != 0)
		return -rc;
	connection->posted++;
	connection->unsignalled = signalled ? 0 : connection->unsignalled + 1;
	return 0;
}

void verbs_post_answer(struct transport *transport, void *from, void *buffer, size_t bytes)
{
	struct server *server = &transport->server;
	struct connection *connection = from;
	struct pool *pool = &server->answers;
	uint32_t index = pool_index(pool, buffer);
	bool small = bytes <= transport->device.inline_bytes, sent = false;

	if (connection->qp && !connection->broken) {
		sent = answer_send(transport, connection, index, bytes, small) == 0;
		if (!sent)
			broken(server, connection);
	}
	server->answer[index].posted = sent && !small;
	if (!server->answer[index].posted) {
		server->answer[index].connection = NULL;
		pool->free[pool->free_count++] = index;
	}
	connection->unanswered--;
	connection_release(transport, connection);
}

void verbs_request_done(struct transport *transport, struct transport_request *request)
{
	struct server *server = &transport->server;
	struct connection *connection = request->from;

	server_post_recv(server, pool_index(&server->requests, request->slot));
	connection->undone--;
	connection_release(transport, connection);
}

/* Is there something to do without sleeping? */
static bool server_busy(const struct server *server, bool was_starved)
{
	return server->ready_head != server->ready_tail || server->handshake_count > 0 ||
	       server->broken_count > 0 || (was_starved && !server->starved);
}

/* A device that loses a notification must not leave a server asleep that its clients then take
 * for dead: it looks by itself, and arms the queue anew. */
enum { SERVE_SLEEP_MAX_MS = 1000 };

void verbs_serve_sleep(struct transport *transport, int timeout_ms)
{
	struct server *server = &transport->server;
	struct pollfd wait[] = {
		{.fd = server->channel->fd, .events = POLLIN},
		{.fd = server->wake_fd, .events = POLLIN},
		{.fd = transport->device.context->async_fd, .events = POLLIN},
	};
	bool starved = server->starved;
	uint64_t wakes;

	if (server_busy(server, false))
		return;
	/* Requests and datagrams are solicited; that an answer was sent is of interest only to
	 * who lacks buffers. */
	if (!server->armed || (starved && !server->armed_all)) {
		ibv_req_notify_cq(server->cq, !starved);
		server->armed = true;
		server->armed_all = starved;
	}
	server_drain(transport);
	if (server_busy(server, starved))
		return;
	if (timeout_ms < 0 || timeout_ms > SERVE_SLEEP_MAX_MS)
		timeout_ms = SERVE_SLEEP_MAX_MS;
	if (poll(wait, 3, timeout_ms) <= 0) {
		server->armed = server->armed_all = false;
		return;
	}
	if (wait[0].revents) {
		channel_take(server->channel);
		server->armed = server->armed_all = false;
	}
	if (wait[1].revents && read(server->wake_fd, &wakes, sizeof(wakes)) < 0)
		return;
	if (wait[2].revents)
		events_take(transport);
}

void verbs_serve_wake(struct transport *transport)
{
	uint64_t one = 1;

	while (write(transport->server.wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}
