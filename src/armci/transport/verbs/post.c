/* SPDX-License-Identifier: BSD-3-Clause */
/* Posting on a link: writes, reads, atomics, flushes, requests. */
#include <errno.h>
#include <string.h>

#include "armci/transport/verbs/verbs.h"

/*
 * Work requests are signalled if they have a context, and each so many others, so that the
 * queue is seen to empty. Where an acknowledgement means that data are in memory, the first
 * after a pause is signalled, too: a flush that follows a single write then joins it and sends
 * nothing.
 */
static bool wants_signal(const struct transport_link *link, const void *context, bool buffer)
{
	const struct transport *transport = link->transport;
	uint32_t requests = (uint32_t)transport->config.credits / 2;

	if (context || (link->unsignalled + 1) * 4 >= transport->device.depth)
		return true;
	if (buffer && link->requests_unsignalled + 1 >= requests)
		return true;
	return transport->device.acks_visible && link->signalled <= link->completed;
}

static int room(const struct transport_link *link, uint64_t wanted)
{
	if (link->lost)
		return -ECONNRESET;
	if (link->posted - link->completed + wanted > link->transport->device.depth)
		return -EAGAIN;
	return 0;
}

/* Post one work request, for which there is room. `buffer` is 1 + the request buffer that it
 * holds. */
static int post(struct transport_link *link, struct ibv_send_wr *wr, void *context,
		uint32_t buffer)
{
	struct slot *slot = &link->slots[link->posted & (link->transport->device.depth - 1)];
	bool signalled = wants_signal(link, context, buffer != 0);
	struct ibv_send_wr *bad;
	int rc;

	*slot = (struct slot){.context = context, .buffer = buffer};
	wr->wr_id = work_id(WORK_SEND, link->index, link->generation, (uint32_t)link->posted);
	if (signalled)
		wr->send_flags |= IBV_SEND_SIGNALED;
	rc = ibv_post_send(link->qp, wr, &bad);
	if (rc != 0) {
		link_lose(link, "the own device takes no more work (%s)", strerror(rc));
		return -ECONNRESET;
	}
	link->posted++;
	link->unsignalled = signalled ? 0 : link->unsignalled + 1;
	if (signalled)
		link->requests_unsignalled = 0;
	else if (buffer)
		link->requests_unsignalled++;
	if (signalled)
		link->signalled = link->posted;
	if (signalled && link->transport->device.acks_visible)
		link->covered = link->posted;
	return 0;
}

/* Long transfers go in parts of device->part_bytes, or larger ones where those would fill the
 * queue. */
static size_t part_size(const struct device *device, size_t bytes)
{
	size_t least = (bytes / (device->depth / 4) + 4095) & ~(size_t)4095;

	if (least < device->part_bytes)
		return device->part_bytes;
	return least < device->message_max ? least : device->message_max;
}

static int transfer(struct transport_link *link, enum ibv_wr_opcode opcode, void *local,
		    const struct transport_region *region, struct transport_key key,
		    uint64_t offset, size_t bytes, void *context)
{
	const struct device *device = &link->transport->device;
	size_t most = part_size(device, bytes);
	size_t parts = bytes ? (bytes + most - 1) / most : 1;
	struct ibv_sge sge = {.lkey = region ? region->mr->lkey : 0};
	struct ibv_send_wr wr = {.opcode = opcode, .sg_list = &sge, .num_sge = bytes ? 1 : 0};
	bool writes = opcode == IBV_WR_RDMA_WRITE;
	int rc;

	if (parts > device->depth || (!region && (!writes || bytes > device->inline_bytes)))
		return -EMSGSIZE;
	rc = room(link, parts);
	if (writes && bytes <= device->inline_bytes)
		wr.send_flags = IBV_SEND_INLINE;
	wr.wr.rdma.rkey = (uint32_t)key.key;
	for (size_t done = 0; rc == 0 && parts > 0; parts--) {
		size_t part = bytes - done < most ? bytes - done : most;

		sge.addr = (uintptr_t)local + done;
		sge.length = (uint32_t)part;
		wr.wr.rdma.remote_addr = key.address + offset + done;
		wr.send_flags &= ~(unsigned int)IBV_SEND_SIGNALED;
		rc = post(link, &wr, parts == 1 ? context : NULL, 0);
		done += part;
	}
	return rc;
}

int verbs_post_write(struct transport_link *link, const void *local,
		     struct transport_region *local_region, struct transport_key remote_key,
		     uint64_t remote_offset, size_t bytes, void *context)
{
	int rc = transfer(link, IBV_WR_RDMA_WRITE, (void *)local, local_region, remote_key,
			  remote_offset, bytes, context);

	if (rc != 0)
		return rc;
	link->written = link->posted;
	link->flush_address = remote_key.address + remote_offset;
	link->flush_rkey = (uint32_t)remote_key.key;
	return 0;
}

int verbs_post_read(struct transport_link *link, void *local,
		    struct transport_region *local_region, struct transport_key remote_key,
		    uint64_t remote_offset, size_t bytes, void *context)
{
	int rc = transfer(link, IBV_WR_RDMA_READ, local, local_region, remote_key,
			  remote_offset, bytes, context);

	/* A read pushes the writes before it into memory, on every device. */
	if (rc == 0 && context && bytes > 0)
		link->covered = link->posted;
	return rc;
}

int verbs_post_fetch_add(struct transport_link *link, uint64_t *local,
			 struct transport_region *local_region, struct transport_key remote_key,
			 uint64_t remote_offset, uint64_t value, void *context)
{
	struct ibv_sge sge = {.addr = (uintptr_t)local, .length = sizeof(*local)};
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD, .sg_list = &sge, .num_sge = 1};
	int rc;

	if (!link->transport->device.atomics_coherent)
		return -EOPNOTSUPP;
	rc = room(link, 1);
	if (rc < 0)
		return rc;
	sge.lkey = local_region->mr->lkey;
	wr.wr.atomic.remote_addr = remote_key.address + remote_offset;
	wr.wr.atomic.rkey = (uint32_t)remote_key.key;
	wr.wr.atomic.compare_add = value;
	return post(link, &wr, context, 0);
}

/* One more work request that completes when all writes before it are in memory. */
static int post_cover(struct transport_link *link, void *context)
{
	struct transport *transport = link->transport;
	struct pool *pool = &transport->client.flush;
	struct ibv_sge sge = {
		.addr = (uintptr_t)pool->base, .length = 1, .lkey = pool->mr->lkey};
	struct ibv_send_wr wr = {.opcode = IBV_WR_RDMA_READ, .sg_list = &sge, .num_sge = 1};
	int rc = room(link, 1);

	if (rc < 0)
		return rc;
	wr.wr.rdma.remote_addr = link->flush_address;
	wr.wr.rdma.rkey = link->flush_rkey;
	if (transport->device.acks_visible) {
		wr.opcode = IBV_WR_RDMA_WRITE;
		wr.num_sge = 0;
	}
	rc = post(link, &wr, context, 0);
	if (rc == 0)
		link->covered = link->posted;
	return rc;
}

int verbs_post_flush(struct transport_link *link, void *context)
{
	struct slot *slot;

	if (link->lost)
		return -ECONNRESET;
	if (!context)
		return 0;
	if (link->written > link->covered)
		return post_cover(link, context);
	if (link->covered <= link->completed)
		return soft_push(&link->transport->client, link, context) ? 0 : -EAGAIN;
	slot = &link->slots[(link->covered - 1) & (link->transport->device.depth - 1)];
	if (slot->flush)
		return post_cover(link, context);
	slot->flush = context;
	return 0;
}

void link_probe(struct transport_link *link)
{
	struct ibv_send_wr wr = {.opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_SIGNALED};

	wr.wr.rdma.remote_addr = link->flush_address;
	wr.wr.rdma.rkey = link->flush_rkey;
	if (room(link, 1) == 0)
		post(link, &wr, NULL, 0);
}

void *verbs_request_buffer(struct transport_link *link)
{
	struct pool *pool = &link->requests;

	if (link->credits == 0 || pool->free_count == 0)
		return NULL;
	link->credits--;
	return pool_at(pool, pool->free[--pool->free_count]);
}

int verbs_post_request(struct transport_link *link, void *buffer, size_t bytes)
{
	struct pool *pool = &link->requests;
	uint32_t index = pool_index(pool, buffer);
	struct ibv_sge sge = {
		.addr = (uintptr_t)buffer, .length = (uint32_t)bytes, .lkey = pool->mr->lkey};
	struct ibv_send_wr wr = {.opcode = IBV_WR_SEND,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .send_flags = IBV_SEND_SOLICITED};
	bool small = bytes <= link->transport->device.inline_bytes;
	int rc = room(link, 1);

	if (rc < 0)
		return rc;
	if (bytes > link->transport->config.message_bytes)
		return -EMSGSIZE;
	if (small)
		wr.send_flags |= IBV_SEND_INLINE;
	rc = post(link, &wr, NULL, small ? 0 : index + 1);
	if (rc < 0)
		return rc;
	link->unanswered++;
	if (small)
		pool->free[pool->free_count++] = index;
	return 0;
}

int link_post_recv(struct transport_link *link, uint32_t buffer)
{
	const struct pool *pool = &link->answers;
	struct ibv_sge sge = {.addr = (uintptr_t)pool_at(pool, buffer),
			      .length = (uint32_t)pool->size,
			      .lkey = pool->mr->lkey};
	struct ibv_recv_wr wr = {
		.wr_id = work_id(WORK_RECV, link->index, link->generation, buffer),
		.sg_list = &sge,
		.num_sge = 1};
	struct ibv_recv_wr *bad;

	return -ibv_post_recv(link->qp, &wr, &bad);
}

void verbs_answer_done(struct transport_link *link, void *data)
{
	int rc = link_post_recv(link, pool_index(&link->answers, data));

	link->credits++;
	if (rc < 0 && !link->lost)
		link_lose(link, "the own device takes no receive buffer (%s)", strerror(-rc));
}
