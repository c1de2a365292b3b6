/* SPDX-License-Identifier: BSD-3-Clause */
/* Latency and bandwidth of a transport between two processes, polling and sleeping; rank 0
 * measures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "armci/core/settings.h"
#include "base/clock.h"
#include "transport_peer.h"

extern const struct transport_ops transport_verbs __attribute__((weak));
extern const struct transport_ops transport_ofi __attribute__((weak));

enum { ROUNDS_MAX = 100000, WINDOW = 16, BLOCK = 64 << 10, BLOCKS = 200 };

static double times_us[ROUNDS_MAX];

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void get(struct peer *peer)
{
	int done = 0;

	peer_read(peer, 1, peer->window, 0, 8, &done);
	peer_wait(peer, &done, 1, "get");
}

static void put_flush(struct peer *peer)
{
	uint64_t value = 1;
	int done = 0;

	peer_write(peer, 1, &value, 0, sizeof(value), NULL);
	peer_flush(peer, 1, &done);
	peer_wait(peer, &done, 1, "put and flush");
}

static void request(struct peer *peer)
{
	peer_request(peer, 1, OP_ECHO, 0, 8);
	peer_wait_answers(peer, 1, peer->sent[1]);
}

static void latency(struct peer *peer, const char *name, void (*run)(struct peer *peer),
		    int rounds)
{
	double sum = 0;

	run(peer);
	for (int i = 0; i < rounds; i++) {
		int64_t begin = clock_mono_ns();

		run(peer);
		times_us[i] = (double)(clock_mono_ns() - begin) / 1e3;
		sum += times_us[i];
	}
	qsort(times_us, (size_t)rounds, sizeof(times_us[0]), compare);
	printf("%-10s %-8s %10.1f us least, %10.1f median, %10.1f mean\n", name,
	       peer->sleepy ? "sleeping" : "polling", times_us[0], times_us[rounds / 2],
	       sum / rounds);
	fflush(stdout);
}

static void bandwidth(struct peer *peer, const char *name, bool writes)
{
	int64_t begin = clock_mono_ns();
	int done = 0;

	for (int i = 0; i < BLOCKS; i++) {
		uint64_t offset = peer_big(peer) + (uint64_t)(i % WINDOW) * BLOCK;

		if (i >= WINDOW)
			while (done < i - WINDOW + 1)
				peer_progress(peer);
		if (writes)
			peer_write(peer, 1, peer->window + offset, offset, BLOCK, &done);
		else
			peer_read(peer, 1, peer->window + offset, offset, BLOCK, &done);
	}
	peer_wait(peer, &done, BLOCKS, name);
	printf("%-10s %-8s %10.1f MB/s\n", name, peer->sleepy ? "sleeping" : "polling",
	       (double)BLOCK * BLOCKS / 1e6 / ((double)(clock_mono_ns() - begin) / 1e9));
	fflush(stdout);
}

static void measure(struct peer *peer, int rounds)
{
	for (int sleepy = 0; sleepy < 2; sleepy++) {
		peer->sleepy = sleepy;
		latency(peer, "get", get, rounds);
		latency(peer, "put+flush", put_flush, rounds);
		latency(peer, "request", request, rounds);
		bandwidth(peer, "write", true);
		bandwidth(peer, "read", false);
	}
}

int main(int argc, char *argv[])
{
	static struct peer peer = {.size = 2};
	struct err err = ERR_INIT;
	uint16_t port;
	int listener = -1, rounds;

	if (argc != 6) {
		fputs("usage: bench_transport verbs|ofi RANK HOST PORT ROUNDS\n", stderr);
		return 2;
	}
	peer.ops = strcmp(argv[1], "verbs") == 0 ? &transport_verbs : &transport_ofi;
	peer.rank = atoi(argv[2]);
	port = (uint16_t)atoi(argv[4]);
	rounds = atoi(argv[5]);
	if (!peer.ops || rounds < 1 || rounds > ROUNDS_MAX)
		return 2;
	if (peer.rank == 0)
		listener = meet_listen(port, &port);
	meet_open(&peer.meet, peer.rank, 2, listener, argv[3], port);
	peer_require(&peer, settings_read(&err) == 0, "%s", err.msg);
	peer_window(&peer);
	memset(peer.window, 1, peer.window_bytes);
	peer_open(&peer);
	peer_exchange(&peer);
	if (peer.rank == 0)
		measure(&peer, rounds);
	meet_barrier(&peer.meet);
	peer_close(&peer);
	meet_close(&peer.meet);
	return 0;
}
