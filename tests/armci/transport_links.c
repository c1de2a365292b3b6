/* SPDX-License-Identifier: BSD-3-Clause */
/* Links that come and go, transports that close and open, partners that die. */
#include "transport_links.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

void test_reconnect(struct peer *peer)
{
	for (int i = 0; i < 20; i++)
		for (int step = 1; step < peer->size; step++) {
			int to = (peer->rank + step) % peer->size;

			peer_unlink(peer, to);
			if ((i + peer->rank) % 3 == 0) /* closed with an answer under way */
				peer_request(peer, to, OP_ECHO, 0, 50);
			else
				write_and_read(peer, to, 500, (uint64_t)i);
		}
	for (int to = 0; to < peer->size; to++)
		peer_unlink(peer, to);
	barrier(peer);
}

/* One rank closes and opens again while the others go on; its old address leads nowhere. */
static void reopen(struct peer *peer, int who)
{
	struct card old = peer->cards[who];

	write_and_read(peer, (peer->rank + 1) % peer->size, 600, 1);
	barrier(peer);
	if (peer->rank == who)
		peer_close(peer);
	else
		peer_unlink(peer, who);
	barrier(peer);
	if (peer->rank != who)
		peer_no_link(peer, old.address, old.bytes, "a closed transport");
	for (int to = 0; to < peer->size; to++)
		if (to != peer->rank && to != who && peer->rank != who)
			write_and_read(peer, to, 700, 2);
	if (peer->rank == who)
		peer_open(peer);
	peer_exchange(peer);
	for (int to = 0; to < peer->size; to++)
		if (to != peer->rank)
			write_and_read(peer, to, 800, 3);
	test_requests(peer);
	barrier(peer);
}

void test_reopen(struct peer *peer)
{
	reopen(peer, 0);
	reopen(peer, peer->size - 1);
}

static int fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* Opening and closing, also while others' requests are under way, leaves nothing behind. */
void test_open_close(struct peer *peer)
{
	int to = (peer->rank + 1) % peer->size, before = 0;

	for (int i = 0; i < 5; i++) {
		peer_link(peer, to);
		barrier(peer);
		for (int k = 0; k < CREDITS / 2; k++)
			peer_request(peer, to, OP_ECHO, 0, 200);
		peer_close(peer);
		if (i == 0)
			before = fds_open();
		peer_check(peer, fds_open() <= before, "%d descriptors, %d before", fds_open(),
			   before);
		barrier(peer);
		peer_open(peer);
		peer_exchange(peer);
	}
	test_requests(peer);
	barrier(peer);
}

/* Write until the link is lost; what is said of it. */
static void expect_lost(struct peer *peer, int to, uint64_t offset, const char *what)
{
	struct transport_link *link = peer_link(peer, to);
	int64_t deadline = deadline_in_ms(WAIT_SECONDS * 1000);
	const char *fault;
	int done = 0, rc = 0;

	while (!peer->lost[to] && (rc == 0 || rc == -EAGAIN)) {
		rc = peer->ops->post_write(link, scratch(peer), peer->region,
					   peer->cards[to].key, offset, 64, &done);
		peer->ops->kick(link);
		for (int i = 0; i < 10 && !peer->lost[to]; i++) {
			peer->ops->sleep(peer->transport, 10);
			peer_progress(peer);
		}
		peer_require(peer, clock_mono_ns() < deadline, "%s: not lost after %d s", what,
			     WAIT_SECONDS);
	}
	fault = peer->ops->link_fault(link);
	peer_check(peer, fault && strlen(fault) > 20,
		   "%s: lost, and all that is said is \"%s\"", what, fault ? fault : "");
	if (peer->rank == 0)
		printf("# %s: %s\n", what, fault ? fault : "");
	peer_unlink(peer, to);
}

void test_outside(struct peer *peer)
{
	int to = (peer->rank + 1) % peer->size;

	expect_lost(peer, to, (uint64_t)1 << 40, "a write outside the region");
	barrier(peer);
	write_and_read(peer, to, 900, 4); /* the target is well */
	test_requests(peer);
	barrier(peer);
}

/* The last rank vanishes without a word. The last test. */
void test_dead_peer(struct peer *peer)
{
	int last = peer->size - 1;

	for (int to = 0; to < peer->size; to++)
		if (to != peer->rank)
			peer_request(peer, to, OP_ECHO, 0, 20);
	for (int to = 0; to < peer->size; to++)
		if (to != peer->rank)
			peer_wait_answers(peer, to, peer->sent[to]);
	barrier(peer);
	if (peer->rank == last) {
		fflush(NULL);
		kill(getpid(), SIGKILL);
	}
	meet_drop_last(&peer->meet);
	expect_lost(peer, last, peer_slot(peer->rank), "a rank that was killed");
	peer->size--;
	if (peer->size > 1)
		test_requests(peer);
	barrier(peer);
}
