/* SPDX-License-Identifier: BSD-3-Clause */
/* The client side: opening and closing it and its links. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "armci/transport/verbs/verbs.h"
#include "base/clock.h"

enum { RESEND_MS = 100, RESEND_MAX_MS = 1000, FAREWELL_MS = 100, LINKS_MAX = 1 << 20 };

static int channel_open(struct device *device, struct ibv_comp_channel **ret_channel,
			struct err *err)
{
	*ret_channel = ibv_create_comp_channel(device->context);
	if (!*ret_channel)
		return err_sys(err, errno, "%s gives no completion channel", device->name);
	fcntl((*ret_channel)->fd, F_SETFL, O_NONBLOCK);
	return 0;
}

int client_open(struct transport *transport, struct err *err)
{
	struct client *client = &transport->client;
	struct device *device = &transport->device;
	uint32_t first = 4 * (device->depth + transport->config.credits);
	int rc = channel_open(device, &client->channel, err);

	if (rc == 0)
		rc = channel_open(device, &client->setup_channel, err);
	if (rc < 0)
		return rc;
	if (first > (uint32_t)device->attr.max_cqe)
		first = (uint32_t)device->attr.max_cqe;
	client->cq = ibv_create_cq(device->context, (int)first, NULL, client->channel, 0);
	client->setup_cq = ibv_create_cq(device->context, 2 * DATAGRAM_SENDS, NULL,
					 client->setup_channel, 0);
	if (!client->cq || !client->setup_cq)
		return err_sys(err, errno, "%s gives no completion queue", device->name);
	rc = pool_open(&client->flush, device, 1, 64, err);
	if (rc < 0)
		return rc;
	return datagrams_open(&client->datagrams, device, client->setup_cq, DATAGRAM_SENDS,
			      DATAGRAM_SENDS, err);
}

bool setup_take(struct client *client, const struct transport_link *link,
		struct handshake *ret_shake)
{
	struct ibv_wc wc[POLL_MAX];
	struct handshake shake;
	bool found = false;
	int n;

	while ((n = ibv_poll_cq(client->setup_cq, POLL_MAX, wc)) > 0)
		for (int i = 0; i < n; i++) {
			if (!datagram_taken(&client->datagrams, &wc[i], &shake))
				continue;
			if (!link || shake.nonce != link->nonce) {
				links_hear(client, &shake);
			} else if (shake.kind == HANDSHAKE_ACCEPT ||
				   shake.kind == HANDSHAKE_REFUSE) {
				*ret_shake = shake;
				found = true;
			}
		}
	return found;
}

/* Sleep until something comes or the time is over; true as of setup_take(). */
static bool setup_wait(struct client *client, const struct transport_link *link,
		       struct handshake *ret_shake, int timeout_ms)
{
	struct pollfd wait = {.fd = client->setup_channel->fd, .events = POLLIN};

	ibv_req_notify_cq(client->setup_cq, 0);
	if (setup_take(client, link, ret_shake))
		return true;
	if (poll(&wait, 1, timeout_ms) > 0)
		channel_take(client->setup_channel);
	return setup_take(client, link, ret_shake);
}

/* Ask until the server answers. */
static int link_ask(struct transport_link *link, const struct handshake *connect,
		    int timeout_ms, struct handshake *ret_shake, struct err *err)
{
	struct client *client = &link->transport->client;
	int64_t deadline = deadline_in_ms(timeout_ms), resend = 0;
	int wait_ms = RESEND_MS;

	for (;;) {
		int left = deadline_left_ms(deadline), next = deadline_left_ms(resend);

		if (left == 0)
			return err_set(err, ETIMEDOUT,
				       "no answer within %d ms: its process or node is gone, "
				       "or the network does not carry datagrams of this device",
				       timeout_ms);
		if (next == 0) {
			datagram_send(&client->datagrams, connect, &link->server.place,
				      link->ah, false);
			resend = deadline_in_ms(wait_ms);
			next = wait_ms;
			wait_ms = wait_ms * 2 < RESEND_MAX_MS ? wait_ms * 2 : RESEND_MAX_MS;
		}
		if (setup_wait(client, link, ret_shake, left < next ? left : next))
			return 0;
	}
}

static int link_connect(struct transport_link *link, int timeout_ms, struct err *err)
{
	struct transport *transport = link->transport;
	struct device *device = &transport->device;
	uint32_t psn = (uint32_t)random_number() & 0xffffff;
	struct handshake connect = {
		.kind = HANDSHAKE_CONNECT,
		.token = link->server.token,
		.nonce = link->nonce,
		.id = transport->config.client_id,
		.place = device_place(device),
		.qpn = link->qp->qp_num,
		.psn = psn,
		.reads = device->reads,
		.message_bytes = (uint32_t)transport->config.message_bytes,
	};
	struct handshake answer;
	int rc;

	connect.place.qpn = transport->client.datagrams.qp->qp_num;
	connect.place.qkey = transport->client.datagrams.qkey;
	rc = link_ask(link, &connect, timeout_ms, &answer, err);
	if (rc < 0)
		return rc;
	if (answer.kind == HANDSHAKE_REFUSE)
		return err_set(err, ECONNREFUSED, "%s", reason_words(answer.reason));
	return qp_connect(device, link->qp, &link->server.place, answer.qpn, answer.psn, psn,
			  answer.mtu,
			  answer.reads < device->reads ? answer.reads : device->reads, err);
}

/* A place in the client's table, with a generation that no completion on its way has. */
static int link_register(struct transport_link *link, struct err *err)
{
	struct client *client = &link->transport->client;
	uint32_t i = 0, room;

	while (i < client->link_count && client->links[i])
		i++;
	if (i == client->link_count) {
		struct transport_link **links;
		uint8_t *generations;

		room = i ? 2 * i : 16;
		links = realloc(client->links, room * sizeof(struct transport_link *));
		if (links)
			client->links = links;
		generations = realloc(client->generations, room);
		if (generations)
			client->generations = generations;
		if (!links || !generations || room > LINKS_MAX)
			return err_sys(err, ENOMEM, "no memory for one more link");
		memset(links + i, 0, (room - i) * sizeof(struct transport_link *));
		memset(generations + i, 0, room - i);
		client->link_count = room;
	}
	client->links[i] = link;
	link->index = i;
	link->generation = ++client->generations[i];
	return 0;
}

/* What a link owns at this end. */
static int link_equip(struct transport_link *link, struct err *err)
{
	struct transport *transport = link->transport;
	struct device *device = &transport->device;
	uint32_t credits = (uint32_t)transport->config.credits;
	struct client *client = &transport->client;
	int rc = link_register(link, err);

	if (rc < 0)
		return rc;
	link->slots = calloc(device->depth, sizeof(*link->slots));
	if (!link->slots)
		return err_sys(err, ENOMEM, "no memory for one more link");
	rc = cq_grow(device, client->cq, &client->cq_used, device->depth + credits, err);
	if (rc < 0)
		return rc;
	rc = qp_create(device, client->cq, NULL, device->depth, credits, &link->qp, err);
	if (rc < 0) {
		client->cq_used -= device->depth + credits;
		return rc;
	}
	rc = pool_open(&link->requests, device, credits + credits / 2,
		       transport->config.message_bytes, err);
	if (rc == 0)
		rc = pool_open(&link->answers, device, credits, transport->config.message_bytes,
			       err);
	for (uint32_t i = 0; rc == 0 && i < credits; i++) {
		rc = link_post_recv(link, i);
		if (rc < 0)
			err_sys(err, -rc, "%s takes no receive buffer", device->name);
	}
	link->credits = credits;
	return rc == 0 ? datagram_ah(device, &link->server.place, &link->ah, err) : rc;
}

static void link_destroy(struct transport_link *link)
{
	struct transport *transport = link->transport;
	struct client *client = &transport->client;

	if (link->lost && !link->told)
		client->untold--;
	if (link->qp) {
		ibv_destroy_qp(link->qp);
		client->cq_used -= transport->device.depth + transport->config.credits;
	}
	if (link->ah)
		ibv_destroy_ah(link->ah);
	pool_close(&link->answers);
	pool_close(&link->requests);
	if (link->index < client->link_count && client->links[link->index] == link)
		client->links[link->index] = NULL;
	free(link->slots);
	free(link);
}

int verbs_link_open(struct transport *transport, const void *address, size_t bytes,
		    int timeout_ms, struct transport_link **ret_link, struct err *err)
{
	struct transport_link *link;
	struct handshake server;
	int rc;

	if (handshake_decode(address, bytes, &server) < 0 || server.kind != HANDSHAKE_ADDRESS)
		return err_set(err, EINVAL,
			       "%zu bytes are no address of a verbs transport: do all ranks "
			       "use the same transport and version",
			       bytes);
	if (server.place.link_layer != device_place(&transport->device).link_layer)
		return err_set(err, EINVAL,
			       "rank %u has an InfiniBand port and this one an Ethernet port, "
			       "or the other way round: choose by STASIS_ARMCI_VERBS_DEVICE",
			       server.id);
	link = calloc(1, sizeof(*link));
	if (!link)
		return err_sys(err, ENOMEM, "no memory for one more link");
	link->transport = transport;
	link->server = server;
	link->nonce = transport->nonce_base | ++transport->nonce_count;
	rc = link_equip(link, err);
	if (rc == 0)
		rc = link_connect(link, timeout_ms, err);
	if (rc < 0) {
		err_prefix(err, "cannot connect to rank %u", server.id);
		link_destroy(link);
		return rc;
	}
	link->heard_ns = clock_mono_ns();
	*ret_link = link;
	return 0;
}

void verbs_link_close(struct transport_link *link)
{
	struct client *client;
	struct handshake bye;

	if (!link)
		return;
	client = &link->transport->client;
	bye = (struct handshake){.kind = HANDSHAKE_BYE,
				 .token = link->server.token,
				 .nonce = link->nonce,
				 .id = link->transport->config.client_id};
	setup_take(client, NULL, NULL);
	for (uint32_t i = client->soft_head; i != client->soft_tail; i++)
		if (client->soft[i % SOFT_MAX].link == link)
			client->soft[i % SOFT_MAX].link = NULL;
	datagram_send(&client->datagrams, &bye, &link->server.place, link->ah, true);
	link->ah = NULL;
	link_destroy(link);
}

void client_close(struct transport *transport)
{
	struct client *client = &transport->client;
	int64_t deadline = deadline_in_ms(FAREWELL_MS);
	struct handshake none;
	int left;

	for (uint32_t i = 0; i < client->link_count; i++)
		verbs_link_close(client->links[i]);
	while (client->datagrams.sent_count > 0 && (left = deadline_left_ms(deadline)) > 0)
		setup_wait(client, NULL, &none, left);
	datagrams_close(&client->datagrams);
	pool_close(&client->flush);
	if (client->setup_cq)
		ibv_destroy_cq(client->setup_cq);
	if (client->cq)
		ibv_destroy_cq(client->cq);
	if (client->setup_channel)
		ibv_destroy_comp_channel(client->setup_channel);
	if (client->channel)
		ibv_destroy_comp_channel(client->channel);
	free(client->links);
	free(client->generations);
	*client = (struct client){0};
}
