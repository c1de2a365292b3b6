/* SPDX-License-Identifier: BSD-3-Clause */
/* The libfabric transport's table: opening, closing, who we are. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "armci/transport/ofi/ofi.h"
#include "base/clock.h"

static void ofi_close(struct transport *transport)
{
	if (!transport)
		return;
	while (!LIST_EMPTY(&transport->regions))
		ofi_region_destroy(LIST_FIRST(&transport->regions));
	for (uint32_t i = 0; i < transport->link_slots; i++)
		if (transport->links[i])
			ofi_link_close(transport->links[i]);
	free(transport->links);
	ofi_server_close(transport);
	ofi_side_close(&transport->client);
	ofi_side_close(&transport->server);
	ofi_pool_close(&transport->items);
	ofi_fabric_close(transport);
	pthread_mutex_destroy(&transport->regions_lock);
	free(transport);
}

static int ofi_open(const struct transport_config *config, struct transport **ret_transport,
		    struct err *err)
{
	struct transport *transport = calloc(1, sizeof(*transport));
	int rc;

	if (!transport)
		return err_set(err, ENOMEM, "out of memory for the transport");
	transport->config = *config;
	transport->wake_fd = -1;
	transport->client.fd = transport->server.fd = -1;
	pthread_mutex_init(&transport->regions_lock, NULL);
	LIST_INIT(&transport->regions);
	TAILQ_INIT(&transport->done);
	TAILQ_INIT(&transport->ready);
	TAILQ_INIT(&transport->waiting);
	LIST_INIT(&transport->every_peer);
	transport->generation =
		(uint32_t)clock_real_ns(); /* tokens of others who had this address are stale */
	transport->peer_generation = transport->generation;
	rc = ofi_fabric_open(transport, err);
	if (rc == 0)
		rc = ofi_side_open(transport, &transport->client, err);
	if (rc == 0)
		rc = ofi_side_open(transport, &transport->server, err);
	if (rc == 0)
		rc = ofi_server_open(transport, err);
	if (rc) {
		ofi_close(transport);
		return rc;
	}
	ofi_pool_open(&transport->items, NULL, sizeof(struct ofi_item));
	*ret_transport = transport;
	return 0;
}

static size_t ofi_address(struct transport *transport, void *ret_address)
{
	struct ofi_address address = {.type = OFI_HELLO,
				      .format = transport->info->addr_format,
				      .name_bytes = (uint32_t)transport->server.name_bytes};
	_Static_assert(sizeof(address) <= TRANSPORT_ADDRESS_MAX, "an address fits");

	snprintf(address.provider, sizeof(address.provider), "%s",
		 transport->info->fabric_attr->prov_name);
	memcpy(address.name, transport->server.name, transport->server.name_bytes);
	memcpy(ret_address, &address, sizeof(address));
	return sizeof(address);
}

static void ofi_describe(struct transport *transport, char *ret_text, size_t size)
{
	const struct fi_info *info = transport->info;
	char name[128];

	ofi_name_text(&transport->server, transport->server.name, name, sizeof(name));
	snprintf(ret_text, size, "libfabric %u.%u, provider %s, domain %s, endpoint %s%s",
		 FI_MAJOR(libfabric.version()), FI_MINOR(libfabric.version()),
		 info->fabric_attr->prov_name, info->domain_attr->name, name,
		 transport->ordered ? "" : ", unordered");
}

static bool ofi_atomics_coherent(struct transport *transport)
{
	(void)transport;
	return false;
}

static int ofi_post_fetch_add(struct transport_link *link, uint64_t *local,
			      struct transport_region *local_region,
			      struct transport_key remote_key, uint64_t remote_offset,
			      uint64_t value, void *context)
{
	(void)link, (void)local, (void)local_region, (void)remote_key, (void)remote_offset,
		(void)value, (void)context;
	return -EOPNOTSUPP;
}

static void ofi_kick(struct transport_link *link)
{
	(void)link; /* every post is sent at once */
}

const struct transport_ops transport_ofi = {
	.name = "ofi",
	.open = ofi_open,
	.close = ofi_close,
	.address = ofi_address,
	.describe = ofi_describe,
	.atomics_coherent = ofi_atomics_coherent,
	.region_create = ofi_region_create,
	.region_destroy = ofi_region_destroy,
	.region_key = ofi_region_key,
	.link_open = ofi_link_open,
	.link_close = ofi_link_close,
	.post_write = ofi_post_write,
	.post_read = ofi_post_read,
	.post_fetch_add = ofi_post_fetch_add,
	.post_flush = ofi_post_flush,
	.inline_bytes = ofi_inline_bytes,
	.request_buffer = ofi_request_buffer,
	.post_request = ofi_post_request,
	.answer_done = ofi_answer_done,
	.kick = ofi_kick,
	.poll = ofi_poll,
	.sleep = ofi_sleep,
	.link_fault = ofi_link_fault,
	.serve_poll = ofi_serve_poll,
	.answer_buffer = ofi_answer_buffer,
	.post_answer = ofi_post_answer,
	.request_done = ofi_request_done,
	.serve_sleep = ofi_serve_sleep,
	.serve_wake = ofi_serve_wake,
};
