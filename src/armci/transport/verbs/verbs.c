/* SPDX-License-Identifier: BSD-3-Clause */
/* The verbs transport: raw libibverbs, connections set up in band by datagrams. */
#include "armci/transport/verbs/verbs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void verbs_close(struct transport *transport)
{
	struct transport_region *region;

	if (!transport)
		return;
	client_close(transport);
	server_close(transport);
	while ((region = transport->regions))
		verbs_region_destroy(region);
	pthread_mutex_destroy(&transport->regions_lock);
	device_close(&transport->device);
	free(transport);
}

static int verbs_open(const struct transport_config *config, struct transport **ret_transport,
		      struct err *err)
{
	struct transport *transport = calloc(1, sizeof(*transport));
	int rc;

	if (!transport)
		return err_sys(err, ENOMEM, "no memory for the transport");
	transport->config = *config;
	transport->nonce_base = random_number() << 32;
	transport->server.wake_fd = -1;
	pthread_mutex_init(&transport->regions_lock, NULL);
	rc = device_open(&transport->device, err);
	if (rc == 0)
		rc = server_open(transport, err);
	if (rc == 0)
		rc = client_open(transport, err);
	if (rc < 0) {
		verbs_close(transport);
		return rc;
	}
	*ret_transport = transport;
	return 0;
}

static size_t verbs_address(struct transport *transport, void *ret_address)
{
	struct handshake address = {.kind = HANDSHAKE_ADDRESS,
				    .token = transport->server.token,
				    .id = transport->config.client_id,
				    .place = device_place(&transport->device)};

	_Static_assert((int)HANDSHAKE_BYTES <= (int)TRANSPORT_ADDRESS_MAX, "an address fits");
	address.place.qpn = transport->server.datagrams.qp->qp_num;
	address.place.qkey = transport->server.datagrams.qkey;
	return handshake_encode(&address, ret_address);
}

static void verbs_describe(struct transport *transport, char *ret_text, size_t size)
{
	device_describe(&transport->device, ret_text, size);
}

static bool verbs_atomics_coherent(struct transport *transport)
{
	return transport->device.atomics_coherent;
}

static size_t verbs_inline_bytes(struct transport *transport)
{
	return transport->device.inline_bytes;
}

/* Each post rings its own doorbell. */
static void verbs_kick(struct transport_link *link)
{
	(void)link;
}

const struct transport_ops transport_verbs = {
	.name = "verbs",
	.open = verbs_open,
	.close = verbs_close,
	.address = verbs_address,
	.describe = verbs_describe,
	.atomics_coherent = verbs_atomics_coherent,
	.region_create = verbs_region_create,
	.region_destroy = verbs_region_destroy,
	.region_key = verbs_region_key,
	.link_open = verbs_link_open,
	.link_close = verbs_link_close,
	.post_write = verbs_post_write,
	.post_read = verbs_post_read,
	.post_fetch_add = verbs_post_fetch_add,
	.post_flush = verbs_post_flush,
	.inline_bytes = verbs_inline_bytes,
	.request_buffer = verbs_request_buffer,
	.post_request = verbs_post_request,
	.answer_done = verbs_answer_done,
	.kick = verbs_kick,
	.poll = verbs_poll,
	.sleep = verbs_sleep,
	.link_fault = verbs_link_fault,
	.serve_poll = verbs_serve_poll,
	.answer_buffer = verbs_answer_buffer,
	.post_answer = verbs_post_answer,
	.request_done = verbs_request_done,
	.serve_sleep = verbs_serve_sleep,
	.serve_wake = verbs_serve_wake,
};
