/* SPDX-License-Identifier: BSD-3-Clause */
/* The server side: opening and closing it, and its connections, made and ended by datagrams. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "armci/transport/verbs/verbs.h"

static int queues_open(struct transport *transport, uint32_t requests, struct err *err)
{
	struct server *server = &transport->server;
	struct device *device = &transport->device;
	struct ibv_srq_init_attr init = {.attr = {.max_wr = requests, .max_sge = 1}};
	uint32_t fixed = requests + DATAGRAM_RECVS + DATAGRAM_SENDS;

	server->channel = ibv_create_comp_channel(device->context);
	if (!server->channel)
		return err_sys(err, errno, "%s gives no completion channel", device->name);
	fcntl(server->channel->fd, F_SETFL, O_NONBLOCK);
	fcntl(device->context->async_fd, F_SETFL, O_NONBLOCK);
	server->cq = ibv_create_cq(device->context, (int)(fixed + 4 * server->sends_max), NULL,
				   server->channel, 0);
	if (!server->cq)
		return err_sys(err, errno, "%s gives no completion queue", device->name);
	server->cq_used = fixed;
	server->srq = ibv_create_srq(device->pd, &init);
	if (!server->srq)
		return err_sys(err, errno, "%s gives no shared receive queue", device->name);
	return 0;
}

static int buffers_open(struct transport *transport, uint32_t requests, struct err *err)
{
	struct server *server = &transport->server;
	struct transport_config *config = &transport->config;
	uint32_t slots = 16, ring = 16,
		 all = (uint32_t)config->clients * (uint32_t)config->credits;
	int rc = pool_open(&server->requests, &transport->device, requests,
			   config->message_bytes, err);

	if (rc == 0)
		rc = pool_open(&server->answers, &transport->device,
			       all < ANSWERS_MAX ? all : ANSWERS_MAX, config->message_bytes,
			       err);
	if (rc < 0)
		return rc;
	while (slots < 2 * (uint32_t)config->clients)
		slots *= 2;
	server->qpn_mask = slots - 1;
	server->by_qpn = calloc(slots, sizeof(*server->by_qpn));
	while (ring < requests)
		ring *= 2;
	server->ready_mask = ring - 1;
	server->ready = calloc(ring, sizeof(*server->ready));
	server->answer = calloc(server->answers.count, sizeof(*server->answer));
	if (!server->by_qpn || !server->ready || !server->answer)
		return err_sys(err, ENOMEM, "no memory for the server");
	for (uint32_t i = 0; i < requests; i++)
		server_post_recv(server, i);
	return 0;
}

int server_open(struct transport *transport, struct err *err)
{
	struct server *server = &transport->server;
	struct device *device = &transport->device;
	uint32_t credits = (uint32_t)transport->config.credits;
	uint32_t requests = (uint32_t)transport->config.clients * credits;
	int rc;

	if (requests > REQUESTS_MAX)
		requests = REQUESTS_MAX;
	if (device->attr.max_srq_wr > 0 && requests > (uint32_t)device->attr.max_srq_wr)
		requests = (uint32_t)device->attr.max_srq_wr;
	server->sends_max = 2 * credits;
	server->token = random_number();
	server->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (server->wake_fd < 0)
		return err_sys(err, errno, "eventfd");
	rc = queues_open(transport, requests, err);
	if (rc == 0)
		rc = buffers_open(transport, requests, err);
	if (rc == 0)
		rc = datagrams_open(&server->datagrams, device, server->cq, DATAGRAM_SENDS,
				    DATAGRAM_RECVS, err);
	return rc;
}

void server_close(struct transport *transport)
{
	struct server *server = &transport->server;

	for (uint32_t i = 0; i < server->connection_count; i++) {
		if (server->connections[i]->qp)
			ibv_destroy_qp(server->connections[i]->qp);
		free(server->connections[i]);
	}
	datagrams_close(&server->datagrams);
	if (server->srq)
		ibv_destroy_srq(server->srq);
	pool_close(&server->answers);
	pool_close(&server->requests);
	if (server->cq)
		ibv_destroy_cq(server->cq);
	if (server->channel)
		ibv_destroy_comp_channel(server->channel);
	if (server->wake_fd >= 0)
		close(server->wake_fd);
	free(server->connections);
	free(server->by_qpn);
	free(server->ready);
	free(server->answer);
	*server = (struct server){.wake_fd = -1};
}

struct connection *server_find(struct server *server, uint32_t qpn)
{
	struct connection *connection = server->by_qpn[qpn & server->qpn_mask];

	while (connection && connection->qp->qp_num != qpn)
		connection = connection->next_by_qpn;
	return connection;
}

void connection_release(struct transport *transport, struct connection *connection)
{
	struct server *server = &transport->server;
	struct connection *last;

	if (connection->qp || connection->unanswered > 0 || connection->undone > 0)
		return;
	last = server->connections[--server->connection_count];
	server->connections[connection->index] = last;
	last->index = connection->index;
	free(connection);
}

static void answers_reclaim(struct server *server, const struct connection *connection)
{
	struct pool *pool = &server->answers;

	for (uint32_t i = 0; i < pool->count; i++) {
		struct answer *answer = &server->answer[i];

		if (answer->connection != connection || !answer->posted)
			continue;
		*answer = (struct answer){.generation = (uint8_t)(answer->generation + 1)};
		pool->free[pool->free_count++] = i;
	}
}

void server_drop(struct transport *transport, struct connection *connection)
{
	struct server *server = &transport->server;
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
	struct connection **at = &server->by_qpn[connection->qp->qp_num & server->qpn_mask];

	/* Buffers of the shared queue that it holds come out before the queue pair is gone. */
	ibv_modify_qp(connection->qp, &attr, IBV_QP_STATE);
	server_drain(transport);
	while (*at != connection)
		at = &(*at)->next_by_qpn;
	*at = connection->next_by_qpn;
	ibv_destroy_qp(connection->qp);
	connection->qp = NULL;
	server->cq_used -= server->sends_max;
	server->broken_count -= connection->broken;
	answers_reclaim(server, connection);
	connection_release(transport, connection);
}

static struct connection *find_client(struct server *server, uint32_t client_id)
{
	for (uint32_t i = 0; i < server->connection_count; i++)
		if (server->connections[i]->qp &&
		    server->connections[i]->client_id == client_id)
			return server->connections[i];
	return NULL;
}

/* Tell the client; a datagram that cannot be sent is as one that gets lost. */
static void reply(struct transport *transport, const struct handshake *to,
		  const struct handshake *answer)
{
	struct ibv_ah *ah;

	if (datagram_ah(&transport->device, &to->place, &ah, NULL) == 0)
		datagram_send(&transport->server.datagrams, answer, &to->place, ah, true);
}

static void refuse(struct transport *transport, const struct handshake *shake,
		   enum handshake_reason reason)
{
	struct handshake answer = {
		.kind = HANDSHAKE_REFUSE, .nonce = shake->nonce, .reason = reason};

	reply(transport, shake, &answer);
}

static void accept_client(struct transport *transport, const struct handshake *shake,
			  const struct connection *connection)
{
	struct handshake answer = {.kind = HANDSHAKE_ACCEPT,
				   .nonce = shake->nonce,
				   .qpn = connection->qp->qp_num,
				   .psn = connection->psn,
				   .mtu = connection->mtu,
				   .reads = connection->reads};

	reply(transport, shake, &answer);
}

/* The connection of a client that asks for a sign of life may have broken here, unseen by it.
 */
static void pong(struct transport *transport, const struct handshake *shake,
		 const struct connection *connection)
{
	struct handshake answer = {.kind = HANDSHAKE_PONG, .nonce = shake->nonce};

	if (connection && connection->nonce == shake->nonce)
		reply(transport, shake, &answer);
	else
		refuse(transport, shake, HANDSHAKE_STALE);
}

/* Room for one more in the tables. */
static struct connection *connection_add(struct server *server)
{
	uint32_t room = server->connection_room ? 2 * server->connection_room : 16;
	struct connection *connection = calloc(1, sizeof(*connection));
	struct connection **all = server->connections;

	if (connection && server->connection_count == server->connection_room) {
		all = realloc(all, room * sizeof(struct connection *));
		if (!all) {
			free(connection);
			return NULL;
		}
		server->connections = all;
		server->connection_room = room;
	}
	if (!connection)
		return NULL;
	connection->index = server->connection_count++;
	server->connections[connection->index] = connection;
	return connection;
}

/* 0, or the reason why not. */
static int connection_make(struct transport *transport, const struct handshake *shake,
			   struct connection **ret_connection)
{
	struct server *server = &transport->server;
	struct device *device = &transport->device;
	struct connection *connection = connection_add(server), **chain;
	uint8_t reads = shake->reads < device->reads ? shake->reads : device->reads;

	if (!connection)
		return HANDSHAKE_FULL;
	connection->client_id = shake->id;
	connection->nonce = shake->nonce;
	connection->psn = (uint32_t)random_number() & 0xffffff;
	connection->reads = reads;
	connection->mtu = shake->place.mtu < (uint8_t)device->mtu ? shake->place.mtu
								  : (uint8_t)device->mtu;
	if (cq_grow(device, server->cq, &server->cq_used, server->sends_max, NULL) < 0) {
		connection_release(transport, connection);
		return HANDSHAKE_FULL;
	}
	if (qp_create(device, server->cq, server->srq, server->sends_max, 0, &connection->qp,
		      NULL) < 0) {
		server->cq_used -= server->sends_max;
		connection_release(transport, connection);
		return HANDSHAKE_FULL;
	}
	chain = &server->by_qpn[connection->qp->qp_num & server->qpn_mask];
	connection->next_by_qpn = *chain;
	*chain = connection;
	if (qp_connect(device, connection->qp, &shake->place, shake->qpn, shake->psn,
		       connection->psn, connection->mtu, reads, NULL) < 0) {
		server_drop(transport, connection);
		return HANDSHAKE_UNREACHED;
	}
	*ret_connection = connection;
	return 0;
}

void server_handshake(struct transport *transport, const struct handshake *shake)
{
	struct server *server = &transport->server;
	struct connection *old = find_client(server, shake->id);
	int reason;

	if (shake->kind == HANDSHAKE_BYE && shake->token == server->token && old &&
	    old->nonce == shake->nonce)
		server_drop(transport, old);
	if (shake->kind != HANDSHAKE_CONNECT && shake->kind != HANDSHAKE_PING)
		return;
	if (shake->token != server->token) {
		refuse(transport, shake, HANDSHAKE_STALE);
		return;
	}
	if (shake->kind == HANDSHAKE_PING) {
		pong(transport, shake, old);
		return;
	}
	if (shake->message_bytes > transport->config.message_bytes) {
		refuse(transport, shake, HANDSHAKE_MESSAGE);
		return;
	}
	if (old && old->nonce == shake->nonce) {
		accept_client(transport, shake, old);
		return;
	}
	/* A nonce is a number of the client's opening, then a count: an older one is a datagram
	 * that came late. */
	if (old && old->nonce >> 32 == shake->nonce >> 32 && old->nonce > shake->nonce)
		return;
	if (old)
		server_drop(transport, old);
	reason = connection_make(transport, shake, &old);
	if (reason)
		refuse(transport, shake, (enum handshake_reason)reason);
	else
		accept_client(transport, shake, old);
}
