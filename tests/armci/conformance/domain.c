/* SPDX-License-Identifier: BSD-3-Clause */
/* Domains: every rank is in one, they are runs of consecutive ranks of one node, and all
 * queries agree about which. */
#include <stdlib.h>
#include <string.h>

#include "conf.h"

/* A number that the launcher's settings give, or 0. */
static int setting(const char *name)
{
	const char *value = getenv(name);

	return value != NULL ? atoi(value) : 0;
}

static void test_partition(void)
{
	int nodes = armci_domain_count(ARMCI_DOMAIN_SMP), sum = 0;
	int *times = conf_alloc(sizeof(int) * (size_t)conf_size);

	conf_section("each rank is on one node");
	CHECK(nodes >= 1 && nodes <= conf_size, "%d nodes of %d ranks", nodes, conf_size);
	for (int id = 0; id < nodes; id++) {
		int ranks = armci_domain_nprocs(ARMCI_DOMAIN_SMP, id), before = -1;

		CHECK(ranks >= 1, "node %d has %d ranks", id, ranks);
		sum += ranks;
		for (int i = 0; i < ranks; i++) {
			int rank = armci_domain_glob_proc_id(ARMCI_DOMAIN_SMP, id, i);

			CHECK((i == 0 || rank == before + 1) && rank < conf_size,
			      "rank %d is number %d of domain %d, behind rank %d", rank, i, id,
			      before);
			before = rank;
			times[rank]++;
			CHECK_INT(id, armci_domain_id(ARMCI_DOMAIN_SMP, rank),
				  "node of rank %d", rank);
		}
	}
	CHECK_INT(conf_size, sum, "ranks of all nodes");
	for (int r = 0; r < conf_size; r++)
		CHECK_INT(1, times[r], "nodes that have rank %d", r);
	free(times);
}

static void test_own_node(void)
{
	int id = armci_domain_my_id(ARMCI_DOMAIN_SMP);

	conf_section("one's own node");
	if (!conf_reference())
		CHECK_INT(armci_domain_id(ARMCI_DOMAIN_SMP, conf_rank), id, "my node");
	for (int r = 0; r < conf_size; r++) {
		int same = armci_domain_id(ARMCI_DOMAIN_SMP, r) ==
			   armci_domain_id(ARMCI_DOMAIN_SMP, conf_rank);

		CHECK_INT(same, armci_domain_same_id(ARMCI_DOMAIN_SMP, r),
			  "armci_domain_same_id of rank %d", r);
		if (same)
			CHECK_INT(1, ARMCI_Same_node(r), "ARMCI_Same_node of rank %d", r);
	}
}

/* All ranks have the same picture. */
static void test_agreement(void)
{
	int *least = conf_alloc(sizeof(int) * (size_t)conf_size);
	int *most = conf_alloc(sizeof(int) * (size_t)conf_size);

	conf_section("all ranks have the same picture");
	for (int r = 0; r < conf_size; r++)
		least[r] = most[r] = armci_domain_id(ARMCI_DOMAIN_SMP, r);
	armci_msg_igop(least, conf_size, "min");
	armci_msg_igop(most, conf_size, "max");
	CHECK_BYTES(least, most, sizeof(int) * (size_t)conf_size, "numbers of nodes");
	free(least);
	free(most);
}

/* Where settings group ranks into nodes, queries say so. */
static void test_settings(void)
{
	int per_node = setting("STASIS_ARMCI_NODE_RANKS");

	if (per_node == 0) {
		conf_skip("nodes as the settings say", "STASIS_ARMCI_NODE_RANKS is not set");
		return;
	}
	conf_section("nodes as the settings say");
	CHECK_INT((conf_size + per_node - 1) / per_node, armci_domain_count(ARMCI_DOMAIN_SMP),
		  "nodes of %d ranks with %d each", conf_size, per_node);
	for (int r = 0; r < conf_size; r++)
		CHECK_INT(r / per_node, armci_domain_id(ARMCI_DOMAIN_SMP, r), "node of rank %d",
			  r);
}

/* Where ranks are dealt out to nodes in turn, neighbours are on different nodes. */
static void test_cyclic(void)
{
	int nodes = setting("STASIS_ARMCI_NODES");

	if (nodes == 0) {
		conf_skip("ranks dealt out to nodes", "STASIS_ARMCI_NODES is not set");
		return;
	}
	conf_section("ranks dealt out to nodes");
	CHECK_INT(nodes > 1 ? conf_size : 1, armci_domain_count(ARMCI_DOMAIN_SMP), "domains");
	for (int r = 0; r < conf_size; r++)
		CHECK_INT(r % nodes == conf_rank % nodes, ARMCI_Same_node(r),
			  "ARMCI_Same_node of rank %d", r);
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "domain");
	test_partition();
	test_own_node();
	test_agreement();
	test_settings();
	test_cyclic();
	return conf_end();
}
