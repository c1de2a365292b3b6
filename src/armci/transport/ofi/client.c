/* SPDX-License-Identifier: BSD-3-Clause */
/* The client side: posts, their completions, answers. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "armci/transport/ofi/ofi.h"

enum { LINK_DEPTH = 64, IDLE_POLLS = 4096 };

size_t ofi_inline_bytes(struct transport *transport)
{
	return transport->info->tx_attr->inject_size;
}

/* An item for a post on this link, or why there is none now. */
static int begin(struct transport_link *link, struct ofi_item **ret_item)
{
	struct transport *transport = link->transport;

	if (link->lost)
		return -ENOTCONN;
	if (link->flying >= LINK_DEPTH || (!transport->ordered && !TAILQ_EMPTY(&link->order)))
		return -EAGAIN;
	*ret_item = ofi_pool_get(&transport->items);
	if (!*ret_item)
		return -EAGAIN;
	(*ret_item)->link = link;
	return 0;
}

/* An operation is over: tell, if somebody wants to know. */
static void finish(struct transport *transport, struct ofi_item *item)
{
	if (item->context)
		TAILQ_INSERT_TAIL(&transport->done, item, queue);
	else
		ofi_pool_put(&transport->items, item);
}

/* Flushes are over when no write is in front of them. */
static void finish_flushes(struct transport_link *link)
{
	struct ofi_item *item;

	while ((item = TAILQ_FIRST(&link->order)) && item->kind == OFI_FLUSH) {
		TAILQ_REMOVE(&link->order, item, owned);
		finish(link->transport, item);
	}
}

int ofi_post_write(struct transport_link *link, const void *local,
		   struct transport_region *local_region, struct transport_key remote_key,
		   uint64_t remote_offset, size_t bytes, void *context)
{
	struct iovec iov = {.iov_base = (void *)local, .iov_len = bytes};
	struct fi_rma_iov to = {.addr = remote_key.address + remote_offset,
				.len = bytes,
				.key = remote_key.key};
	uint64_t flags = FI_COMPLETION | FI_DELIVERY_COMPLETE;
	struct ofi_item *item;
	struct fi_msg_rma msg;
	void *desc = NULL;
	int rc = begin(link, &item);

	if (rc)
		return rc;
	item->kind = OFI_WRITE;
	item->context = context;
	if (bytes == 0) {
		finish(link->transport, item);
		return 0;
	}
	if (!local_region)
		flags |= FI_INJECT;
	else if (local_region->source)
		desc = fi_mr_desc(local_region->source);
	msg = (struct fi_msg_rma){.msg_iov = &iov,
				  .desc = &desc,
				  .iov_count = 1,
				  .addr = link->address,
				  .rma_iov = &to,
				  .rma_iov_count = 1,
				  .context = item};
	rc = ofi_link_posted(link, item, fi_writemsg(link->transport->client.ep, &msg, flags));
	if (rc)
		ofi_pool_put(&link->transport->items, item);
	else
		TAILQ_INSERT_TAIL(&link->order, item, owned);
	return rc;
}

int ofi_post_read(struct transport_link *link, void *local,
		  struct transport_region *local_region, struct transport_key remote_key,
		  uint64_t remote_offset, size_t bytes, void *context)
{
	struct ofi_item *item;
	void *desc = NULL;
	int rc = begin(link, &item);

	if (rc)
		return rc;
	item->kind = OFI_READ;
	item->context = context;
	if (bytes == 0) {
		finish(link->transport, item);
		return 0;
	}
	if (local_region && local_region->source)
		desc = fi_mr_desc(local_region->source);
	rc = ofi_link_posted(link, item,
			     fi_read(link->transport->client.ep, local, bytes, desc,
				     link->address, remote_key.address + remote_offset,
				     remote_key.key, item));
	if (rc)
		ofi_pool_put(&link->transport->items, item);
	else
		TAILQ_INSERT_TAIL(&link->owned, item, owned);
	return rc;
}

int ofi_post_flush(struct transport_link *link, void *context)
{
	struct ofi_item *item;

	if (link->lost)
		return -ENOTCONN;
	item = ofi_pool_get(&link->transport->items);
	if (!item)
		return -EAGAIN;
	item->kind = OFI_FLUSH;
	item->link = link;
	item->context = context;
	TAILQ_INSERT_TAIL(&link->order, item, owned);
	finish_flushes(link);
	return 0;
}

void *ofi_request_buffer(struct transport_link *link)
{
	struct ofi_item *item;

	if (link->credits == 0 || link->lost)
		return NULL;
	item = ofi_pool_get(&link->transport->client.messages);
	if (!item)
		return NULL;
	link->credits--;
	item->kind = OFI_SEND;
	item->link = link;
	TAILQ_INSERT_TAIL(&link->owned, item, owned);
	return ofi_message(item)->data;
}

int ofi_post_request(struct transport_link *link, void *buffer, size_t bytes)
{
	struct transport *transport = link->transport;
	struct ofi_message *message = ofi_message_of(buffer);
	int rc;

	if (link->lost)
		return -ENOTCONN;
	if (!transport->ordered && !TAILQ_EMPTY(&link->order))
		return -EAGAIN;
	message->wire = (struct ofi_wire){
		.type = OFI_REQUEST, .sequence = link->sequence, .token = link->server};
	message->item.bytes = sizeof(message->wire) + bytes;
	rc = ofi_link_posted(link, &message->item,
			     ofi_side_send(&transport->client, link->address, message));
	if (rc == 0)
		link->sequence++;
	return rc;
}

void ofi_answer_done(struct transport_link *link, void *data)
{
	struct ofi_message *message = ofi_message_of(data);

	TAILQ_REMOVE(&link->owned, &message->item, owned);
	ofi_pool_put(&link->transport->client.messages, &message->item);
	link->credits++;
}

static void take_welcome(struct transport_link *link, const struct ofi_message *message,
			 size_t bytes)
{
	struct ofi_welcome welcome;
	struct ofi_refusal refusal;

	if (message->wire.type == OFI_WELCOME && bytes == sizeof(welcome)) {
		memcpy(&welcome, message->data, sizeof(welcome));
		link->server = welcome.token;
		link->welcome = true;
	} else if (message->wire.type == OFI_REFUSAL && bytes == sizeof(refusal)) {
		memcpy(&refusal, message->data, sizeof(refusal));
		refusal.reason[sizeof(refusal.reason) - 1] = 0;
		ofi_link_lose(link, "refused: %s", refusal.reason);
	}
}

/* True if the message is kept, for the user. */
static bool take_message(struct transport *transport, struct ofi_message *message, size_t bytes)
{
	struct transport_link *link;

	if (bytes < sizeof(message->wire) ||
	    bytes - sizeof(message->wire) > transport->config.message_bytes)
		return false;
	bytes -= sizeof(message->wire);
	link = ofi_link_find(transport, message->wire.token);
	if (!link || link->lost)
		return false;
	if (message->wire.type != OFI_ANSWER) {
		take_welcome(link, message, bytes);
		return false;
	}
	message->item.link = link;
	message->item.bytes = bytes;
	TAILQ_INSERT_TAIL(&link->owned, &message->item, owned);
	TAILQ_INSERT_TAIL(&transport->done, &message->item, queue);
	return true;
}

/* A write, read or request has come to its end. */
static void take_end(struct transport *transport, struct ofi_item *item, const char *fault)
{
	struct transport_link *link = item->link;
	struct ofi_pool *pool =
		item->kind == OFI_SEND ? &transport->client.messages : &transport->items;

	item->busy = false;
	transport->flying--;
	if (!link) {
		ofi_pool_put(pool, item);
		return;
	}
	link->flying--;
	if (fault && !link->welcome)
		link->greeted = false; /* a hello, which is sent anew */
	else if (fault)
		ofi_link_lose(link, "%s: %s",
			      item->kind == OFI_SEND    ? "a request"
			      : item->kind == OFI_WRITE ? "a write"
							: "a read",
			      fault);
	if (item->kind == OFI_WRITE)
		TAILQ_REMOVE(&link->order, item, owned);
	else
		TAILQ_REMOVE(&link->owned, item, owned);
	if (item->kind == OFI_SEND || link->lost) {
		ofi_pool_put(pool, item);
		return;
	}
	finish(transport, item);
	finish_flushes(link);
}

static void client_done(struct transport *transport, struct ofi_item *item, size_t bytes,
			const char *fault)
{
	if (item->kind != OFI_RECEIVE) {
		take_end(transport, item, fault);
		return;
	}
	item->busy = false;
	transport->client.posted--;
	if (fault || !take_message(transport, ofi_message(item), bytes))
		ofi_pool_put(&transport->client.messages, item);
}

int ofi_client_progress(struct transport *transport)
{
	unsigned wanted = transport->link_count * ((unsigned)transport->config.credits + 1);

	ofi_side_receive(&transport->client, ofi_receives(transport, wanted));
	return ofi_side_read(transport, &transport->client, client_done);
}

/* One entry for the user; its item is free again, but for an answer's. */
static void report(struct transport *transport, struct ofi_item *item,
		   struct transport_completion *ret)
{
	*ret = (struct transport_completion){.event = TRANSPORT_DONE, .link = item->link};
	if (item->kind == OFI_LOSS) {
		ret->event = TRANSPORT_LOST;
	} else if (item->kind == OFI_RECEIVE) {
		ret->event = TRANSPORT_ANSWER;
		ret->data = ofi_message(item)->data;
		ret->bytes = item->bytes;
	} else {
		ret->context = item->context;
		ofi_pool_put(&transport->items, item);
	}
}

int ofi_poll(struct transport *transport, struct transport_completion *ret, int max)
{
	struct ofi_item *item;
	int n = 0;

	if (TAILQ_EMPTY(&transport->done))
		ofi_client_progress(transport);
	while (n < max && (item = TAILQ_FIRST(&transport->done))) {
		TAILQ_REMOVE(&transport->done, item, queue);
		report(transport, item, &ret[n++]);
	}
	if (n == 0 && ++transport->idle_polls % IDLE_POLLS == 0)
		ofi_links_watch(transport);
	return n;
}

void ofi_sleep(struct transport *transport, int timeout_ms)
{
	enum { MOST_MS = 500 }; /* links that wait are looked after */

	ofi_links_watch(transport);
	if (!TAILQ_EMPTY(&transport->done))
		return;
	ofi_side_sleep(transport, &transport->client, -1,
		       timeout_ms >= 0 && timeout_ms < MOST_MS ? timeout_ms : MOST_MS);
}
