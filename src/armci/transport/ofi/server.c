/* SPDX-License-Identifier: BSD-3-Clause */
/* The server side: requests in the order of their numbers, answers, sleeping. */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "armci/transport/ofi/ofi.h"
#include "base/clock.h"

enum { RETRY_MS = 10 };

int ofi_server_open(struct transport *transport, struct err *err)
{
	transport->peers = calloc((size_t)transport->config.clients, sizeof(void *));
	if (!transport->peers)
		return err_set(err, ENOMEM, "out of memory for %d clients",
			       transport->config.clients);
	transport->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (transport->wake_fd < 0)
		return err_sys(err, errno, "an eventfd");
	ofi_serve_receive(transport);
	return 0;
}

void ofi_server_close(struct transport *transport)
{
	struct ofi_peer *peer;

	while ((peer = LIST_FIRST(&transport->every_peer))) {
		LIST_REMOVE(peer, every);
		free(peer);
	}
	free(transport->peers);
	transport->peers = NULL;
	if (transport->wake_fd >= 0)
		close(transport->wake_fd);
}

/* It is due: to be handed out. Its answer holds on to the peer. */
static void due(struct transport *transport, struct ofi_peer *peer, struct ofi_item *item)
{
	item->peer = peer;
	peer->references++;
	peer->sequence++;
	TAILQ_INSERT_TAIL(&transport->ready, item, queue);
}

static struct ofi_item *find_early(struct ofi_peer *peer)
{
	struct ofi_item *item;

	TAILQ_FOREACH(item, &peer->early, queue)
	{
		if (ofi_message(item)->wire.sequence == peer->sequence)
			return item;
	}
	return NULL;
}

/* True if the request is kept. */
static bool take_request(struct transport *transport, struct ofi_item *item)
{
	struct ofi_peer *peer = ofi_peer_find(transport, ofi_message(item)->wire.token);
	uint32_t ahead;

	if (!peer)
		return false;
	ahead = ofi_message(item)->wire.sequence - peer->sequence;
	if (ahead >= (uint32_t)transport->config.credits)
		return false;
	if (ahead > 0) {
		TAILQ_INSERT_TAIL(&peer->early, item, queue);
		return true;
	}
	due(transport, peer, item);
	while ((item = find_early(peer))) {
		TAILQ_REMOVE(&peer->early, item, queue);
		due(transport, peer, item);
	}
	return true;
}

/* True if the message is kept. */
static bool take_message(struct transport *transport, struct ofi_item *item, size_t bytes)
{
	struct ofi_message *message = ofi_message(item);
	struct ofi_peer *peer;

	if (bytes < sizeof(message->wire) ||
	    bytes - sizeof(message->wire) > transport->config.message_bytes)
		return false;
	item->bytes = bytes - sizeof(message->wire);
	switch (message->wire.type) {
	case OFI_HELLO: ofi_peer_hello(transport, message, bytes); return false;
	case OFI_REQUEST: return take_request(transport, item);
	case OFI_BYE:
		peer = ofi_peer_find(transport, message->wire.token);
		if (peer)
			ofi_peer_drop(transport, peer);
		return false;
	default: return false;
	}
}

static void server_done(struct transport *transport, struct ofi_item *item, size_t bytes,
			const char *fault)
{
	if (item->kind == OFI_SEND) {
		ofi_peer_sent(transport, item, fault);
		return;
	}
	item->busy = false;
	transport->server.posted--;
	if (fault || !take_message(transport, item, bytes))
		ofi_pool_put(&transport->server.messages, item);
}

void ofi_serve_receive(struct transport *transport)
{
	unsigned wanted =
		(unsigned)transport->config.clients * ((unsigned)transport->config.credits + 1);

	ofi_side_receive(&transport->server, ofi_receives(transport, wanted));
}

int ofi_serve_poll(struct transport *transport, struct transport_request *ret, int max)
{
	struct ofi_item *item;
	int n = 0;

	ofi_peers_retry(transport);
	if (TAILQ_EMPTY(&transport->ready)) {
		ofi_side_read(transport, &transport->server, server_done);
		ofi_serve_receive(transport);
	}
	while (n < max && (item = TAILQ_FIRST(&transport->ready))) {
		TAILQ_REMOVE(&transport->ready, item, queue);
		ret[n++] = (struct transport_request){.data = ofi_message(item)->data,
						      .bytes = item->bytes,
						      .from = item->peer,
						      .slot = item};
	}
	return n;
}

void *ofi_answer_buffer(struct transport *transport, void *from)
{
	enum { MOST = 4 * OFI_QUEUE };
	struct ofi_item *item;

	(void)from;
	if (transport->answers >= MOST)
		return NULL;
	item = ofi_pool_get(&transport->server.messages);
	if (!item)
		return NULL;
	transport->answers++;
	return ofi_message(item)->data;
}

void ofi_post_answer(struct transport *transport, void *from, void *buffer, size_t bytes)
{
	struct ofi_message *message = ofi_message_of(buffer);

	message->wire.type = OFI_ANSWER;
	message->item.bytes = sizeof(message->wire) + bytes;
	ofi_peer_send(transport, from, message);
}

void ofi_request_done(struct transport *transport, struct transport_request *request)
{
	ofi_pool_put(&transport->server.messages, request->slot);
}

void ofi_serve_sleep(struct transport *transport, int timeout_ms)
{
	bool waiting = !TAILQ_EMPTY(&transport->waiting);
	uint64_t count;

	if (!TAILQ_EMPTY(&transport->ready))
		return;
	if (waiting && (timeout_ms < 0 || timeout_ms > RETRY_MS))
		timeout_ms = RETRY_MS;
	ofi_side_sleep(transport, &transport->server, transport->wake_fd, timeout_ms);
	while (read(transport->wake_fd, &count, sizeof(count)) > 0)
		;
}

void ofi_serve_wake(struct transport *transport)
{
	uint64_t one = 1;
	ssize_t n = write(transport->wake_fd, &one, sizeof(one));

	(void)n; /* full: it is awake anyway */
}
