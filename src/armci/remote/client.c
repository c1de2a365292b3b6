/* SPDX-License-Identifier: BSD-3-Clause */
/* Peers, operations under way, completions, and waiting with an eye on partners that are gone.
 */
#include "armci/remote/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "armci/coll/mbox.h"
#include "armci/core/cpu.h"
#include "armci/core/fail.h"
#include "armci/core/gate.h"
#include "armci/core/job.h"
#include "armci/core/settings.h"
#include "armci/core/wait.h"
#include "armci/remote/bounce.h"

enum { PENDING_CHUNK = 256, PENDING_CHUNKS = 1024, COMPLETIONS = 32 };

struct remote_client client;

/* Records live in chunks that never move: an id is chunk and place. */
static struct pending *chunks[PENDING_CHUNKS];
static uint32_t chunk_count;
static struct pending *free_list;

static void grow(void)
{
	struct pending *chunk =
		chunk_count < PENDING_CHUNKS ? calloc(PENDING_CHUNK, sizeof *chunk) : NULL;
	if (!chunk)
		fail("out of memory for operations under way (%u of them)",
		     chunk_count * PENDING_CHUNK);
	chunks[chunk_count] = chunk;
	for (uint32_t i = 0; i < PENDING_CHUNK; i++) {
		chunk[i].id = chunk_count * PENDING_CHUNK + i;
		chunk[i].next = free_list;
		free_list = &chunk[i];
	}
	chunk_count++;
}

struct pending *client_pending(struct peer *peer, enum pending_kind kind,
			       struct remote_handle *handle)
{
	if (!free_list)
		grow();
	struct pending *pending = free_list;
	free_list = pending->next;
	pending->peer = peer;
	pending->kind = kind;
	pending->handle = handle;
	pending->writes = false;
	pending->message = false;
	pending->result = NULL;
	pending->slot = NULL;
	pending->near = NULL;
	pending->segments = NULL;
	pending->rows = 0;
	if (handle) {
		__atomic_store_n(&handle->pending, handle->pending + 1, __ATOMIC_RELAXED);
		peer->local++;
	}
	if (kind == PENDING_REQUEST)
		peer->requests++;
	client.under_way++;
	return pending;
}

static void pending_end(struct pending *pending)
{
	struct peer *peer = pending->peer;
	if (pending->handle) {
		__atomic_store_n(&pending->handle->pending, pending->handle->pending - 1,
				 __ATOMIC_RELAXED);
		peer->local--;
	}
	if (pending->kind == PENDING_REQUEST)
		peer->requests--;
	if (pending->writes)
		peer->writing--;
	if (pending->message)
		client.messages--;
	if (pending->slot)
		bounce_put(pending->slot);
	client.under_way--;
	pending->peer = NULL;
	pending->next = free_list;
	free_list = pending;
}

void client_lost(const struct peer *peer, const char *why)
{
	fail("lost rank %d (node %d): %s", peer->server, peer->node, why);
}

void client_check_status(const struct peer *peer, int status)
{
	if (status != 0)
		fail("a transfer with the node of rank %d was refused there: the memory is not (or no longer) "
		     "inside one segment made by ARMCI_Malloc",
		     peer->server);
}

/* The bytes of a packed get go to their rows. */
static void scatter(struct pending *pending, const char *data, size_t bytes)
{
	if (bytes != pending->bytes)
		client_lost(pending->peer, "an answer has the wrong length");
	if (pending->segments) {
		size_t each = pending->shape.row;
		for (uint64_t i = 0; i < pending->rows; i++)
			memcpy(pending->segments[i].near, data + i * each, each);
		return;
	}
	struct wire_rows rows;
	for (wire_rows_begin(&rows, &pending->shape, pending->first, pending->rows); rows.left;
	     wire_rows_next(&rows)) {
		memcpy((char *)pending->near + rows.near, data, pending->shape.row);
		data += pending->shape.row;
	}
}

static void answered(struct transport_completion *done)
{
	struct wire_answer answer;
	struct pending *pending = NULL;
	if (done->bytes >= sizeof answer) {
		memcpy(&answer, done->data, sizeof answer);
		if (answer.id / PENDING_CHUNK < chunk_count)
			pending = &chunks[answer.id / PENDING_CHUNK][answer.id % PENDING_CHUNK];
	}
	if (!pending || !pending->peer || pending->peer->link != done->link ||
	    pending->kind != PENDING_REQUEST)
		fail("an answer from another node belongs to no request: the ranks of this job do not run the same "
		     "version of the library");
	pending->peer->heard_ns = wait_now_ns();
	pending->peer->pinged = false;
	const char *data = (const char *)done->data + sizeof answer;
	size_t bytes = done->bytes - sizeof answer;
	if (pending->result) {
		struct result *result = pending->result;
		result->status = answer.status;
		result->value = answer.value;
		if (result->data && answer.status == 0) {
			if (bytes != result->bytes)
				client_lost(pending->peer, "an answer has the wrong length");
			memcpy(result->data, data, bytes);
		}
		result->done = true;
	} else {
		client_check_status(pending->peer, answer.status);
		if (pending->near || pending->segments)
			scatter(pending, data, bytes);
	}
	client.ops->answer_done(done->link, done->data);
	pending_end(pending);
}

static void completed(struct pending *pending)
{
	pending->peer->heard_ns = wait_now_ns();
	if (pending->kind == PENDING_READ && pending->slot)
		memcpy(pending->near, pending->slot, pending->bytes);
	if (pending->result)
		pending->result->done = true;
	pending_end(pending);
}

static const struct peer *peer_of_link(const struct transport_link *link)
{
	for (int i = 0; i < job.node_count; i++)
		if (client.peers[i].link == link)
			return &client.peers[i];
	fail("a connection to another node broke: %s", client.ops->link_fault(link));
}

bool client_poll(void)
{
	struct transport_completion done[COMPLETIONS];
	int count = client.ops->poll(client.transport, done, COMPLETIONS);
	for (int i = 0; i < count; i++) {
		switch (done[i].event) {
		case TRANSPORT_DONE: completed(done[i].context); break;
		case TRANSPORT_ANSWER: answered(&done[i]); break;
		case TRANSPORT_LOST:
			client_lost(peer_of_link(done[i].link),
				    client.ops->link_fault(done[i].link));
		}
	}
	return count > 0;
}

/* Nothing came for a while: ask for a sign of life, and give up when there has been none for
 * too long. */
static void watch(struct peer *peer, int64_t since_ns)
{
	int64_t now_ns = wait_now_ns();
	int64_t last_ns = peer->heard_ns > since_ns ? peer->heard_ns : since_ns;
	int64_t dead_ns = settings.dead_s * 1000000000;
	if (now_ns - last_ns > dead_ns) {
		char why[160];
		snprintf(
			why, sizeof why,
			"no answer for %lld s (STASIS_ARMCI_DEAD_S): the process or its node is gone",
			(long long)settings.dead_s);
		client_lost(peer, why);
	}
	if (now_ns - last_ns < dead_ns / 3 || peer->pinged)
		return;
	void *buffer = client.ops->request_buffer(peer->link);
	if (!buffer)
		return;
	struct pending *pending = client_pending(peer, PENDING_REQUEST, NULL);
	struct wire_request head = {
		.op = WIRE_PING, .id = pending->id, .from = (uint32_t)job.rank};
	peer->pinged = true;
	client_request_post(peer, buffer, wire_encode(buffer, &head, NULL));
	client.ops->kick(peer->link);
}

void client_step(struct peer *peer, struct patience *patience)
{
	if (client_poll()) {
		patience->since_ns = 0;
		return;
	}
	int64_t now_ns = wait_now_ns();
	if (patience->since_ns == 0)
		patience->since_ns = now_ns;
	if (now_ns - patience->since_ns < settings.poll_us * 1000) {
		cpu_pause();
		return;
	}
	/* Who is to take our message may wait until we take his. */
	if (!client.draining)
		mbox_serve();
	client.ops->kick(peer->link);
	client.ops->sleep(client.transport, client.messages ? 1 : 200);
	watch(peer, patience->since_ns);
}

void remote_watch(int rank, int64_t since_ns)
{
	if (!client.ops || !gate_try_enter("a wait"))
		return;
	client_poll();
	if (rank >= 0 && !job_is_near(rank) &&
	    wait_now_ns() - since_ns > settings.dead_s * 1000000000 / 3)
		watch(client_peer(job.node_of[rank]), since_ns);
	gate_leave();
}

void *client_request_buffer(struct peer *peer)
{
	struct patience patience = {0};
	void *buffer;
	while (!(buffer = client.ops->request_buffer(peer->link)))
		client_step(peer, &patience);
	return buffer;
}

void client_request_post(struct peer *peer, void *buffer, size_t bytes)
{
	struct patience patience = {0};
	int rc;
	client.stats.requests++;
	while ((rc = client.ops->post_request(peer->link, buffer, bytes)) == -EAGAIN)
		client_step(peer, &patience);
	if (rc < 0)
		client_lost(peer, client.ops->link_fault(peer->link));
}

void client_ask(struct peer *peer, struct wire_request *head, struct result *result)
{
	void *buffer = client_request_buffer(peer);
	struct pending *pending = client_pending(peer, PENDING_REQUEST, NULL);
	pending->result = result;
	head->id = pending->id;
	head->from = (uint32_t)job.rank;
	client_request_post(peer, buffer, wire_encode(buffer, head, NULL));
	client.ops->kick(peer->link);
	struct patience patience = {0};
	while (!result->done)
		client_step(peer, &patience);
}

struct peer *client_peer(int node)
{
	struct peer *peer = &client.peers[node];
	if (peer->link)
		return peer;
	struct err err = ERR_INIT;
	int rc = client.ops->link_open(client.transport, peer->address, peer->address_bytes,
				       (int)settings.dead_s * 1000, &peer->link, &err);
	if (rc < 0)
		client_lost(peer, err.msg);
	peer->heard_ns = wait_now_ns();
	client.stats.links++;
	return peer;
}

int peers_open(struct err *err)
{
	client.peers = calloc((size_t)job.node_count, sizeof *client.peers);
	if (!client.peers)
		return err_set(err, ENOMEM, "out of memory for %d nodes", job.node_count);
	return 0;
}

void peers_close(void)
{
	for (int i = 0; client.peers && i < job.node_count; i++) {
		if (client.peers[i].link)
			client.ops->link_close(client.peers[i].link);
		free(client.peers[i].keys);
	}
	free(client.peers);
	client.peers = NULL;
	for (uint32_t i = 0; i < chunk_count; i++)
		free(chunks[i]);
	chunk_count = 0;
	free_list = NULL;
}
