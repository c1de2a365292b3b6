/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions stay registered until close: memory of the arena is never unmapped, so freeing a
 * segment costs nothing here. */
#include "armci/remote/keys.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "armci/core/fail.h"
#include "armci/core/settings.h"
#include "armci/shm/arena.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct transport_region *_Atomic *regions;
static uint64_t region_count;

int keys_open(struct err *err)
{
	uint64_t size = (uint64_t)settings.region_bytes;
	if (size & (size - 1))
		return err_set(err, EINVAL,
			       "STASIS_ARMCI_REGION=%llu: a power of two is needed",
			       (unsigned long long)size);
	region_count = (arena.bytes + size - 1) / size;
	regions = calloc(region_count, sizeof *regions);
	return regions ? 0 : err_set(err, ENOMEM, "out of memory for a table of regions");
}

void keys_release(void)
{
	for (uint64_t i = 0; regions && i < region_count; i++)
		if (regions[i]) {
			client.ops->region_destroy(regions[i]);
			regions[i] = NULL;
		}
}

void keys_close(void)
{
	keys_release();
	free((void *)regions);
	regions = NULL;
}

struct transport_region *keys_region(uint64_t offset, struct err *err)
{
	uint64_t size = (uint64_t)settings.region_bytes;
	uint64_t index = offset / size;
	struct transport_region *region =
		atomic_load_explicit(&regions[index], memory_order_acquire);
	if (region)
		return region;
	pthread_mutex_lock(&lock);
	region = atomic_load_explicit(&regions[index], memory_order_relaxed);
	if (!region) {
		uint64_t start = index * size;
		uint64_t bytes = arena.bytes - start < size ? arena.bytes - start : size;
		if (client.ops->region_create(client.transport, arena_at(start), bytes, &region,
					      err) < 0)
			region = NULL;
		else
			atomic_store_explicit(&regions[index], region, memory_order_release);
	}
	pthread_mutex_unlock(&lock);
	return region;
}

int keys_answer(uint64_t first, uint32_t count, struct transport_key *keys)
{
	if (first > region_count || count > region_count - first)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		struct err err = ERR_INIT;
		struct transport_region *region =
			keys_region((first + i) * (uint64_t)settings.region_bytes, &err);
		if (!region)
			fail("%s", err.msg);
		keys[i] = client.ops->region_key(region);
	}
	return 0;
}

/* Learn the unknown keys from region `index` on, up to `last`. */
static void learn(struct peer *peer, uint64_t index, uint64_t last)
{
	enum { MOST = 64 };
	struct transport_key keys[MOST];
	uint32_t count = 0;
	while (count < MOST && index + count <= last && !peer->keys[index + count].known)
		count++;
	struct result result = {.data = keys, .bytes = count * sizeof keys[0]};
	struct wire_request head = {.op = WIRE_KEYS, .far = index, .count = count};
	client_ask(peer, &head, &result);
	client_check_status(peer, result.status);
	for (uint32_t i = 0; i < count; i++)
		peer->keys[index + i] = (struct known_key){.key = keys[i], .known = 1};
}

struct transport_key keys_of_peer(struct peer *peer, uint64_t far, size_t bytes,
				  uint64_t *ret_offset)
{
	uint64_t index = far / peer->region_bytes;
	uint64_t last = (far + bytes - 1) / peer->region_bytes;
	if (last >= peer->regions)
		client_check_status(peer, -EFAULT);
	if (!peer->keys[index].known)
		learn(peer, index, last);
	*ret_offset = far % peer->region_bytes;
	return peer->keys[index].key;
}
