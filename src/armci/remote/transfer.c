/* SPDX-License-Identifier: BSD-3-Clause */
/* Put, get and accumulate on another node: long rows by RDMA, short ones packed into requests.
 */
#include <errno.h>
#include <string.h>

#include "armci/core/fail.h"
#include "armci/core/gate.h"
#include "armci/core/job.h"
#include "armci/core/settings.h"
#include "armci/remote/bounce.h"
#include "armci/remote/client.h"
#include "armci/remote/keys.h"
#include "armci/shm/arena.h"

/* From this size on, memory of the arena is read or written in place instead of through a
 * bounce slot. */
enum { IN_PLACE_LEAST = 16384 };

static bool in_arena(const void *address)
{
	return arena_offset(address) < arena.bytes;
}

static struct transport_region *my_region(const void *address)
{
	struct err err = ERR_INIT;
	struct transport_region *region = keys_region(arena_offset(address), &err);
	if (!region)
		fail("%s", err.msg);
	return region;
}

static void *slot_for(struct peer *peer, size_t bytes)
{
	struct patience patience = {0};
	void *slot;
	while (!(slot = bounce_get(bytes)))
		client_step(peer, &patience);
	return slot;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* One RDMA write that stays within one region on both sides; `region` NULL: inline. */
static void write_post(struct peer *peer, uint64_t far, const void *near, size_t bytes,
		       struct transport_region *region, struct pending *pending)
{
	uint64_t offset;
	struct transport_key key = keys_of_peer(peer, far, bytes, &offset);
	struct patience patience = {0};
	int rc;
	while ((rc = client.ops->post_write(peer->link, near, region, key, offset, bytes,
					    pending)) == -EAGAIN)
		client_step(peer, &patience);
	if (rc < 0)
		client_lost(peer, client.ops->link_fault(peer->link));
	peer->unflushed = true;
	client.stats.writes++;
}

static void write_block(struct peer *peer, uint64_t far, const char *near, size_t bytes,
			struct remote_handle *handle)
{
	bool in_place = bytes >= IN_PLACE_LEAST && in_arena(near);
	client.stats.put_bytes += bytes;
	while (bytes) {
		size_t part = least(bytes, keys_room(peer->region_bytes, far));
		if (part <= client.inline_bytes) {
			write_post(peer, far, near, part, NULL, NULL);
		} else if (in_place) {
			part = least(part, keys_room((uint64_t)settings.region_bytes,
						     arena_offset(near)));
			write_post(peer, far, near, part, my_region(near),
				   client_pending(peer, PENDING_WRITE, handle));
		} else {
			part = least(part, BOUNCE_LARGE);
			void *slot = slot_for(peer, part);
			memcpy(slot, near, part);
			struct pending *pending = client_pending(peer, PENDING_WRITE, NULL);
			pending->slot = slot;
			write_post(peer, far, slot, part, my_region(slot), pending);
		}
		far += part;
		near += part;
		bytes -= part;
	}
}

static void read_post(struct peer *peer, uint64_t far, void *local, size_t bytes,
		      struct pending *pending)
{
	uint64_t offset;
	struct transport_key key = keys_of_peer(peer, far, bytes, &offset);
	struct patience patience = {0};
	int rc;
	while ((rc = client.ops->post_read(peer->link, local, my_region(local), key, offset,
					   bytes, pending)) == -EAGAIN)
		client_step(peer, &patience);
	if (rc < 0)
		client_lost(peer, client.ops->link_fault(peer->link));
	client.stats.reads++;
}

static void read_block(struct peer *peer, uint64_t far, char *near, size_t bytes,
		       struct remote_handle *handle)
{
	bool in_place = bytes >= IN_PLACE_LEAST && in_arena(near);
	client.stats.get_bytes += bytes;
	while (bytes) {
		size_t part = least(bytes, keys_room(peer->region_bytes, far));
		if (in_place) {
			part = least(part, keys_room((uint64_t)settings.region_bytes,
						     arena_offset(near)));
			read_post(peer, far, near, part,
				  client_pending(peer, PENDING_READ, handle));
		} else {
			part = least(part, BOUNCE_LARGE);
			void *slot = slot_for(peer, part);
			struct pending *pending = client_pending(peer, PENDING_READ, handle);
			pending->slot = slot;
			pending->near = near;
			pending->bytes = part;
			read_post(peer, far, slot, part, pending);
		}
		far += part;
		near += part;
		bytes -= part;
	}
}

/* RDMA would overtake puts and accumulates that are requests: let them be answered. */
static void requests_first(struct peer *peer)
{
	struct patience patience = {0};
	if (peer->writing)
		client.ops->kick(peer->link);
	while (peer->writing)
		client_step(peer, &patience);
}

/* Room for data in a request with this shape. */
static size_t request_room(const struct xfer *shape, size_t scale)
{
	return client.message_bytes - sizeof(struct wire_request) -
	       (size_t)shape->levels * sizeof(struct wire_level) - scale;
}

static size_t answer_room(void)
{
	return client.message_bytes - sizeof(struct wire_answer);
}

/* Rows that are long enough, or do not fit into a message, go by RDMA. A single block too,
 * unless requests are under way that it would overtake. */
static bool by_rdma(const struct peer *peer, const struct xfer *xfer, size_t room)
{
	if (xfer->row > room)
		return true;
	if (xfer->levels == 0)
		return peer->writing == 0;
	return xfer->row >= (size_t)settings.row_bytes;
}

/* A put or accumulate as requests: as many rows as fit into each. */
static void send_rows(struct peer *peer, struct wire_request head, const void *scale,
		      uint64_t far, const char *near, const struct xfer *xfer)
{
	size_t scale_bytes = head.scaled ? acc_size((enum acc_type)head.type) : 0;
	size_t most = request_room(xfer, scale_bytes) / xfer->row;
	uint64_t left = xfer_rows(xfer);
	head.far = far;
	head.row = xfer->row;
	head.from = (uint32_t)job.rank;
	while (left) {
		head.count = (uint32_t)least(left, most);
		char *buffer = client_request_buffer(peer);
		struct pending *pending = client_pending(peer, PENDING_REQUEST, NULL);
		pending->writes = true;
		peer->writing++;
		head.id = pending->id;
		size_t at = wire_encode(buffer, &head, xfer);
		if (scale_bytes)
			memcpy(buffer + at, scale, scale_bytes);
		at += scale_bytes;
		struct wire_rows rows;
		for (wire_rows_begin(&rows, xfer, head.first, head.count); rows.left;
		     wire_rows_next(&rows)) {
			memcpy(buffer + at, near + rows.near, xfer->row);
			at += xfer->row;
		}
		client_request_post(peer, buffer, at);
		head.first += head.count;
		left -= head.count;
	}
}

static void ask_rows(struct peer *peer, uint64_t far, char *near, const struct xfer *xfer,
		     struct remote_handle *handle)
{
	struct wire_request head = {
		.op = WIRE_GET, .far = far, .row = xfer->row, .from = (uint32_t)job.rank};
	size_t most = answer_room() / xfer->row;
	uint64_t left = xfer_rows(xfer);
	while (left) {
		head.count = (uint32_t)least(left, most);
		void *buffer = client_request_buffer(peer);
		struct pending *pending = client_pending(peer, PENDING_REQUEST, handle);
		pending->near = near;
		pending->shape = *xfer;
		pending->first = head.first;
		pending->rows = head.count;
		pending->bytes = head.count * xfer->row;
		head.id = pending->id;
		client_request_post(peer, buffer, wire_encode(buffer, &head, xfer));
		head.first += head.count;
		left -= head.count;
	}
}

void remote_put(int node, uint64_t far, const void *near, const struct xfer *xfer,
		struct remote_handle *handle)
{
	gate_enter("a put");
	struct peer *peer = client_peer(node);
	struct remote_handle own = {0};
	if (!by_rdma(peer, xfer, request_room(xfer, 0))) {
		client.stats.put_bytes += xfer_bytes(xfer);
		send_rows(peer, (struct wire_request){.op = WIRE_PUT}, NULL, far, near, xfer);
	} else {
		requests_first(peer);
		struct wire_rows rows;
		for (wire_rows_begin(&rows, xfer, 0, xfer_rows(xfer)); rows.left;
		     wire_rows_next(&rows))
			write_block(peer, far + (uint64_t)rows.far,
				    (const char *)near + rows.near, xfer->row,
				    handle ? handle : &own);
	}
	client.ops->kick(peer->link);
	client_wait(&own);
	gate_leave();
}

void remote_get(int node, uint64_t far, void *near, const struct xfer *xfer,
		struct remote_handle *handle)
{
	gate_enter("a get");
	struct peer *peer = client_peer(node);
	struct remote_handle own = {0};
	if (!by_rdma(peer, xfer, least(answer_room(), request_room(xfer, 0)))) {
		client.stats.get_bytes += xfer_bytes(xfer);
		ask_rows(peer, far, near, xfer, handle ? handle : &own);
	} else {
		requests_first(peer);
		struct wire_rows rows;
		for (wire_rows_begin(&rows, xfer, 0, xfer_rows(xfer)); rows.left;
		     wire_rows_next(&rows))
			read_block(peer, far + (uint64_t)rows.far, (char *)near + rows.near,
				   xfer->row, handle ? handle : &own);
	}
	client.ops->kick(peer->link);
	client_wait(&own);
	gate_leave();
}

void remote_acc(int node, enum acc_type type, const void *scale, uint64_t far, const void *near,
		const struct xfer *xfer)
{
	gate_enter("an accumulate");
	struct peer *peer = client_peer(node);
	struct wire_request head = {.op = WIRE_ACC,
				    .type = (uint8_t)type,
				    .scaled = scale && !acc_scale_is_one(type, scale)};
	size_t size = acc_size(type);
	client.stats.acc_bytes += xfer_bytes(xfer);
	if (xfer->row <= request_room(xfer, size)) {
		send_rows(peer, head, scale, far, near, xfer);
	} else {
		struct xfer part = xfer_block(0);
		size_t most = request_room(&part, size) / size * size;
		struct wire_rows rows;
		for (wire_rows_begin(&rows, xfer, 0, xfer_rows(xfer)); rows.left;
		     wire_rows_next(&rows))
			for (size_t at = 0; at < xfer->row; at += part.row) {
				part.row = least(xfer->row - at, most);
				send_rows(peer, head, scale, far + (uint64_t)rows.far + at,
					  (const char *)near + rows.near + at, &part);
			}
	}
	client.ops->kick(peer->link);
	gate_leave();
}

/* Vector operations as requests: offsets first, then scale and data. */
static void send_segments(struct peer *peer, struct wire_request head, const void *scale,
			  const struct remote_segment *segments, size_t count, size_t bytes)
{
	size_t scale_bytes = head.scaled ? acc_size((enum acc_type)head.type) : 0;
	size_t most = (client.message_bytes - sizeof head - scale_bytes) / (8 + bytes);
	head.row = bytes;
	head.from = (uint32_t)job.rank;
	for (size_t done = 0; done < count; done += head.count) {
		head.count = (uint32_t)least(count - done, most);
		const struct remote_segment *part = segments + done;
		char *buffer = client_request_buffer(peer);
		struct pending *pending = client_pending(peer, PENDING_REQUEST, NULL);
		pending->writes = true;
		peer->writing++;
		head.id = pending->id;
		char *at = buffer + wire_encode(buffer, &head, NULL);
		for (uint32_t i = 0; i < head.count; i++, at += 8)
			memcpy(at, &part[i].far, 8);
		if (scale_bytes)
			memcpy(at, scale, scale_bytes);
		at += scale_bytes;
		for (uint32_t i = 0; i < head.count; i++, at += bytes)
			memcpy(at, part[i].near, bytes);
		client_request_post(peer, buffer, (size_t)(at - buffer));
	}
}

static bool segment_fits(size_t bytes)
{
	return bytes < (size_t)settings.row_bytes &&
	       sizeof(struct wire_request) + 16 + 8 + bytes <= client.message_bytes;
}

void remote_put_vector(int node, const struct remote_segment *segments, size_t count,
		       size_t bytes)
{
	gate_enter("a put");
	struct peer *peer = client_peer(node);
	struct remote_handle own = {0};
	if (segment_fits(bytes)) {
		client.stats.put_bytes += count * bytes;
		send_segments(peer, (struct wire_request){.op = WIRE_PUTV}, NULL, segments,
			      count, bytes);
	} else {
		requests_first(peer);
		for (size_t i = 0; i < count; i++)
			write_block(peer, segments[i].far, segments[i].near, bytes, &own);
	}
	client.ops->kick(peer->link);
	client_wait(&own);
	gate_leave();
}

void remote_get_vector(int node, const struct remote_segment *segments, size_t count,
		       size_t bytes)
{
	gate_enter("a get");
	struct peer *peer = client_peer(node);
	struct remote_handle own = {0};
	if (segment_fits(bytes)) {
		struct wire_request head = {
			.op = WIRE_GETV, .row = bytes, .from = (uint32_t)job.rank};
		size_t most =
			least((client.message_bytes - sizeof head) / 8, answer_room() / bytes);
		client.stats.get_bytes += count * bytes;
		for (size_t done = 0; done < count; done += head.count) {
			head.count = (uint32_t)least(count - done, most);
			char *buffer = client_request_buffer(peer);
			struct pending *pending = client_pending(peer, PENDING_REQUEST, &own);
			pending->segments = segments + done;
			pending->shape.row = bytes;
			pending->rows = head.count;
			pending->bytes = head.count * bytes;
			head.id = pending->id;
			char *at = buffer + wire_encode(buffer, &head, NULL);
			for (uint32_t i = 0; i < head.count; i++, at += 8)
				memcpy(at, &segments[done + i].far, 8);
			client_request_post(peer, buffer, (size_t)(at - buffer));
		}
	} else {
		requests_first(peer);
		for (size_t i = 0; i < count; i++)
			read_block(peer, segments[i].far, segments[i].near, bytes, &own);
	}
	client.ops->kick(peer->link);
	client_wait(&own);
	gate_leave();
}

void remote_acc_vector(int node, enum acc_type type, const void *scale,
		       const struct remote_segment *segments, size_t count, size_t bytes)
{
	if (!segment_fits(bytes)) {
		struct xfer block = xfer_block(bytes);
		for (size_t i = 0; i < count; i++)
			remote_acc(node, type, scale, segments[i].far, segments[i].near,
				   &block);
		return;
	}
	gate_enter("an accumulate");
	struct peer *peer = client_peer(node);
	struct wire_request head = {.op = WIRE_ACCV,
				    .type = (uint8_t)type,
				    .scaled = scale && !acc_scale_is_one(type, scale)};
	client.stats.acc_bytes += count * bytes;
	send_segments(peer, head, scale, segments, count, bytes);
	client.ops->kick(peer->link);
	gate_leave();
}
