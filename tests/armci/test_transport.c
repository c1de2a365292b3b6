/* SPDX-License-Identifier: BSD-3-Clause */
/* Conformance of a transport: what transport.h promises, between processes of one machine or of
 * several. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "armci/core/settings.h"
#include "base/clock.h"
#include "transport_links.h"
#include "transport_peer.h"

/* The program tests whichever of them it was linked with. */
extern const struct transport_ops transport_verbs __attribute__((weak));
extern const struct transport_ops transport_ofi __attribute__((weak));

enum { SIZES = 12, STORM = 4000, ROUNDS = 200, REQUESTS = 400, ADDS = 500 };

static const uint32_t sizes[SIZES] = {1, 7, 8, 63, 64, 65, 255, 1000, 4096, 4097, 30001, 60000};

/* ---- descriptions ---- */

static void test_describe(struct peer *peer)
{
	static const char *const garbage[] = {"", "x", "a long line that is nobody's address"};
	char text[256] = "", tiny[8] = "";

	peer->ops->describe(peer->transport, text, sizeof(text));
	peer_check(peer, strlen(text) > 8, "describe says \"%s\"", text);
	if (peer->rank == 0)
		printf("# %s\n", text);
	peer->ops->describe(peer->transport, tiny, sizeof(tiny));
	peer_check(peer, strlen(tiny) < sizeof(tiny), "describe overruns");
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++)
		peer_no_link(peer, garbage[i], strlen(garbage[i]), "garbage");
	for (uint32_t cut = 1; cut < peer->cards[0].bytes; cut += 5)
		peer_no_link(peer, peer->cards[0].address, cut, "half an address");
}

/* ---- memory ---- */

void write_and_read(struct peer *peer, int to, uint32_t bytes, uint64_t seed)
{
	char *from = scratch(peer), *back = from + SLOT_BYTES / 2;
	uint64_t far = peer_slot(peer->rank);
	size_t half = SLOT_BYTES / 2 - 8;
	uint32_t n = bytes < half ? bytes : (uint32_t)half;
	int done = 0;

	pattern_fill(from, n, seed);
	memset(back, 0x77, n);
	peer_write(peer, to, from, far + 3, n, &done);
	peer_flush(peer, to, &done);
	peer_read(peer, to, back, far + 3, n, &done);
	peer_wait(peer, &done, 3, "write, flush, read");
	peer_check(peer, pattern_wrong(back, n, seed) < 0,
		   "%u bytes of rank %d are wrong at %ld", n, to, pattern_wrong(back, n, seed));
}

static void test_write_read(struct peer *peer)
{
	for (int step = 1; step < peer->size; step++) {
		int to = (peer->rank + step) % peer->size;

		for (int i = 0; i < SIZES; i++)
			write_and_read(peer, to, sizes[i], (uint64_t)(peer->rank * 100 + i));
		barrier(peer);
	}
}

/* Writes from memory that is not registered: the data are taken before the call returns. */
static void test_inline(struct peer *peer)
{
	size_t most = peer->ops->inline_bytes(peer->transport);
	int to = (peer->rank + 1) % peer->size, done = 0;
	char local[4096], *back = scratch(peer);

	if (most > sizeof(local))
		most = sizeof(local);
	peer_check(peer, most >= 8, "not even a word can be written from anywhere");
	for (size_t n = 1; n <= most; n++) {
		pattern_fill(local, n, n);
		peer_write(peer, to, local, peer_slot(peer->rank) + SLOT_BYTES / 2, n, NULL);
		memset(local, 0, n);
		peer_read(peer, to, back, peer_slot(peer->rank) + SLOT_BYTES / 2, n, &done);
		peer_wait(peer, &done, (int)n, "read of an inline write");
		if (!peer_check(peer, pattern_wrong(back, n, n) < 0, "inline of %zu is wrong",
				n))
			return;
	}
}

static void test_order_write_read(struct peer *peer)
{
	uint64_t *value = (uint64_t *)scratch(peer), *back = value + 1024;
	int to = (peer->rank + 1) % peer->size;
	uint64_t far = peer_slot(peer->rank);
	int done = 0;

	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t bytes = 8 + i % 7 * 1024; /* the last word of a longer write, too */

		value[bytes / 8 - 1] = i + 1;
		peer_write(peer, to, value, far, bytes, NULL);
		peer_read(peer, to, back, far + bytes - 8, 8, &done);
		peer_wait(peer, &done, (int)i + 1, "read");
		if (!peer_check(peer, *back == i + 1, "a read overtakes a write"))
			return;
	}
}

static void test_order_write_request(struct peer *peer)
{
	uint64_t *value = (uint64_t *)scratch(peer);
	int to = (peer->rank + 1) % peer->size;
	uint64_t far = peer_slot(peer->rank);

	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t words = 1 + i % 5 * 700;

		for (uint64_t k = 0; k < words; k++)
			value[k] = i << 32 | k;
		peer_write(peer, to, value, far, words * 8, NULL);
		peer_request(peer, to, OP_PEEK, far + words * 8 - 8, 8);
		peer_wait_answers(peer, to, peer->sent[to]);
		if (!peer_check(peer, memcmp(peer->peeked, &value[words - 1], 8) == 0,
				"a request overtakes a write"))
			return;
	}
}

/* Many small writes without completions, then one flush; then the target's CPU looks. */
static void test_storm(struct peer *peer)
{
	int to = (peer->rank + 1) % peer->size,
	    from = (peer->rank + peer->size - 1) % peer->size;
	const uint64_t *mine = (uint64_t *)(peer->window + peer_slot(from));
	int done = 0, wrong = 0;

	barrier(peer);
	for (uint64_t i = 0; i < STORM; i++) {
		uint64_t word = (uint64_t)peer->rank << 32 | (i + 1);

		peer_write(peer, to, &word, peer_slot(peer->rank) + i * 16, 8, NULL);
	}
	peer_flush(peer, to, &done);
	peer_wait(peer, &done, 1, "flush");
	barrier(peer);
	for (uint64_t i = 0; i < STORM; i++)
		wrong += mine[i * 2] != ((uint64_t)from << 32 | (i + 1));
	peer_check(peer, wrong == 0, "%d of %d writes are not there after a flush", wrong,
		   STORM);
	barrier(peer);
}

/* Writes with completions, more than any queue holds. */
static void test_queue_full(struct peer *peer)
{
	int to = (peer->rank + 1) % peer->size, done = 0;

	for (int i = 0; i < STORM; i++)
		peer_write(peer, to, scratch(peer), peer_slot(peer->rank), 256, &done);
	peer_wait(peer, &done, STORM, "writes");
	for (int i = 0; i < STORM; i++)
		peer_read(peer, to, scratch(peer), peer_slot(peer->rank), 256, &done);
	peer_wait(peer, &done, 2 * STORM, "reads");
}

static void test_big(struct peer *peer)
{
	int to = (peer->rank + 1) % peer->size,
	    from = (peer->rank + peer->size - 1) % peer->size;
	size_t half = BIG_BYTES / 2, odd = half - 5;
	char *here = peer->window + peer_big(peer);
	int done = 0;

	/* Into the neighbour's lower half, from there back into the own upper half. */
	pattern_fill(here + half, odd, (uint64_t)peer->rank);
	barrier(peer);
	peer_write(peer, to, here + half, peer_big(peer) + 1, odd, NULL);
	peer_flush(peer, to, &done);
	peer_wait(peer, &done, 1, "flush of a big write");
	memset(here + half, 0, odd);
	peer_read(peer, to, here + half, peer_big(peer) + 1, odd, &done);
	peer_wait(peer, &done, 2, "a big read");
	peer_check(peer, pattern_wrong(here + half, odd, (uint64_t)peer->rank) < 0,
		   "a big read is wrong at byte %ld",
		   pattern_wrong(here + half, odd, (uint64_t)peer->rank));
	barrier(peer);
	peer_check(peer, pattern_wrong(here + 1, odd, (uint64_t)from) < 0,
		   "a big write is wrong");
}

/* ---- requests ---- */

void test_requests(struct peer *peer)
{
	for (int i = 0; i < REQUESTS; i++)
		for (int step = 1; step < peer->size; step++) {
			int to = (peer->rank + step) % peer->size;
			uint32_t most = MESSAGE_BYTES - sizeof(struct message);
			uint32_t bytes = i % 50 == 0 ? most : (uint32_t)(i * 37 + step) % 600;

			peer_request(peer, to, OP_ECHO, 0, bytes);
		}
	for (int to = 0; to < peer->size; to++)
		if (to != peer->rank)
			peer_wait_answers(peer, to, peer->sent[to]);
}

static void test_credits(struct peer *peer)
{
	int to = (peer->rank + 1) % peer->size;

	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < CREDITS - 1; i++)
			peer_request(peer, to, OP_HOLD, 0, 100);
		peer_check(peer, peer->answered[to] + CREDITS == peer->sent[to] + 1,
			   "held requests are answered");
		peer_request(peer, to, OP_RELEASE, 0, 100);
		peer_check(peer, !peer->ops->request_buffer(peer->links[to]),
			   "more requests than credits");
		peer_wait_answers(peer, to, peer->sent[to]);
	}
}

static void test_fetch_add(struct peer *peer)
{
	uint64_t *old = (uint64_t *)scratch(peer), last = 0;
	int to = (peer->rank + 1) % peer->size, done = 0;
	const _Atomic uint64_t *counter = (const _Atomic uint64_t *)peer->window;

	if (!peer->ops->atomics_coherent(peer->transport)) {
		peer_check(peer,
			   peer->ops->post_fetch_add(peer_link(peer, to), old, peer->region,
						     peer->cards[to].key, 0, 1,
						     NULL) == -EOPNOTSUPP,
			   "an atomic is posted where atomics are not coherent");
		return;
	}
	*(uint64_t *)peer->window = 0;
	barrier(peer);
	for (int i = 0; i < ADDS; i++) {
		int rc;

		peer_request(peer, to, OP_ADD, 1000000, 8);
		while ((rc = peer->ops->post_fetch_add(peer_link(peer, to), old, peer->region,
						       peer->cards[to].key, 0, 1, &done)) ==
		       -EAGAIN)
			peer_progress(peer);
		peer_require(peer, rc == 0, "fetch and add: %d", rc);
		peer_wait(peer, &done, i + 1, "fetch and add");
		peer_check(peer, i == 0 || *old > last, "an old value goes back");
		last = *old;
	}
	peer_wait_answers(peer, to, peer->sent[to]);
	barrier(peer);
	peer_check(peer, atomic_load(counter) == ADDS * 1000001ULL,
		   "the counter is %lu, not %llu", atomic_load(counter), ADDS * 1000001ULL);
}

/* ---- sleeping ---- */

static void test_sleep(struct peer *peer)
{
	int64_t deadline = deadline_in_ms(WAIT_SECONDS * 1000), begin;
	unsigned int wakes = atomic_load(&peer->wakes);
	int done = 0, returns = 0;

	barrier(peer);
	begin = clock_mono_ns();
	for (; clock_mono_ns() - begin < 500 * NS_PER_MS; returns++) {
		peer->ops->sleep(peer->transport, 100);
		peer_progress(peer);
	}
	/* It may return early now and then, but processor time is no measure: a VM may be given
	 * little. */
	peer_check(peer, returns < 50, "sleep returns %d times in 0.5 s with nothing to do",
		   returns);
	barrier(peer);
	do { /* it may have been awake when it was woken */
		peer->ops->serve_wake(peer->transport);
		nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
	} while (atomic_load(&peer->wakes) == wakes && clock_mono_ns() < deadline);
	peer_check(peer, atomic_load(&peer->wakes) != wakes, "serve_wake does not wake");
	barrier(peer);
	peer->sleepy = true; /* every wait from here to the end of the test ends by an event */
	test_order_write_request(peer);
	test_order_write_read(peer);
	test_requests(peer);
	test_storm(peer);
	write_and_read(peer, (peer->rank + 1) % peer->size, 60000, 5);
	peer_write(peer, (peer->rank + 1) % peer->size, scratch(peer), peer_slot(peer->rank), 9,
		   &done);
	peer_wait(peer, &done, 1, "a write that is slept for");
	peer->sleepy = false;
}

/* ---- running ---- */

struct test {
	const char *name;
	void (*run)(struct peer *peer);
};

static const struct test tests[] = {
	{"describe", test_describe},
	{"write_read", test_write_read},
	{"inline", test_inline},
	{"order_write_read", test_order_write_read},
	{"order_write_request", test_order_write_request},
	{"storm", test_storm},
	{"queue_full", test_queue_full},
	{"big", test_big},
	{"requests", test_requests},
	{"credits", test_credits},
	{"fetch_add", test_fetch_add},
	{"sleep", test_sleep},
	{"reconnect", test_reconnect},
	{"reopen", test_reopen},
	{"open_close", test_open_close},
	{"outside", test_outside},
	{"dead_peer", test_dead_peer},
};

/* The failures of all ranks since the last call. */
static int failures_of_all(struct peer *peer)
{
	int mine = atomic_exchange(&peer->failures, 0), all[MEET_RANKS_MAX], sum = 0;

	meet_gather(&peer->meet, &mine, sizeof(mine), all);
	for (int i = 0; i < peer->meet.size; i++)
		sum += all[i];
	return sum;
}

static int run_tests(struct peer *peer, const char *only)
{
	int passed = 0, failed = 0;
	struct err err = ERR_INIT;

	peer_require(peer, settings_read(&err) == 0, "%s", err.msg);
	peer_window(peer);
	peer_open(peer);
	peer_exchange(peer);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		int64_t begin = clock_mono_ns();
		bool good;

		if (only && !strstr(tests[i].name, only))
			continue;
		tests[i].run(peer);
		good = failures_of_all(peer) == 0;
		passed += good;
		failed += !good;
		if (peer->rank == 0)
			printf("%-24s %s (%.2f s)\n", tests[i].name, good ? "ok" : "FAILED",
			       (double)(clock_mono_ns() - begin) / 1e9);
		fflush(stdout);
	}
	peer_close(peer);
	if (peer->rank == 0)
		printf("%d passed, %d failed, 0 skipped\n", passed, failed);
	meet_close(&peer->meet);
	free(peer->cards);
	free(peer->held);
	return failed || !passed;
}

struct options {
	const struct transport_ops *ops;
	const char *only, *host;
	int rank, size;
	uint16_t port;
};

static int run_rank(const struct options *options, int rank, int listener, uint16_t port)
{
	static struct peer peer;

	peer.ops = options->ops;
	peer.rank = rank;
	peer.size = options->size;
	meet_open(&peer.meet, rank, options->size, listener, options->host, port);
	return run_tests(&peer, options->only);
}

/* All ranks here. The last one is killed by its own hand, which is no failure. */
static int run_local(const struct options *options)
{
	pid_t pids[MEET_RANKS_MAX];
	uint16_t port;
	int listener = meet_listen(0, &port), bad = 0;

	fflush(NULL);
	for (int rank = 0; rank < options->size; rank++) {
		pids[rank] = fork();
		if (pids[rank] == 0)
			exit(run_rank(options, rank, rank ? -1 : listener, port));
	}
	close(listener);
	for (int rank = 0; rank < options->size; rank++) {
		int status;

		waitpid(pids[rank], &status, 0);
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
		    rank == options->size - 1)
			continue;
		if (status != 0) {
			fprintf(stderr, "rank %d ended with status %#x\n", rank, status);
			bad = 1;
		}
	}
	return bad;
}

static int usage(void)
{
	fputs("usage: test_transport verbs|ofi [--ranks N] [--only NAME]        all ranks here\n"
	      "       test_transport verbs|ofi --rank R --ranks N --meet HOST:PORT [--only NAME]\n",
	      stderr);
	return 2;
}

static bool parse(struct options *options, int argc, char *argv[])
{
	*options = (struct options){.rank = -1, .size = 3, .host = "127.0.0.1"};
	if (argc < 2)
		return false;
	if (strcmp(argv[1], "verbs") != 0 && strcmp(argv[1], "ofi") != 0)
		return false;
	options->ops = strcmp(argv[1], "verbs") == 0 ? &transport_verbs : &transport_ofi;
	for (int i = 2; i + 1 < argc; i += 2) {
		char *value = argv[i + 1], *colon = strrchr(value, ':');

		if (strcmp(argv[i], "--rank") == 0)
			options->rank = atoi(value);
		else if (strcmp(argv[i], "--ranks") == 0)
			options->size = atoi(value);
		else if (strcmp(argv[i], "--only") == 0)
			options->only = value;
		else if (strcmp(argv[i], "--meet") == 0 && colon) {
			*colon = 0;
			options->host = value;
			options->port = (uint16_t)atoi(colon + 1);
		} else
			return false;
	}
	return argc % 2 == 0 && options->size >= 2 && options->size <= MEET_RANKS_MAX &&
	       options->rank < options->size && (options->rank < 0 || options->port);
}

int main(int argc, char *argv[])
{
	struct options options;
	int listener = -1;

	if (!parse(&options, argc, argv))
		return usage();
	if (!options.ops) {
		printf("the %s transport is not built\n0 passed, 0 failed, 1 skipped\n",
		       argv[1]);
		return 0;
	}
	if (options.rank < 0)
		return run_local(&options);
	if (options.rank == 0)
		listener = meet_listen(options.port, &options.port);
	return run_rank(&options, options.rank, listener, options.port);
}
