/* SPDX-License-Identifier: BSD-3-Clause */
/* Which provider and interface: what is asked of libfabric, and which of its offers is taken.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "armci/core/settings.h"
#include "armci/transport/ofi/ofi.h"

bool ofi_name_good(const struct fi_info *info, uint32_t format, const uint8_t *name,
		   size_t bytes)
{
	struct sockaddr head;
	size_t want = format == FI_SOCKADDR_IN ? sizeof(struct sockaddr_in)
					       : sizeof(struct sockaddr_in6);

	if (format != info->addr_format || bytes == 0 || bytes > OFI_NAME_MAX)
		return false;
	if (format == FI_ADDR_STR)
		return memchr(name, 0, bytes) == name + bytes - 1;
	if (format != FI_SOCKADDR_IN && format != FI_SOCKADDR_IN6)
		return true;
	if (bytes != want)
		return false;
	memcpy(&head, name, sizeof(head));
	return head.sa_family == (format == FI_SOCKADDR_IN ? AF_INET : AF_INET6);
}

/*
 * The layer that makes reliable datagrams of connections (ofi_rxm) takes pools of a thousand
 * bounce buffers, which over tcp it hardly uses, and thousands of receives, unless its
 * environment says otherwise; messages beyond its eager limit would go in parts. What the user
 * has set stays. libfabric reads it when a process uses it first.
 */
static void tune(const struct transport_config *config)
{
	bool tcp = strncmp(settings.ofi_provider, "tcp", 3) == 0;
	char text[32];

	snprintf(text, sizeof(text), "%zu", sizeof(struct ofi_wire) + config->message_bytes);
	setenv("FI_OFI_RXM_EAGER_LIMIT", text, 0);
	setenv("FI_OFI_RXM_BUFFER_SIZE", tcp ? "512" : text, 0);
	setenv("FI_OFI_RXM_MSG_RX_SIZE", "64", 0);
}

static struct fi_info *hints_make(const char *provider, bool ordered)
{
	struct fi_info *hints = libfabric.dupinfo(NULL);

	if (!hints)
		return NULL;
	hints->fabric_attr->prov_name = strdup(provider); /* freed with the hints */
	if (!hints->fabric_attr->prov_name) {
		libfabric.freeinfo(hints);
		return NULL;
	}
	hints->caps = FI_MSG | FI_RMA;
	hints->mode = FI_CONTEXT | FI_CONTEXT2;
	hints->ep_attr->type = FI_EP_RDM;
	hints->domain_attr->threading = FI_THREAD_SAFE;
	hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED |
				      FI_MR_PROV_KEY | FI_MR_ENDPOINT;
	hints->tx_attr->size = OFI_QUEUE;
	hints->rx_attr->size = OFI_QUEUE;
	if (ordered) {
		hints->tx_attr->msg_order = FI_ORDER_RAW | FI_ORDER_WAW | FI_ORDER_SAW;
		hints->rx_attr->msg_order = hints->tx_attr->msg_order;
	}
	return hints;
}

/* Networks that other machines reach come first, then the loopback; addresses that need a scope
 * are last. */
static int rank_of(const struct fi_info *info)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (info->addr_format == FI_SOCKADDR_IN && info->src_addr &&
	    info->src_addrlen >= sizeof(in)) {
		memcpy(&in, info->src_addr, sizeof(in));
		return ntohl(in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET ? 2 : 0;
	}
	if (info->addr_format == FI_SOCKADDR_IN6 && info->src_addr &&
	    info->src_addrlen >= sizeof(in6)) {
		memcpy(&in6, info->src_addr, sizeof(in6));
		if (IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr))
			return 4;
		return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr) ? 3 : 1;
	}
	return 0;
}

static int offers(const char *provider, bool ordered, struct fi_info **ret_offers)
{
	struct fi_info *hints = hints_make(provider, ordered);
	int rc;

	if (!hints)
		return -FI_ENOMEM;
	rc = libfabric.getinfo(FI_VERSION(1, 15), NULL, NULL, 0, hints, ret_offers);
	libfabric.freeinfo(hints);
	return rc;
}

int ofi_fabric_open(struct transport *transport, struct err *err)
{
	struct fi_info *all = NULL, *best;
	int rc = libfabric_load(err);

	if (rc)
		return rc;
	tune(&transport->config);
	transport->ordered = true;
	rc = offers(settings.ofi_provider, true, &all);
	if (rc == -FI_ENODATA) {
		transport->ordered = false;
		rc = offers(settings.ofi_provider, false, &all);
	}
	if (rc)
		return err_set(
			err, ENODEV,
			"libfabric has no provider \"%s\" with reliable datagrams and remote memory "
			"access here (STASIS_ARMCI_OFI_PROVIDER; armci_info lists those it has): %s",
			settings.ofi_provider, libfabric.strerror(-rc));
	best = all;
	for (struct fi_info *info = all; info; info = info->next)
		if (rank_of(info) < rank_of(best))
			best = info;
	transport->info = libfabric.dupinfo(best);
	libfabric.freeinfo(all);
	if (!transport->info)
		return err_set(err, ENOMEM, "out of memory for the fabric");
	rc = libfabric.fabric(transport->info->fabric_attr, &transport->fabric, NULL);
	if (rc)
		return err_set(err, EIO, "libfabric's provider %s does not open: %s",
			       transport->info->fabric_attr->prov_name,
			       libfabric.strerror(-rc));
	return 0;
}

void ofi_fabric_close(struct transport *transport)
{
	if (transport->fabric)
		fi_close(&transport->fabric->fid);
	if (transport->info)
		libfabric.freeinfo(transport->info);
	transport->fabric = NULL;
	transport->info = NULL;
}
