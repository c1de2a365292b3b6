/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing what lies between nodes: choice of the transport, addresses, the service
 * thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "armci/core/gate.h"
#include "armci/core/job.h"
#include "armci/core/settings.h"
#include "armci/remote/bounce.h"
#include "armci/remote/client.h"
#include "armci/remote/keys.h"
#include "armci/remote/serve.h"
#include "armci/shm/arena.h"

/* What each rank tells all others once. */
struct card {
	uint64_t arena_bytes;
	uint64_t region_bytes;
	uint64_t address_bytes;
	uint8_t address[TRANSPORT_ADDRESS_MAX];
};

/* The rank of `node` that serves the rank which has this place in its own node. */
static int server_of(int node, int place)
{
	return job_member(node, place % job_node_size(node));
}

/* How many processes of other nodes have me as their server. */
static int my_clients(void)
{
	int count = 0;
	for (int rank = 0; rank < job.size; rank++)
		count += job.node_of[rank] != job.node &&
			 server_of(job.node, job.node_rank_of[rank]) == job.rank;
	return count;
}

/* Collective: true if every rank says so. */
static bool everybody(bool here)
{
	int mine = here, all = 0;
	MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MIN, job.comm);
	return all;
}

int client_transport_open(const struct transport_ops *ops, struct err *err)
{
	struct transport_config config = {.clients = my_clients(),
					  .message_bytes = (size_t)settings.message_bytes,
					  .credits = (int)settings.credits,
					  .client_id = (uint32_t)job.rank};
	int rc = ops->open(&config, &client.transport, err);
	if (rc < 0) {
		client.transport = NULL;
		return rc;
	}
	client.inline_bytes = ops->inline_bytes(client.transport);
	client.atomics = ops->atomics_coherent(client.transport);
	ops->describe(client.transport, client.stats.transport, sizeof client.stats.transport);
	return 0;
}

/* Open one kind of transport on all ranks, or on none. */
static int open_kind(const struct transport_ops *ops, struct err *err)
{
	int rc = client_transport_open(ops, err);
	if (everybody(rc == 0)) {
		client.ops = ops;
		return 0;
	}
	if (rc == 0) {
		ops->close(client.transport);
		rc = err_set(err, ENODEV, "another rank could not open %s", ops->name);
	}
	client.transport = NULL;
	return rc;
}

static int open_transport(struct err *err)
{
	const char *name = settings.transport;
	bool automatic = strcmp(name, "auto") == 0;
	if (automatic || strcmp(name, "verbs") == 0) {
		int rc = open_kind(&transport_verbs, err);
		if (rc == 0 || !automatic)
			return rc;
	}
	if (automatic || strcmp(name, "ofi") == 0)
		return open_kind(&transport_ofi, err);
	return err_set(err, EINVAL, "STASIS_ARMCI_TRANSPORT=%s: verbs, ofi or auto are known",
		       name);
}

static int exchange(struct err *err)
{
	struct card mine = {.arena_bytes = arena.bytes,
			    .region_bytes = (uint64_t)settings.region_bytes};
	mine.address_bytes = client.ops->address(client.transport, mine.address);
	struct card *cards = calloc((size_t)job.size, sizeof *cards);
	if (!everybody(cards != NULL)) {
		free(cards);
		return err_set(err, ENOMEM, "out of memory for the addresses of %d ranks",
			       job.size);
	}
	MPI_Allgather(&mine, sizeof mine, MPI_BYTE, cards, sizeof mine, MPI_BYTE, job.comm);
	int rc = 0;
	for (int node = 0; node < job.node_count && rc == 0; node++) {
		struct peer *peer = &client.peers[node];
		if (node == job.node)
			continue;
		const struct card *card = &cards[server_of(node, job.node_rank)];
		peer->node = node;
		peer->server = server_of(node, job.node_rank);
		peer->region_bytes = card->region_bytes;
		peer->regions =
			(card->arena_bytes + card->region_bytes - 1) / card->region_bytes;
		peer->address_bytes = card->address_bytes;
		memcpy(peer->address, card->address, sizeof peer->address);
		peer->keys = calloc(peer->regions, sizeof *peer->keys);
		if (!peer->keys)
			rc = err_set(err, ENOMEM, "out of memory for keys of node %d", node);
	}
	free(cards);
	return rc;
}

int remote_open(struct err *err)
{
	if (job.node_count == 1)
		return 0;
	int rc = peers_open(err);
	if (rc == 0)
		rc = open_transport(err);
	if (rc < 0)
		goto fail;
	client.message_bytes = (size_t)settings.message_bytes;
	if ((rc = keys_open(err)) < 0 || (rc = bounce_open(err)) < 0 ||
	    (rc = exchange(err)) < 0 || (rc = serve_start(err)) < 0)
		goto fail;
	return 0;
fail:
	bounce_close();
	if (client.ops)
		keys_close();
	peers_close();
	if (client.transport)
		client.ops->close(client.transport);
	client = (struct remote_client){0};
	return rc;
}

void remote_quiesce(void)
{
	if (!client.ops)
		return;
	gate_enter("the end");
	for (int i = 0; i < job.node_count; i++) {
		struct patience patience = {0};
		while (client.peers[i].requests)
			client_step(&client.peers[i], &patience);
	}
	gate_leave();
	/* Nobody's server goes before the last answer is with its client. */
	MPI_Barrier(job.comm);
}

void remote_close(void)
{
	if (!client.ops)
		return;
	serve_stop();
	serve_close();
	peers_close();
	bounce_close();
	keys_close();
	client.ops->close(client.transport);
	client = (struct remote_client){0};
}

void remote_stats(struct remote_stats *ret_stats)
{
	*ret_stats = client.stats;
}
