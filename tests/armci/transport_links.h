/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of links that come and go, and what they share with the others. */
#ifndef STASIS_TESTS_ARMCI_TRANSPORT_LINKS_H
#define STASIS_TESTS_ARMCI_TRANSPORT_LINKS_H

#include "transport_peer.h"

/* Test data of this process, where the device may read and write it. */
static inline char *scratch(struct peer *peer)
{
	return peer->window + peer_slot(peer->rank);
}

static inline void barrier(struct peer *peer)
{
	meet_barrier(&peer->meet);
}

/* In test_transport.c. */
void write_and_read(struct peer *peer, int to, uint32_t bytes, uint64_t seed);
void test_requests(struct peer *peer);

void test_reconnect(struct peer *peer);
void test_reopen(struct peer *peer);
void test_open_close(struct peer *peer);
void test_outside(struct peer *peer);
void test_dead_peer(struct peer *peer); /* the last one: a rank vanishes */

#endif
