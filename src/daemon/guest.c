/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon asks of the agents of a whole cluster: identity, clock, files. */
#include "daemon/guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/parallel.h"

enum { ENTROPY_BYTES = 32 };

struct guest_work {
	struct cluster *cluster;
	int timeout_ms;
};

static void entropy_hex(char ret_hex[2 * ENTROPY_BYTES + 1])
{
	unsigned char bytes[ENTROPY_BYTES];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		abort();
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", bytes[i]);
}

static json_t *peers_json(const struct cluster *cluster)
{
	json_t *peers = json_array();

	for (unsigned int i = 0; i < cluster->spec.vms; i++)
		json_array_append_new(peers, json_pack("{s:s,s:s,s:i}", "name",
						       cluster->nodes[i].config.name, "address",
						       cluster->nodes[i].address, "slots",
						       (int)cluster->spec.slots));
	return peers;
}

static int configure_one(size_t index, void *arg, struct err *err)
{
	const struct guest_work *work = arg;
	struct cluster *cluster = work->cluster;
	struct node *node = &cluster->nodes[index];
	char entropy[2 * ENTROPY_BYTES + 1], mac[18], address[16];
	unsigned int prefix;
	int rc = spec_address(&cluster->spec, (unsigned int)index, address, &prefix, err);

	if (rc < 0)
		return rc;
	entropy_hex(entropy);
	snprintf(mac, sizeof(mac), "52:54:00:77:%02x:%02x", (unsigned int)(index >> 8) & 0xff,
		 (unsigned int)index & 0xff);
	return node_ask(node,
			json_pack("{s:s,s:s,s:i,s:s,s:s,s:i,s:i,s:s,s:I,s:o,s:b}", "op",
				  "configure", "name", node->config.name, "index", (int)index,
				  "mac", mac, "address", address, "prefix", (int)prefix, "mtu",
				  (int)cluster->spec.mtu, "entropy", entropy, "realtime_ns",
				  (json_int_t)clock_real_ns(), "peers", peers_json(cluster),
				  "rdma", (int)cluster->spec.rdma),
			work->timeout_ms, NULL, err);
}

int guest_configure_all(struct cluster *cluster, int timeout_ms, struct err *err)
{
	struct guest_work work = {.cluster = cluster, .timeout_ms = timeout_ms};

	return parallel_each(cluster->spec.vms, configure_one, &work, err);
}

static int clock_one(size_t index, void *arg, struct err *err)
{
	const struct guest_work *work = arg;
	char entropy[2 * ENTROPY_BYTES + 1];

	entropy_hex(entropy);
	return node_ask(&work->cluster->nodes[index],
			json_pack("{s:s,s:I,s:s}", "op", "clock.set", "realtime_ns",
				  (json_int_t)clock_real_ns(), "entropy", entropy),
			work->timeout_ms, NULL, err);
}

int guest_set_clocks(struct cluster *cluster, int timeout_ms, struct err *err)
{
	struct guest_work work = {.cluster = cluster, .timeout_ms = timeout_ms};

	return parallel_each(cluster->spec.vms, clock_one, &work, err);
}
