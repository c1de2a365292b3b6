/* SPDX-License-Identifier: BSD-3-Clause */
/* One process of the transport tests: a window of memory, a service thread that answers, and
 * links to all others. */
#include "transport_peer.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"

enum { POLL_MAX = 8, HELD_MAX = MEET_RANKS_MAX * CREDITS };

__attribute__((format(printf, 2, 0))) static void say(struct peer *peer, const char *fmt,
						      va_list args)
{
	char text[2048];

	vsnprintf(text, sizeof(text), fmt, args);
	fprintf(stderr, "rank %d: %s\n", peer->rank, text);
	atomic_fetch_add(&peer->failures, 1);
}

bool peer_check(struct peer *peer, bool condition, const char *fmt, ...)
{
	va_list args;

	if (condition)
		return true;
	va_start(args, fmt);
	say(peer, fmt, args);
	va_end(args);
	return false;
}

void peer_require(struct peer *peer, bool condition, const char *fmt, ...)
{
	va_list args;

	if (condition)
		return;
	va_start(args, fmt);
	say(peer, fmt, args);
	va_end(args);
	_exit(1);
}

void pattern_fill(void *data, size_t bytes, uint64_t seed)
{
	uint8_t *at = data;

	for (size_t i = 0; i < bytes; i++)
		at[i] = pattern(seed, i);
}

int64_t pattern_wrong(const void *data, size_t bytes, uint64_t seed)
{
	const uint8_t *at = data;

	for (size_t i = 0; i < bytes; i++)
		if (at[i] != pattern(seed, i))
			return (int64_t)i;
	return -1;
}

/* ---- server side ---- */

/* What the sender has put into the payload of its request. */
static uint64_t payload_seed(uint32_t from, uint64_t seq)
{
	return (uint64_t)from << 32 | seq;
}

static void check_request(struct peer *peer, const struct transport_request *request)
{
	const struct message *in = request->data;
	int64_t wrong;

	peer_require(peer, request->bytes >= sizeof(*in) && in->from < MEET_RANKS_MAX,
		     "a request of %zu bytes is damaged", request->bytes);
	if (in->seq == 0)
		peer->expected[in->from] = 0;
	peer_check(peer, in->seq == peer->expected[in->from],
		   "request %lu of rank %u came where %lu was due", in->seq, in->from,
		   peer->expected[in->from]);
	peer->expected[in->from] = in->seq + 1;
	if (in->op == OP_PEEK)
		return;
	peer_require(peer, request->bytes == sizeof(*in) + in->bytes,
		     "a request has %zu bytes, not %zu", request->bytes,
		     sizeof(*in) + in->bytes);
	wrong = pattern_wrong(in->payload, in->bytes, payload_seed(in->from, in->seq));
	peer_check(peer, wrong < 0, "request %lu of rank %u is wrong at byte %ld", in->seq,
		   in->from, wrong);
}

static void answer_fill(struct peer *peer, const struct message *in, struct message *out)
{
	*out = (struct message){
		.op = in->op, .from = (uint32_t)peer->rank, .seq = in->seq, .bytes = in->bytes};
	if (in->op == OP_PEEK) {
		memcpy(out->payload, peer->window + in->offset, in->bytes);
		return;
	}
	for (uint32_t i = 0; i < in->bytes; i++)
		out->payload[i] = (uint8_t)(in->payload[i] + 1);
	if (in->op == OP_ADD)
		__atomic_fetch_add((uint64_t *)peer->window, in->offset, __ATOMIC_SEQ_CST);
}

/* False if it must wait: held back by its sender, or no buffer for the answer is free. */
static bool answer(struct peer *peer, struct transport_request *request)
{
	const struct message *in = request->data;
	struct message *out;

	if (in->op == OP_HOLD && peer->answering[in->from] == 0)
		return false;
	out = peer->ops->answer_buffer(peer->transport, request->from);
	if (!out)
		return false;
	if (in->op == OP_HOLD)
		peer->answering[in->from]--;
	answer_fill(peer, in, out);
	peer->ops->post_answer(peer->transport, request->from, out, sizeof(*out) + out->bytes);
	peer->ops->request_done(peer->transport, request);
	return true;
}

static void answer_held(struct peer *peer)
{
	int kept = 0;

	for (int i = 0; i < peer->held_count; i++)
		if (!answer(peer, &peer->held[i]))
			peer->held[kept++] = peer->held[i];
	peer->held_count = kept;
}

static void take(struct peer *peer, struct transport_request *request)
{
	const struct message *in = request->data;

	check_request(peer, request);
	if (in->op == OP_RELEASE)
		for (int i = 0; i < peer->held_count; i++) {
			const struct message *other = peer->held[i].data;

			peer->answering[in->from] +=
				other->from == in->from && other->op == OP_HOLD;
		}
	peer_require(peer, peer->held_count < HELD_MAX, "more requests than credits allow");
	peer->held[peer->held_count++] = *request;
}

static void *serve(void *argument)
{
	struct peer *peer = argument;
	struct transport_request requests[POLL_MAX];

	while (!atomic_load(&peer->stop)) {
		int n = peer->ops->serve_poll(peer->transport, requests, POLL_MAX);

		for (int i = 0; i < n; i++)
			take(peer, &requests[i]);
		answer_held(peer);
		if (n > 0)
			continue;
		peer->ops->serve_sleep(peer->transport, -1);
		atomic_fetch_add(&peer->wakes, 1);
	}
	return NULL;
}

/* ---- opening and closing ---- */

void peer_window(struct peer *peer)
{
	peer->window_bytes = peer_big(peer) + BIG_BYTES;
	peer->window = mmap(NULL, peer->window_bytes, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	peer->cards = calloc((size_t)peer->size, sizeof(*peer->cards));
	peer->held = calloc(HELD_MAX, sizeof(*peer->held));
	peer_require(peer, peer->window != MAP_FAILED && peer->cards && peer->held,
		     "no memory for the window");
}

void peer_open(struct peer *peer)
{
	struct transport_config config = {.clients = peer->size,
					  .message_bytes = MESSAGE_BYTES,
					  .credits = CREDITS,
					  .client_id = (uint32_t)peer->rank};
	struct err err = ERR_INIT;
	int rc = peer->ops->open(&config, &peer->transport, &err);

	peer_require(peer, rc == 0, "open: %d: %s", rc, err.msg);
	rc = peer->ops->region_create(peer->transport, peer->window, peer->window_bytes,
				      &peer->region, &err);
	peer_require(peer, rc == 0, "region_create: %d: %s", rc, err.msg);
	peer->held_count = 0;
	atomic_store(&peer->stop, false);
	memset(peer->answering, 0, sizeof(peer->answering));
	peer_require(peer, pthread_create(&peer->thread, NULL, serve, peer) == 0,
		     "no service thread");
}

void peer_close(struct peer *peer)
{
	for (int i = 0; i < peer->size; i++)
		peer_unlink(peer, i);
	atomic_store(&peer->stop, true);
	peer->ops->serve_wake(peer->transport);
	pthread_join(peer->thread, NULL);
	peer->ops->region_destroy(peer->region);
	peer->ops->close(peer->transport);
	peer->transport = NULL;
}

void peer_exchange(struct peer *peer)
{
	struct card mine = {0};

	if (peer->transport) {
		mine.bytes = (uint32_t)peer->ops->address(peer->transport, mine.address);
		mine.key = peer->ops->region_key(peer->region);
		peer_check(peer, mine.bytes > 0 && mine.bytes <= TRANSPORT_ADDRESS_MAX,
			   "the address has %u bytes", mine.bytes);
	}
	meet_gather(&peer->meet, &mine, sizeof(mine), peer->cards);
}

struct transport_link *peer_link(struct peer *peer, int to)
{
	struct err err = ERR_INIT;
	int rc;

	if (peer->links[to])
		return peer->links[to];
	rc = peer->ops->link_open(peer->transport, peer->cards[to].address,
				  peer->cards[to].bytes, WAIT_SECONDS * 500, &peer->links[to],
				  &err);
	peer_require(peer, rc == 0, "link_open to rank %d: %d: %s", to, rc, err.msg);
	peer->lost[to] = false;
	peer->sent[to] = peer->answered[to] = 0;
	return peer->links[to];
}

void peer_unlink(struct peer *peer, int to)
{
	if (peer->links[to])
		peer->ops->link_close(peer->links[to]);
	peer->links[to] = NULL;
}

void peer_no_link(struct peer *peer, const void *address, size_t bytes, const char *what)
{
	struct transport_link *link = NULL;
	struct err err = ERR_INIT;
	int rc = peer->ops->link_open(peer->transport, address, bytes, 1500, &link, &err);

	if (!peer_check(peer, rc < 0, "link_open to %s succeeds", what)) {
		peer->ops->link_close(link);
		return;
	}
	peer_check(peer, strlen(err.msg) > 10, "link_open to %s says only \"%s\"", what,
		   err.msg);
}

/* ---- client side ---- */

static int link_rank(struct peer *peer, const struct transport_link *link)
{
	int i = 0;

	while (i < peer->size && peer->links[i] != link)
		i++;
	peer_require(peer, i < peer->size, "a completion belongs to no link");
	return i;
}

static void take_answer(struct peer *peer, int from, const struct transport_completion *done)
{
	const struct message *in = done->data;
	uint64_t seed;

	peer_require(peer, done->bytes >= sizeof(*in) && done->bytes == sizeof(*in) + in->bytes,
		     "an answer of %zu bytes is damaged", done->bytes);
	peer_check(peer, in->from == (uint32_t)from, "rank %d answers as rank %u", from,
		   in->from);
	peer_check(peer, in->seq < peer->sent[from], "an answer to request %lu of %lu", in->seq,
		   peer->sent[from]);
	seed = payload_seed((uint32_t)peer->rank, in->seq);
	if (in->op == OP_PEEK)
		memcpy(peer->peeked, in->payload, in->bytes);
	else
		for (uint32_t i = 0; i < in->bytes; i++)
			if (!peer_check(peer, in->payload[i] == (uint8_t)(pattern(seed, i) + 1),
					"rank %d's answer %lu is wrong at byte %u", from,
					in->seq, i))
				break;
	peer->answered[from]++;
	peer->ops->answer_done(done->link, done->data);
}

void peer_progress(struct peer *peer)
{
	struct transport_completion done[POLL_MAX];
	int n = peer->ops->poll(peer->transport, done, POLL_MAX);

	peer_require(peer, n >= 0, "poll: %d", n);
	for (int i = 0; i < n; i++) {
		int from = link_rank(peer, done[i].link);

		switch (done[i].event) {
		case TRANSPORT_DONE: ++*(int *)done[i].context; break;
		case TRANSPORT_ANSWER: take_answer(peer, from, &done[i]); break;
		case TRANSPORT_LOST: peer->lost[from] = true; break;
		}
	}
	if (n == 0 && peer->sleepy)
		peer->ops->sleep(peer->transport, WAIT_SECONDS * 1000);
	else if (n == 0)
		sched_yield(); /* the service thread may have the same core */
}

static void kick_all(struct peer *peer)
{
	for (int i = 0; i < peer->size; i++)
		if (peer->links[i])
			peer->ops->kick(peer->links[i]);
}

static void none_lost(struct peer *peer, const char *what)
{
	for (int i = 0; i < peer->size; i++)
		peer_require(peer, !peer->lost[i], "%s: lost the link to rank %d: %s", what, i,
			     peer->lost[i] ? peer->ops->link_fault(peer->links[i]) : "");
}

void peer_wait(struct peer *peer, const int *count, int target, const char *what)
{
	int64_t deadline = deadline_in_ms(WAIT_SECONDS * 1000);

	kick_all(peer);
	while (*count < target) {
		peer_progress(peer);
		none_lost(peer, what);
		peer_require(peer, clock_mono_ns() < deadline, "%s: %d of %d after %d s", what,
			     *count, target, WAIT_SECONDS);
	}
	peer_require(peer, *count == target, "%s: %d completions, not %d", what, *count,
		     target);
}

void peer_wait_answers(struct peer *peer, int from, uint64_t target)
{
	int64_t deadline = deadline_in_ms(WAIT_SECONDS * 1000);

	kick_all(peer);
	while (peer->answered[from] < target) {
		peer_progress(peer);
		none_lost(peer, "waiting for answers");
		peer_require(peer, clock_mono_ns() < deadline,
			     "%lu of %lu answers of rank %d after %d s", peer->answered[from],
			     target, from, WAIT_SECONDS);
	}
}

/* A post that returned rc: true when it was taken, else there was progress and it is to be
 * tried again. */
static bool taken(struct peer *peer, int to, int rc, const char *what)
{
	bool sleepy = peer->sleepy;

	if (rc == 0)
		return true;
	peer_require(peer, rc == -EAGAIN, "%s to rank %d: %d: %s", what, to, rc,
		     peer->ops->link_fault(peer->links[to]));
	peer->ops->kick(peer->links[to]);
	peer->sleepy = false;
	peer_progress(peer);
	peer->sleepy = sleepy;
	none_lost(peer, what);
	return false;
}

void peer_write(struct peer *peer, int to, const void *local, uint64_t offset, size_t bytes,
		int *done)
{
	struct transport_link *link = peer_link(peer, to);
	const char *at = local;
	bool inside = at >= peer->window && at < peer->window + peer->window_bytes;

	while (!taken(peer, to,
		      peer->ops->post_write(link, local, inside ? peer->region : NULL,
					    peer->cards[to].key, offset, bytes, done),
		      "a write"))
		;
}

void peer_read(struct peer *peer, int to, void *local, uint64_t offset, size_t bytes, int *done)
{
	struct transport_link *link = peer_link(peer, to);

	while (!taken(peer, to,
		      peer->ops->post_read(link, local, peer->region, peer->cards[to].key,
					   offset, bytes, done),
		      "a read"))
		;
}

void peer_flush(struct peer *peer, int to, int *done)
{
	struct transport_link *link = peer_link(peer, to);

	while (!taken(peer, to, peer->ops->post_flush(link, done), "a flush"))
		;
}

void peer_request(struct peer *peer, int to, enum op op, uint64_t offset, uint32_t bytes)
{
	struct transport_link *link = peer_link(peer, to);
	int64_t deadline = deadline_in_ms(WAIT_SECONDS * 1000);
	struct message *out;
	size_t length;

	while (!(out = peer->ops->request_buffer(link))) {
		peer->ops->kick(link);
		peer_progress(peer);
		none_lost(peer, "waiting for a request's buffer");
		peer_require(peer, clock_mono_ns() < deadline,
			     "no buffer for a request to rank %d after %d s", to, WAIT_SECONDS);
	}
	*out = (struct message){.op = op,
				.from = (uint32_t)peer->rank,
				.seq = peer->sent[to]++,
				.offset = offset,
				.bytes = bytes};
	length = sizeof(*out) + (op == OP_PEEK ? 0 : bytes);
	if (op != OP_PEEK)
		pattern_fill(out->payload, bytes, payload_seed(out->from, out->seq));
	while (!taken(peer, to, peer->ops->post_request(link, out, length), "a request"))
		;
}
