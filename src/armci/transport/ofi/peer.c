/* SPDX-License-Identifier: BSD-3-Clause */
/* The server's clients: who they are, and what is sent to them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "armci/transport/ofi/ofi.h"
#include "base/clock.h"

enum { STALL_MS = 2000 };

struct ofi_peer *ofi_peer_find(struct transport *transport, uint64_t token)
{
	uint32_t index = (uint32_t)token;
	struct ofi_peer *peer =
		index < (uint32_t)transport->config.clients ? transport->peers[index] : NULL;

	return peer && peer->token == token ? peer : NULL;
}

void ofi_peer_unref(struct transport *transport, struct ofi_peer *peer)
{
	if (--peer->references > 0)
		return;
	fi_av_remove(transport->server.av, &peer->address, 1, 0);
	LIST_REMOVE(peer, every);
	free(peer);
}

/* Its reference to the peer goes with it. */
static void free_answer(struct transport *transport, struct ofi_item *item)
{
	struct ofi_peer *peer = item->peer;

	ofi_pool_put(&transport->server.messages, item);
	transport->answers--;
	ofi_peer_unref(transport, peer);
}

void ofi_peer_drop(struct transport *transport, struct ofi_peer *peer)
{
	struct ofi_item *item;

	if (peer->gone)
		return;
	peer->gone = true;
	if (transport->peers[peer->index] == peer)
		transport->peers[peer->index] = NULL;
	if (peer->waiting)
		TAILQ_REMOVE(&transport->waiting, peer, list);
	while ((item = TAILQ_FIRST(&peer->unsent))) {
		TAILQ_REMOVE(&peer->unsent, item, queue);
		free_answer(transport, item);
	}
	while ((item = TAILQ_FIRST(&peer->early))) {
		TAILQ_REMOVE(&peer->early, item, queue);
		ofi_pool_put(&transport->server.messages, item);
	}
	ofi_peer_unref(transport, peer);
}

/* Give the provider what it takes; false if the peer is lost. */
static bool push(struct transport *transport, struct ofi_peer *peer)
{
	struct ofi_item *item;

	while ((item = TAILQ_FIRST(&peer->unsent))) {
		int rc = ofi_side_send(&transport->server, peer->address, ofi_message(item));

		if (rc == -FI_EAGAIN)
			return true;
		if (rc)
			return false;
		TAILQ_REMOVE(&peer->unsent, item, queue);
		item->busy = true;
		peer->flying++;
		peer->stalled_ns = 0;
	}
	return true;
}

/* A client that takes nothing though nothing is under way to it is gone. */
static bool silent(struct ofi_peer *peer)
{
	int64_t now = clock_mono_ns();

	if (peer->flying > 0 || peer->stalled_ns == 0)
		peer->stalled_ns = now;
	return now - peer->stalled_ns > STALL_MS * NS_PER_MS;
}

static void push_or_drop(struct transport *transport, struct ofi_peer *peer)
{
	bool left;

	if (!push(transport, peer)) {
		ofi_peer_drop(transport, peer);
		return;
	}
	left = !TAILQ_EMPTY(&peer->unsent);
	if (left && silent(peer)) {
		ofi_peer_drop(transport, peer);
		return;
	}
	if (left && !peer->waiting)
		TAILQ_INSERT_TAIL(&transport->waiting, peer, list);
	else if (!left && peer->waiting)
		TAILQ_REMOVE(&transport->waiting, peer, list);
	peer->waiting = left;
}

void ofi_peer_send(struct transport *transport, struct ofi_peer *peer,
		   struct ofi_message *message)
{
	message->wire.token = peer->reply;
	message->wire.sequence = 0;
	message->item.peer = peer;
	if (peer->gone) {
		free_answer(transport, &message->item);
		return;
	}
	TAILQ_INSERT_TAIL(&peer->unsent, &message->item, queue);
	if (!peer->waiting)
		push_or_drop(transport, peer);
}

void ofi_peer_sent(struct transport *transport, struct ofi_item *item, const char *fault)
{
	struct ofi_peer *peer = item->peer;

	item->busy = false;
	peer->flying--;
	if (fault)
		ofi_peer_drop(transport, peer);
	free_answer(transport, item);
}

void ofi_peers_retry(struct transport *transport)
{
	struct ofi_peer *peer, *next;

	for (peer = TAILQ_FIRST(&transport->waiting); peer; peer = next) {
		next = TAILQ_NEXT(peer, list);
		push_or_drop(transport, peer);
	}
}

/* ---- hello ---- */

static struct ofi_peer *peer_make(struct transport *transport, const struct ofi_hello *hello)
{
	struct ofi_peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	peer->references = 1;
	peer->reply = hello->reply;
	peer->client_id = hello->client_id;
	TAILQ_INIT(&peer->early);
	TAILQ_INIT(&peer->unsent);
	if (fi_av_insert(transport->server.av, hello->name, 1, &peer->address, 0, NULL) != 1) {
		free(peer);
		return NULL;
	}
	LIST_INSERT_HEAD(&transport->every_peer, peer, every);
	return peer;
}

/* Welcome or refusal. */
static void reply(struct transport *transport, struct ofi_peer *peer, enum ofi_type type,
		  const void *body, size_t bytes)
{
	struct ofi_item *item = ofi_pool_get(&transport->server.messages);

	if (!item)
		return;
	transport->answers++;
	peer->references++;
	ofi_message(item)->wire.type = type;
	memcpy(ofi_message(item)->data, body, bytes);
	item->bytes = sizeof(struct ofi_wire) + bytes;
	ofi_peer_send(transport, peer, ofi_message(item));
}

/* Its old connection, if there is one, is over; a free place in the table, or one past its end.
 */
static uint32_t place_for(struct transport *transport, uint32_t client_id)
{
	uint32_t count = (uint32_t)transport->config.clients, place = count;

	for (uint32_t i = 0; i < count; i++) {
		if (transport->peers[i] && transport->peers[i]->client_id == client_id)
			ofi_peer_drop(transport, transport->peers[i]);
		if (!transport->peers[i] && place == count)
			place = i;
	}
	return place;
}

static void welcome(struct transport *transport, struct ofi_peer *peer)
{
	struct ofi_welcome body = {.token = peer->token};

	reply(transport, peer, OFI_WELCOME, &body, sizeof(body));
}

/* This very link has been welcomed, but says hello again: the welcome got lost, or crossed it.
 */
static bool welcome_again(struct transport *transport, const struct ofi_hello *hello)
{
	for (int i = 0; i < transport->config.clients; i++) {
		struct ofi_peer *peer = transport->peers[i];

		if (!peer || peer->client_id != hello->client_id || peer->reply != hello->reply)
			continue;
		welcome(transport, peer);
		return true;
	}
	return false;
}

void ofi_peer_hello(struct transport *transport, const struct ofi_message *message,
		    size_t bytes)
{
	struct ofi_refusal refusal = {0};
	struct ofi_hello hello;
	struct ofi_peer *peer;
	uint32_t place;

	if (bytes != sizeof(message->wire) + sizeof(hello))
		return;
	memcpy(&hello, message->data, sizeof(hello));
	if (!ofi_name_good(transport->info, hello.format, hello.name, hello.name_bytes))
		return;
	if (welcome_again(transport, &hello))
		return;
	place = place_for(transport, hello.client_id);
	peer = peer_make(transport, &hello);
	if (!peer)
		return;
	if (hello.message_bytes != transport->config.message_bytes)
		snprintf(refusal.reason, sizeof(refusal.reason),
			 "messages of up to %u bytes here and %zu there "
			 "(STASIS_ARMCI_MESSAGE_BYTES must be the same everywhere)",
			 hello.message_bytes, transport->config.message_bytes);
	else if (place == (uint32_t)transport->config.clients)
		snprintf(refusal.reason, sizeof(refusal.reason),
			 "it has %d clients already, as many as it was opened for",
			 transport->config.clients);
	if (!refusal.reason[0]) {
		peer->index = place;
		peer->token = (uint64_t)++transport->peer_generation << 32 | place;
		transport->peers[place] = peer;
		welcome(transport, peer);
		return;
	}
	reply(transport, peer, OFI_REFUSAL, &refusal, sizeof(refusal));
	ofi_peer_drop(transport, peer);
}
