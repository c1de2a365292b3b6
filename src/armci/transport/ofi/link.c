/* SPDX-License-Identifier: BSD-3-Clause */
/* The client's links: hello and welcome, the end, and finding out that a partner is gone. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "armci/transport/ofi/ofi.h"
#include "base/clock.h"

enum { STALL_MS = 2000, PING_MS = 1000, WATCH_MS = 100, HELLO_MS = 10 };

struct transport_link *ofi_link_find(struct transport *transport, uint64_t token)
{
	uint32_t index = (uint32_t)token;
	struct transport_link *link =
		index < transport->link_slots ? transport->links[index] : NULL;

	return link && link->token == token ? link : NULL;
}

const char *ofi_link_fault(const struct transport_link *link)
{
	return link->fault;
}

void ofi_link_lose(struct transport_link *link, const char *fmt, ...)
{
	struct transport *transport = link->transport;
	char name[128];
	va_list args;
	int used;

	if (link->lost)
		return;
	link->lost = true;
	ofi_name_text(&transport->client, link->name, name, sizeof(name));
	used = snprintf(link->fault, sizeof(link->fault), "the %s connection to %s is lost: ",
			transport->info->fabric_attr->prov_name, name);
	va_start(args, fmt);
	vsnprintf(link->fault + used, sizeof(link->fault) - (size_t)used, fmt, args);
	va_end(args);
	link->loss.kind = OFI_LOSS;
	link->loss.link = link;
	TAILQ_INSERT_TAIL(&transport->done, &link->loss, queue);
}

/* Nothing flies, so no queue can be full, and yet nothing can be posted: the provider has no
 * connection and tries to get one. */
static void stalled(struct transport_link *link)
{
	int64_t now = clock_mono_ns();

	if (link->flying > 0 || 2 * link->transport->flying > OFI_QUEUE) {
		link->stalled_ns = 0;
		return;
	}
	if (link->stalled_ns == 0)
		link->stalled_ns = now;
	if (link->greeted && now - link->stalled_ns > STALL_MS * NS_PER_MS)
		ofi_link_lose(link, "it cannot be reached for %d seconds", STALL_MS / 1000);
}

int ofi_link_posted(struct transport_link *link, struct ofi_item *item, ssize_t rc)
{
	if (rc == 0) {
		link->stalled_ns = 0;
		link->flying++;
		link->transport->flying++;
		item->busy = true;
		return 0;
	}
	if (rc == -FI_EAGAIN)
		stalled(link);
	else
		ofi_link_lose(link, "%s", libfabric.strerror((int)-rc));
	return link->lost ? -ENOTCONN : -EAGAIN;
}

/* A message without content that nobody waits for. */
static ssize_t signal_server(struct transport_link *link, enum ofi_type type)
{
	struct ofi_wire wire = {.type = type, .token = link->server};

	return fi_inject(link->transport->client.ep, &wire, sizeof(wire), link->address);
}

/* The kernel tells of a partner's end only who sends to it. */
static void ping(struct transport_link *link, int64_t now)
{
	ssize_t rc;

	link->pinged_ns = now;
	rc = signal_server(link, OFI_PING);
	if (rc == 0)
		link->stalled_ns = 0;
	else if (rc == -FI_EAGAIN)
		stalled(link);
	else
		ofi_link_lose(link, "%s", libfabric.strerror((int)-rc));
}

void ofi_links_watch(struct transport *transport)
{
	int64_t now = clock_mono_ns();

	if (now - transport->watched_ns < WATCH_MS * NS_PER_MS)
		return;
	transport->watched_ns = now;
	for (uint32_t i = 0; i < transport->link_slots; i++) {
		struct transport_link *link = transport->links[i];

		if (!link || link->lost || !link->welcome)
			continue;
		if (link->stalled_ns != 0 ||
		    ((link->flying > 0 || link->credits < transport->config.credits) &&
		     now - link->pinged_ns > PING_MS * NS_PER_MS))
			ping(link, now);
	}
}

/* A place in the table, and the token that leads to it. */
static int insert(struct transport *transport, struct transport_link *link)
{
	uint32_t index = 0;

	while (index < transport->link_slots && transport->links[index])
		index++;
	if (index == transport->link_slots) {
		uint32_t slots = transport->link_slots ? 2 * transport->link_slots : 4;
		struct transport_link **links =
			reallocarray(transport->links, slots, sizeof(*links));

		if (!links)
			return -ENOMEM;
		memset(links + transport->link_slots, 0,
		       (slots - transport->link_slots) * sizeof(*links));
		transport->links = links;
		transport->link_slots = slots;
	}
	transport->links[index] = link;
	transport->link_count++;
	link->token = (uint64_t)++transport->generation << 32 | index;
	return 0;
}

static int send_hello(struct transport_link *link)
{
	struct transport *transport = link->transport;
	struct ofi_hello hello = {
		.reply = link->token,
		.client_id = transport->config.client_id,
		.message_bytes = (uint32_t)transport->config.message_bytes,
		.format = transport->info->addr_format,
		.name_bytes = (uint32_t)transport->client.name_bytes,
	};
	struct ofi_message *message = ofi_message(ofi_pool_get(&transport->client.messages));
	int rc;

	if (!message)
		return -EAGAIN;
	memcpy(hello.name, transport->client.name, transport->client.name_bytes);
	message->wire = (struct ofi_wire){.type = OFI_HELLO};
	memcpy(message->data, &hello, sizeof(hello));
	message->item.bytes = sizeof(message->wire) + sizeof(hello);
	message->item.link = link;
	rc = ofi_link_posted(link, &message->item,
			     ofi_side_send(&transport->client, link->address, message));
	if (rc)
		ofi_pool_put(&transport->client.messages, &message->item);
	else
		TAILQ_INSERT_TAIL(&link->owned, &message->item, owned);
	link->greeted = link->greeted || rc == 0;
	return rc;
}

/* Hello, until there is a welcome, a refusal or no more time. A connection that broke a moment
 * ago may swallow one. */
static int greet(struct transport_link *link, int timeout_ms, struct err *err)
{
	struct transport *transport = link->transport;
	int64_t deadline = deadline_in_ms(timeout_ms), sent_ns = 0;

	while (!link->welcome && !link->lost) {
		int left = deadline_left_ms(deadline), wait_ms = WATCH_MS;

		if (left == 0)
			return err_set(err, ETIMEDOUT, "%s within %d ms",
				       link->greeted ? "no answer to a hello came"
						     : "no connection was made",
				       timeout_ms);
		if (!link->greeted || clock_mono_ns() - sent_ns > PING_MS * NS_PER_MS) {
			if (send_hello(link) == 0)
				sent_ns = clock_mono_ns();
			else
				wait_ms = HELLO_MS;
		}
		if (ofi_client_progress(transport) == 0 && !link->lost)
			ofi_side_sleep(transport, &transport->client, -1,
				       left < wait_ms ? left : wait_ms);
	}
	return link->lost ? err_set(err, ECONNREFUSED, "%s", link->fault) : 0;
}

static int check_address(struct transport *transport, const void *bytes, size_t count,
			 struct ofi_address *ret_address, struct err *err)
{
	const struct fi_info *info = transport->info;

	if (count != sizeof(*ret_address))
		return err_set(err, EINVAL, "the address of a server has %zu bytes, not %zu",
			       count, sizeof(*ret_address));
	memcpy(ret_address, bytes, count);
	ret_address->provider[OFI_PROVIDER_MAX - 1] = 0;
	if (ret_address->type != OFI_HELLO)
		return err_set(err, EINVAL,
			       "the address of a server is not one of this version");
	if (strncmp(ret_address->provider, info->fabric_attr->prov_name,
		    OFI_PROVIDER_MAX - 1) != 0)
		return err_set(err, EINVAL,
			       "a server is reached through libfabric's provider %s, but this "
			       "process uses %s",
			       ret_address->provider, info->fabric_attr->prov_name);
	if (!ofi_name_good(info, ret_address->format, ret_address->name,
			   ret_address->name_bytes))
		return err_set(err, EINVAL,
			       "the address of a server is not of this process's kind (%s)",
			       info->domain_attr->name);
	return 0;
}

int ofi_link_open(struct transport *transport, const void *address, size_t bytes,
		  int timeout_ms, struct transport_link **ret_link, struct err *err)
{
	struct transport_link *link;
	struct ofi_address server;
	int rc = check_address(transport, address, bytes, &server, err);

	if (rc)
		return rc;
	link = calloc(1, sizeof(*link));
	if (!link || insert(transport, link)) {
		free(link);
		return err_set(err, ENOMEM, "out of memory for a link");
	}
	link->transport = transport;
	link->credits = transport->config.credits;
	link->address = FI_ADDR_NOTAVAIL;
	TAILQ_INIT(&link->order);
	TAILQ_INIT(&link->owned);
	memcpy(link->name, server.name, server.name_bytes);
	if (fi_av_insert(transport->client.av, server.name, 1, &link->address, 0, NULL) != 1)
		rc = err_set(err, EINVAL, "libfabric does not take the address of a server");
	if (rc == 0)
		rc = greet(link, timeout_ms, err);
	if (rc) {
		char name[128];

		ofi_name_text(&transport->client, server.name, name, sizeof(name));
		err_prefix(err, "connecting to %s through libfabric's %s", name,
			   transport->info->fabric_attr->prov_name);
		ofi_link_close(link);
		return rc;
	}
	*ret_link = link;
	return 0;
}

/* What is with the provider will be dropped when it completes; the rest is free now. */
static void orphan(struct ofi_pool *pool, struct ofi_item *item)
{
	item->link = NULL;
	if (!item->busy)
		ofi_pool_put(pool, item);
}

void ofi_link_close(struct transport_link *link)
{
	struct transport *transport;
	struct ofi_item *item, *next;

	if (!link)
		return;
	transport = link->transport;
	if (link->welcome && !link->lost)
		signal_server(link, OFI_BYE);
	for (item = TAILQ_FIRST(&transport->done); item; item = next) {
		next = TAILQ_NEXT(item, queue);
		if (item->link != link)
			continue;
		TAILQ_REMOVE(&transport->done, item, queue);
		if (item->kind != OFI_LOSS && item->kind != OFI_RECEIVE)
			ofi_pool_put(&transport->items, item);
	}
	while ((item = TAILQ_FIRST(&link->order))) {
		TAILQ_REMOVE(&link->order, item, owned);
		orphan(&transport->items, item);
	}
	while ((item = TAILQ_FIRST(&link->owned))) {
		TAILQ_REMOVE(&link->owned, item, owned);
		orphan(item->kind == OFI_READ ? &transport->items : &transport->client.messages,
		       item);
	}
	if (link->address != FI_ADDR_NOTAVAIL)
		fi_av_remove(transport->client.av, &link->address, 1, 0);
	transport->links[(uint32_t)link->token] = NULL;
	transport->link_count--;
	free(link);
}
