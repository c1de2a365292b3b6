/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting, fences, read-modify-write, mutexes, checks and mailbox messages of other nodes. */
#include <errno.h>
#include <string.h>

#include "armci/core/fail.h"
#include "armci/core/gate.h"
#include "armci/core/job.h"
#include "armci/remote/bounce.h"
#include "armci/remote/client.h"
#include "armci/remote/keys.h"
#include "armci/shm/arena.h"

/* A peer with something under way, to wait on when it does not matter which. */
static struct peer *busy_peer(void)
{
	for (int i = 0; i < job.node_count; i++)
		if (client.peers[i].local || client.peers[i].requests)
			return &client.peers[i];
	return NULL;
}

void client_wait(struct remote_handle *handle)
{
	struct patience patience = {0};
	while (handle->pending)
		client_step(busy_peer(), &patience);
}

void remote_wait(struct remote_handle *handle)
{
	if (!client.ops)
		return;
	gate_enter("a wait");
	client_wait(handle);
	gate_leave();
}

bool remote_test(struct remote_handle *handle)
{
	bool done = true;
	if (!client.ops)
		return done;
	gate_enter("a test");
	if (handle->pending)
		client_poll();
	done = handle->pending == 0;
	gate_leave();
	return done;
}

void remote_wait_node(int node)
{
	if (!client.peers)
		return;
	struct peer *peer = &client.peers[node];
	struct patience patience = {0};
	gate_enter("a wait");
	while (peer->local)
		client_step(peer, &patience);
	gate_leave();
}

void remote_wait_all(void)
{
	for (int i = 0; client.peers && i < job.node_count; i++)
		remote_wait_node(i);
}

void client_flush(struct peer *peer, struct remote_handle *handle, struct result *result)
{
	if (result)
		result->done = !peer->unflushed;
	if (!peer->unflushed)
		return;
	struct pending *pending = client_pending(peer, PENDING_FLUSH, handle);
	struct patience patience = {0};
	int rc;
	pending->result = result;
	while ((rc = client.ops->post_flush(peer->link, pending)) == -EAGAIN)
		client_step(peer, &patience);
	if (rc < 0)
		client_lost(peer, client.ops->link_fault(peer->link));
	peer->unflushed = false;
	client.ops->kick(peer->link);
}

static void flush_end(struct peer *peer, const struct result *result)
{
	struct patience patience = {0};
	while (!result->done || peer->writing)
		client_step(peer, &patience);
}

void remote_fence(int node)
{
	if (!client.peers)
		return;
	struct result result = {0};
	gate_enter("a fence");
	if (client.peers[node].link) {
		client_flush(&client.peers[node], NULL, &result);
		flush_end(&client.peers[node], &result);
	}
	gate_leave();
}

void remote_fence_all(void)
{
	enum { AT_ONCE = 64 };
	struct result results[AT_ONCE];
	if (!client.peers)
		return;
	gate_enter("a fence");
	for (int first = 0; first < job.node_count; first += AT_ONCE) {
		int last = first + AT_ONCE < job.node_count ? first + AT_ONCE : job.node_count;
		for (int i = first; i < last; i++) {
			results[i - first] = (struct result){.done = true};
			if (client.peers[i].link)
				client_flush(&client.peers[i], NULL, &results[i - first]);
		}
		for (int i = first; i < last; i++)
			if (client.peers[i].link)
				flush_end(&client.peers[i], &results[i - first]);
	}
	gate_leave();
}

/* Fetch and add by the adapter, where its atomics and the CPU's exclude each other. */
static int64_t adapter_fetch_add(struct peer *peer, uint64_t far, int64_t value)
{
	struct patience patience = {0};
	uint64_t *slot;
	while (peer->writing || !(slot = bounce_get(sizeof *slot)))
		client_step(peer, &patience);
	uint64_t offset;
	struct transport_key key = keys_of_peer(peer, far, sizeof *slot, &offset);
	struct err err = ERR_INIT;
	struct transport_region *region = keys_region(arena_offset(slot), &err);
	if (!region)
		fail("%s", err.msg);
	int64_t old = 0;
	struct result result = {0};
	struct pending *pending = client_pending(peer, PENDING_READ, NULL);
	pending->slot = slot;
	pending->near = &old;
	pending->bytes = sizeof old;
	pending->result = &result;
	int rc;
	while ((rc = client.ops->post_fetch_add(peer->link, slot, region, key, offset,
						(uint64_t)value, pending)) == -EAGAIN)
		client_step(peer, &patience);
	if (rc < 0)
		client_lost(peer, client.ops->link_fault(peer->link));
	client.ops->kick(peer->link);
	while (!result.done)
		client_step(peer, &patience);
	return old;
}

/* Ask a node for what needs no data but the head, as an operation of its own. */
static struct result ask(int node, struct wire_request head, const char *what)
{
	struct result result = {0};
	gate_enter(what);
	client_ask(client_peer(node), &head, &result);
	gate_leave();
	return result;
}

int64_t remote_rmw(int node, enum remote_rmw op, uint64_t far, int64_t value)
{
	struct wire_request head = {
		.op = WIRE_RMW, .type = (uint8_t)op, .far = far, .value = value};
	struct result result = {0};
	gate_enter("a read-modify-write");
	struct peer *peer = client_peer(node);
	if (op == REMOTE_ADD_LONG && client.atomics && far % sizeof(int64_t) == 0)
		result.value = adapter_fetch_add(peer, far, value);
	else
		client_ask(peer, &head, &result);
	gate_leave();
	client_check_status(peer, result.status);
	return result.value;
}

int remote_lock(int node, uint64_t far)
{
	static const char what[] = "a lock";
	struct wire_request head = {.op = WIRE_LOCK, .far = far};
	struct result result = {0};
	gate_enter(what);
	for (;;) {
		client_ask(client_peer(node), &head, &result);
		if (result.status != -EAGAIN)
			break;
		/* The node is being suspended, and keeps our place. */
		head.value = result.value + 1;
		result = (struct result){0};
		gate_step_aside(what);
	}
	gate_leave();
	if (result.status != -EDEADLK)
		client_check_status(&client.peers[node], result.status);
	return result.status;
}

bool remote_trylock(int node, uint64_t far)
{
	struct result result =
		ask(node, (struct wire_request){.op = WIRE_TRYLOCK, .far = far}, "a trylock");
	if (result.status != -EBUSY)
		client_check_status(&client.peers[node], result.status);
	return result.status == 0;
}

int remote_unlock(int node, uint64_t far)
{
	return ask(node, (struct wire_request){.op = WIRE_UNLOCK, .far = far}, "an unlock")
		.status;
}

bool remote_check(int node, uint64_t far, size_t bytes)
{
	struct wire_request head = {.op = WIRE_CHECK, .far = far, .value = (int64_t)bytes};
	return ask(node, head, "a check of addresses").status == 0;
}

void remote_message(int to, const void *part, size_t bytes)
{
	gate_enter("a message");
	struct peer *peer = client_peer(job.node_of[to]);
	char *buffer = client_request_buffer(peer);
	struct pending *pending = client_pending(peer, PENDING_REQUEST, NULL);
	struct wire_request head = {
		.op = WIRE_MESSAGE, .id = pending->id, .from = (uint32_t)job.rank, .value = to};
	if (bytes > client.message_bytes - sizeof head)
		fail("a mailbox part of %zu bytes does not fit into a message of %zu "
		     "(STASIS_ARMCI_MESSAGE_BYTES)",
		     bytes, client.message_bytes);
	pending->message = true;
	client.messages++;
	size_t at = wire_encode(buffer, &head, NULL);
	memcpy(buffer + at, part, bytes);
	client_request_post(peer, buffer, at + bytes);
	client.ops->kick(peer->link);
	gate_leave();
}

void remote_progress(void)
{
	if (!client.ops || !gate_try_enter("progress"))
		return;
	client_poll();
	gate_leave();
}

bool remote_is_open(void)
{
	return client.ops != NULL;
}
