/* SPDX-License-Identifier: BSD-3-Clause */
/* Is the server still there? Links with work under way that are silent are asked for a sign of
 * life. */
#include "armci/core/settings.h"
#include "armci/transport/verbs/verbs.h"
#include "base/clock.h"

/*
 * A device reports that a peer is gone when its acknowledgements fail to come. That is not
 * enough: a server may die after it took a request and before it answered, and Soft-RoCE, told
 * to try for ever (which is what saves it from giving up on nodes that are merely slow),
 * reports nothing at all; at times it does not even go on with what it has until it is given
 * more. So each second of silence the link is given a write of no bytes, and the server's
 * thread is asked by a datagram.
 */
enum { LOOK_MS = 1000, LOST_S = 15 };

static int64_t lost_s(void)
{
	return settings.dead_s < LOST_S ? settings.dead_s : LOST_S;
}

static void ping(struct transport_link *link)
{
	struct transport *transport = link->transport;
	struct datagrams *datagrams = &transport->client.datagrams;
	struct handshake shake = {.kind = HANDSHAKE_PING,
				  .token = link->server.token,
				  .nonce = link->nonce,
				  .id = transport->config.client_id,
				  .place = device_place(&transport->device)};

	shake.place.qpn = datagrams->qp->qp_num;
	shake.place.qkey = datagrams->qkey;
	datagram_send(datagrams, &shake, &link->server.place, link->ah, false);
}

static void link_watch(struct transport_link *link, int64_t now_ns, bool first)
{
	bool works = link->completed < link->posted || link->unanswered > 0;
	bool silent = works && link->progress == link->watched;

	link->watched = link->progress;
	if (!silent || first)
		link->heard_ns = now_ns;
	if (!silent)
		return;
	if (now_ns - link->heard_ns > lost_s() * NS_PER_S) {
		link_lose(
			link,
			"nothing has been heard of it for %d s: its process or node is gone, or the "
			"network between is; look at the port's state on both nodes (ibv_devinfo)",
			(int)lost_s());
		return;
	}
	ping(link);
	link_probe(link);
}

void links_watch(struct transport *transport)
{
	struct client *client = &transport->client;
	int64_t now_ns = clock_mono_ns(), since_ns = now_ns - client->watched_ns;

	client->idle_polls = 0;
	if (since_ns < LOOK_MS * NS_PER_MS)
		return;
	client->watched_ns = now_ns;
	setup_take(client, NULL, NULL);
	/* What nobody has looked at for long was not silent. */
	for (uint32_t i = 0; i < client->link_count; i++)
		if (client->links[i] && !client->links[i]->lost)
			link_watch(client->links[i], now_ns,
				   since_ns > 3 * LOOK_MS * NS_PER_MS);
}

void links_hear(struct client *client, const struct handshake *shake)
{
	for (uint32_t i = 0; i < client->link_count; i++) {
		struct transport_link *link = client->links[i];

		if (!link || link->lost || link->nonce != shake->nonce)
			continue;
		if (shake->kind == HANDSHAKE_PONG)
			link->heard_ns = clock_mono_ns();
		if (shake->kind == HANDSHAKE_REFUSE)
			link_lose(link,
				  "it does not know of it any more: it was closed there, or "
				  "its device gave up on it");
	}
}
