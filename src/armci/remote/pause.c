/* SPDX-License-Identifier: BSD-3-Clause */
/* What is between nodes, taken down and set up again while the application keeps its state. */
#include "armci/remote/pause.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "armci/core/job.h"
#include "armci/core/wait.h"
#include "armci/remote/client.h"
#include "armci/remote/keys.h"
#include "armci/remote/serve.h"

enum { RETRY_NS = 20000000 };

/* A peer that something is under way to. */
static struct peer *busy_peer(void)
{
	struct peer *linked = NULL;

	for (int i = 0; i < job.node_count; i++) {
		struct peer *peer = &client.peers[i];

		if (peer->local || peer->requests)
			return peer;
		if (peer->link)
			linked = peer;
	}
	return linked;
}

void remote_drain_begin(void)
{
	if (client.ops)
		serve_drain(true);
}

int remote_drain(int64_t deadline_ns, struct err *err)
{
	/* Outlives a drain that ran out of time. */
	static struct remote_handle flushes;
	struct patience patience = {0};

	if (!client.ops)
		return 0;
	client.draining = true;
	for (int i = 0; i < job.node_count; i++)
		if (client.peers[i].link)
			client_flush(&client.peers[i], &flushes, NULL);
	while (client.under_way) {
		struct peer *peer = busy_peer();

		if (wait_now_ns() >= deadline_ns)
			return err_set(err, ETIMEDOUT,
				       "%u operations are not complete; one is at rank %d",
				       client.under_way, peer->server);
		client_step(peer, &patience);
	}
	return 0;
}

void remote_undrain(void)
{
	if (!client.ops)
		return;
	client.draining = false;
	serve_drain(false);
}

void remote_release(void)
{
	if (!client.ops)
		return;
	serve_stop();
	for (int i = 0; i < job.node_count; i++) {
		struct peer *peer = &client.peers[i];

		if (!peer->link)
			continue;
		client.ops->link_close(peer->link);
		peer->link = NULL;
		peer->pinged = false;
		memset(peer->keys, 0, peer->regions * sizeof *peer->keys);
	}
	keys_release();
	client.ops->close(client.transport);
	client.transport = NULL;
	client.stats.links = 0;
}

/* The device may still be on its way. */
static int open_until(int64_t deadline_ns, struct err *err)
{
	for (;;) {
		int rc = client_transport_open(client.ops, err);

		if (rc == 0 || wait_now_ns() >= deadline_ns)
			return rc;
		nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
	}
}

int remote_reopen(int64_t deadline_ns, struct err *err)
{
	int rc;

	if (!client.ops)
		return 0;
	rc = open_until(deadline_ns, err);
	if (rc < 0)
		return rc;
	rc = serve_start(err);
	if (rc < 0) {
		client.ops->close(client.transport);
		client.transport = NULL;
	}
	return rc;
}

size_t remote_card(void *ret_card)
{
	return client.ops ? client.ops->address(client.transport, ret_card) : 0;
}

int remote_connect(remote_card_fn *card, void *arg, struct err *err)
{
	for (int i = 0; client.ops && i < job.node_count; i++) {
		struct peer *peer = &client.peers[i];
		size_t bytes;
		const void *address;

		if (i == job.node)
			continue;
		address = card(arg, peer->server, &bytes);
		if (!address || bytes == 0 || bytes > TRANSPORT_ADDRESS_MAX)
			return err_set(err, EADDRNOTAVAIL,
				       "the address of rank %d (node %d) is not known",
				       peer->server, peer->node);
		memcpy(peer->address, address, bytes);
		peer->address_bytes = bytes;
	}
	return 0;
}
