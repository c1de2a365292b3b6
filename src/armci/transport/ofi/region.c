/* SPDX-License-Identifier: BSD-3-Clause */
/* Registration of memory: with the server's domain for others, with the client's where the
 * provider asks for it. */
#include <errno.h>
#include <stdlib.h>

#include "armci/transport/ofi/ofi.h"

static uint64_t new_key(struct transport *transport)
{
	uint64_t key;

	pthread_mutex_lock(&transport->regions_lock);
	key = ++transport->next_key;
	pthread_mutex_unlock(&transport->regions_lock);
	return key;
}

/* Some providers want the memory bound to the endpoint that serves it. */
static int bind_to(struct transport *transport, struct ofi_side *side, struct fid_mr *mr)
{
	int rc;

	if (!(transport->info->domain_attr->mr_mode & FI_MR_ENDPOINT))
		return 0;
	rc = fi_mr_bind(mr, &side->ep->fid, 0);
	return rc ? rc : fi_mr_enable(mr);
}

static int register_with(struct transport *transport, struct ofi_side *side, void *base,
			 size_t bytes, uint64_t access, struct fid_mr **ret_mr)
{
	int rc = fi_mr_reg(side->domain, base, bytes, access, 0, new_key(transport), 0, ret_mr,
			   NULL);

	if (rc) {
		*ret_mr = NULL;
		return rc;
	}
	return bind_to(transport, side, *ret_mr);
}

int ofi_region_create(struct transport *transport, void *base, size_t bytes,
		      struct transport_region **ret_region, struct err *err)
{
	uint32_t mode = (uint32_t)transport->info->domain_attr->mr_mode;
	struct transport_region *region = calloc(1, sizeof(*region));
	int rc;

	if (!region)
		return err_set(err, ENOMEM, "out of memory for a region");
	region->transport = transport;
	pthread_mutex_lock(&transport->regions_lock);
	LIST_INSERT_HEAD(&transport->regions, region, list);
	pthread_mutex_unlock(&transport->regions_lock);
	rc = register_with(transport, &transport->server, base, bytes,
			   FI_REMOTE_READ | FI_REMOTE_WRITE, &region->target);
	if (rc == 0 && (mode & FI_MR_LOCAL))
		rc = register_with(transport, &transport->client, base, bytes,
				   FI_READ | FI_WRITE, &region->source);
	if (rc) {
		ofi_region_destroy(region);
		return err_set(err, rc == -FI_ENOMEM ? ENOMEM : EIO,
			       "libfabric's provider %s cannot register %zu bytes: %s",
			       transport->info->fabric_attr->prov_name, bytes,
			       libfabric.strerror(-rc));
	}
	region->key.key = fi_mr_key(region->target);
	region->key.address = mode & FI_MR_VIRT_ADDR ? (uintptr_t)base : 0;
	*ret_region = region;
	return 0;
}

void ofi_region_destroy(struct transport_region *region)
{
	struct transport *transport;

	if (!region)
		return;
	transport = region->transport;
	pthread_mutex_lock(&transport->regions_lock);
	LIST_REMOVE(region, list);
	pthread_mutex_unlock(&transport->regions_lock);
	if (region->source)
		fi_close(&region->source->fid);
	if (region->target)
		fi_close(&region->target->fid);
	free(region);
}

struct transport_key ofi_region_key(const struct transport_region *region)
{
	return region->key;
}
