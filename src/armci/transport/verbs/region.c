/* SPDX-License-Identifier: BSD-3-Clause */
/* Registration: regions of the caller's memory, and pools of buffers of our own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "armci/transport/verbs/verbs.h"

int region_register(struct device *device, void *base, size_t bytes, int access,
		    struct ibv_mr **ret_mr, struct err *err)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
	int code;

	*ret_mr = ibv_reg_mr(device->pd, base, bytes, access);
	if (*ret_mr)
		return 0;
	code = errno ? errno : ENOMEM;
	getrlimit(RLIMIT_MEMLOCK, &limit);
	if ((code == ENOMEM || code == EAGAIN) && limit.rlim_cur != RLIM_INFINITY)
		return err_set(err, code,
			       "cannot register %zu bytes with %s: %s; the limit on locked "
			       "memory is %lu KiB: raise it (ulimit -l unlimited, or "
			       "LimitMEMLOCK=infinity of the service that starts the job)",
			       bytes, device->name, strerror(code),
			       (unsigned long)limit.rlim_cur / 1024);
	return err_sys(err, code, "cannot register %zu bytes at %p with %s", bytes, base,
		       device->name);
}

int verbs_region_create(struct transport *transport, void *base, size_t bytes,
			struct transport_region **ret_region, struct err *err)
{
	struct transport_region *region = calloc(1, sizeof(*region));
	int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;
	int rc;

	if (!region)
		return err_sys(err, ENOMEM, "no memory for a region");
	if (transport->device.atomics_coherent)
		access |= IBV_ACCESS_REMOTE_ATOMIC;
	rc = region_register(&transport->device, base, bytes, access, &region->mr, err);
	if (rc < 0) {
		free(region);
		return rc;
	}
	region->transport = transport;
	pthread_mutex_lock(&transport->regions_lock);
	region->next = transport->regions;
	region->link = &transport->regions;
	if (region->next)
		region->next->link = &region->next;
	transport->regions = region;
	pthread_mutex_unlock(&transport->regions_lock);
	*ret_region = region;
	return 0;
}

void verbs_region_destroy(struct transport_region *region)
{
	struct transport *transport;

	if (!region)
		return;
	transport = region->transport;
	pthread_mutex_lock(&transport->regions_lock);
	*region->link = region->next;
	if (region->next)
		region->next->link = region->link;
	pthread_mutex_unlock(&transport->regions_lock);
	ibv_dereg_mr(region->mr);
	free(region);
}

struct transport_key verbs_region_key(const struct transport_region *region)
{
	return (struct transport_key){.address = (uintptr_t)region->mr->addr,
				      .key = region->mr->rkey};
}

int pool_open(struct pool *pool, struct device *device, uint32_t count, size_t size,
	      struct err *err)
{
	int rc;

	pool->size = (size + 63) & ~(size_t)63;
	pool->bytes = pool->size * count;
	pool->base = mmap(NULL, pool->bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pool->base == MAP_FAILED) {
		pool->base = NULL;
		return err_sys(err, ENOMEM, "no memory for %u buffers of %zu bytes", count,
			       size);
	}
	pool->free = calloc(count, sizeof(*pool->free));
	if (!pool->free)
		return err_sys(err, ENOMEM, "no memory for %u buffers", count);
	rc = region_register(device, pool->base, pool->bytes, IBV_ACCESS_LOCAL_WRITE, &pool->mr,
			     err);
	if (rc < 0)
		return rc;
	pool->count = count;
	for (uint32_t i = 0; i < count; i++)
		pool->free[i] = count - 1 - i;
	pool->free_count = count;
	return 0;
}

void pool_close(struct pool *pool)
{
	if (pool->mr)
		ibv_dereg_mr(pool->mr);
	if (pool->base)
		munmap(pool->base, pool->bytes);
	free(pool->free);
	*pool = (struct pool){0};
}
