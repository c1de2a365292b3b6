/* SPDX-License-Identifier: BSD-3-Clause */
/* What went wrong, in words: completions with errors, refusals, events of the device. */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "armci/transport/verbs/verbs.h"

/* A status of a completion; what happened and what to check. */
static const char *status_words(enum ibv_wc_status status)
{
	switch (status) {
	case IBV_WC_RETRY_EXC_ERR:
		return "it does not answer: its process or node is gone, or the network between is; "
		       "look at the port's state on both nodes (ibv_devinfo)";
	case IBV_WC_RNR_RETRY_EXC_ERR:
		return "it takes no messages: its service thread has come to a halt";
	case IBV_WC_REM_ACCESS_ERR:
		return "it refused an access to its memory: the address is outside what it has "
		       "registered, or its registration is gone";
	case IBV_WC_REM_INV_REQ_ERR:
		return "it rejected an operation as malformed: both sides must run the same version "
		       "of the library, with the same message size";
	case IBV_WC_REM_OP_ERR:
		return "its device could not carry out an operation; look for messages of the device "
		       "in its kernel log";
	case IBV_WC_LOC_PROT_ERR:
		return "the own device refused an access to local memory: the registration of a "
		       "buffer does not cover it";
	case IBV_WC_LOC_LEN_ERR: return "a message is longer than its buffer";
	case IBV_WC_LOC_QP_OP_ERR:
	case IBV_WC_LOC_EEC_OP_ERR:
	case IBV_WC_FATAL_ERR:
		return "the own device failed inside; look for its messages in the kernel log";
	case IBV_WC_WR_FLUSH_ERR: return "the connection was broken off";
	default: return "the own device reports an error";
	}
}

static void server_name(const struct transport_link *link, char *ret_name, size_t size)
{
	const struct handshake_place *place = &link->server.place;
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char text[INET6_ADDRSTRLEN] = "";

	if (place->lid && place->link_layer == IBV_LINK_LAYER_INFINIBAND)
		snprintf(text, sizeof(text), "LID %u", place->lid);
	else if (memcmp(place->gid, mapped, sizeof(mapped)) == 0)
		inet_ntop(AF_INET, place->gid + sizeof(mapped), text, sizeof(text));
	else
		inet_ntop(AF_INET6, place->gid, text, sizeof(text));
	snprintf(ret_name, size, "rank %u at %s", link->server.id, text);
}

void link_lose(struct transport_link *link, const char *fmt, ...)
{
	struct transport *transport = link->transport;
	const char *event = events_words(atomic_load(&transport->events));
	char name[96], what[300];
	va_list args;

	if (!link->lost)
		transport->client.untold++;
	link->lost = true;
	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	server_name(link, name, sizeof(name));
	snprintf(link->fault, sizeof(link->fault),
		 "the connection to %s over %s is lost: %s%s%s", name, transport->device.name,
		 what, event ? "; " : "", event ? event : "");
}

void link_lose_by(struct transport_link *link, enum ibv_wc_status status)
{
	/* Of the completions that a broken connection brings, those that were only thrown away
	 * say the least. */
	if (!link->lost || (!link->told && status != IBV_WC_WR_FLUSH_ERR))
		link_lose(link, "%s (%s)", status_words(status), ibv_wc_status_str(status));
}

const char *verbs_link_fault(const struct transport_link *link)
{
	return link->fault;
}

const char *reason_words(enum handshake_reason reason)
{
	switch (reason) {
	case HANDSHAKE_STALE: return "its address is out of date: it has been closed since";
	case HANDSHAKE_FULL: return "its device has no room for one more connection";
	case HANDSHAKE_MESSAGE:
		return "it takes only smaller messages: STASIS_ARMCI_MESSAGE_BYTES and "
		       "STASIS_ARMCI_CREDITS must be the same for all ranks";
	case HANDSHAKE_UNREACHED: return "it does not reach this node's address";
	}
	return "it refuses";
}

static const enum ibv_event_type grave[] = {IBV_EVENT_DEVICE_FATAL, IBV_EVENT_CQ_ERR,
					    IBV_EVENT_SRQ_ERR, IBV_EVENT_PORT_ERR};

void events_take(struct transport *transport)
{
	struct ibv_async_event event;

	while (ibv_get_async_event(transport->device.context, &event) == 0) {
		for (size_t i = 0; i < sizeof(grave) / sizeof(grave[0]); i++)
			if (event.event_type == grave[i])
				atomic_fetch_or(&transport->events, 1u << grave[i]);
		if (event.event_type == IBV_EVENT_PORT_ACTIVE)
			atomic_fetch_and(&transport->events, ~(1u << IBV_EVENT_PORT_ERR));
		ibv_ack_async_event(&event);
	}
}

const char *events_words(uint32_t events)
{
	if (events & 1u << IBV_EVENT_DEVICE_FATAL)
		return "the device has reported a fatal error; look at the kernel log";
	if (events & (1u << IBV_EVENT_CQ_ERR | 1u << IBV_EVENT_SRQ_ERR))
		return "the device has reported that one of its queues is broken";
	if (events & 1u << IBV_EVENT_PORT_ERR)
		return "the device's port has gone down; look at the cable and the switch";
	return NULL;
}

bool events_fatal(uint32_t events)
{
	return events & (1u << IBV_EVENT_DEVICE_FATAL | 1u << IBV_EVENT_CQ_ERR);
}
