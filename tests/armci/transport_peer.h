/* SPDX-License-Identifier: BSD-3-Clause */
/* One process of the transport tests: a window of memory, a service thread that answers, and
 * links to all others. */
#ifndef STASIS_TESTS_ARMCI_TRANSPORT_PEER_H
#define STASIS_TESTS_ARMCI_TRANSPORT_PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "armci/transport/transport.h"
#include "meet.h"

enum {
	MESSAGE_BYTES = 8192,
	CREDITS = 8,
	SLOT_BYTES = 64 << 10, /* per rank that writes, at the window's start */
	BIG_BYTES = 16 << 20,  /* behind the slots: written by one rank at a time */
	WAIT_SECONDS = 120,
};

enum op {
	OP_ECHO,    /* answer: the payload, each byte one more */
	OP_PEEK,    /* answer: the window's bytes at offset, as the server's CPU sees them */
	OP_ADD,     /* add `offset` to the window's counter by a CPU atomic */
	OP_HOLD,    /* answered at the next OP_RELEASE of the sender */
	OP_RELEASE, /* and this one */
};

/* Requests and answers. Each sender counts its requests on a link from 0: the server checks the
 * order. */
struct message {
	uint32_t op, from;
	uint64_t seq, offset;
	uint32_t bytes; /* of the payload */
	uint32_t unused;
	uint8_t payload[];
};

struct card {
	uint8_t address[TRANSPORT_ADDRESS_MAX];
	uint32_t bytes;
	struct transport_key key;
};

struct peer {
	const struct transport_ops *ops;
	struct meet meet;
	int rank, size;
	struct transport *transport;
	struct transport_region *region;
	char *window;
	size_t window_bytes;
	struct card *cards; /* of all ranks, as last exchanged */

	/* client side */
	struct transport_link *links[MEET_RANKS_MAX];
	bool lost[MEET_RANKS_MAX];
	uint64_t sent[MEET_RANKS_MAX];     /* requests on the link */
	uint64_t answered[MEET_RANKS_MAX]; /* answers that came back */
	uint8_t peeked[MESSAGE_BYTES];     /* payload of the last OP_PEEK's answer */
	bool sleepy;                       /* wait by sleep(), not by polling */

	/* server side */
	pthread_t thread;
	atomic_bool stop;
	atomic_uint wakes; /* times serve_sleep() returned */
	uint64_t expected[MEET_RANKS_MAX];
	struct transport_request *held; /* requests that are not answered yet */
	int held_count;
	int answering[MEET_RANKS_MAX]; /* how many of OP_HOLD of a rank may be answered now */

	atomic_int failures;
};

/* Count a failure and say what is wrong; true if the condition holds. */
bool peer_check(struct peer *peer, bool condition, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As peer_check(), but the process cannot go on. */
void peer_require(struct peer *peer, bool condition, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The window is made once. peer_open() opens the transport, registers the window and starts the
 * service thread; peer_exchange() tells everybody the new cards (all ranks call it). */
void peer_window(struct peer *peer);
void peer_open(struct peer *peer);
void peer_close(struct peer *peer);
void peer_exchange(struct peer *peer);

/* The link to a rank, opened when first asked for. */
struct transport_link *peer_link(struct peer *peer, int to);
void peer_unlink(struct peer *peer, int to);
/* Open it and expect a refusal or a time-out. */
void peer_no_link(struct peer *peer, const void *address, size_t bytes, const char *what);

/* One round of progress: polls, sleeps if told to. */
void peer_progress(struct peer *peer);
/* Progress until *count reaches `target`; a lost link or the deadline ends the process. */
void peer_wait(struct peer *peer, const int *count, int target, const char *what);
void peer_wait_answers(struct peer *peer, int from, uint64_t target);

/* Posts that wait while the queue is full. *done counts completions; NULL: none is asked for.
 */
void peer_write(struct peer *peer, int to, const void *local, uint64_t offset, size_t bytes,
		int *done);
void peer_read(struct peer *peer, int to, void *local, uint64_t offset, size_t bytes,
	       int *done);
void peer_flush(struct peer *peer, int to, int *done);
/* The payload's content follows from sender and sequence number. */
void peer_request(struct peer *peer, int to, enum op op, uint64_t offset, uint32_t bytes);

/* Where rank `from` writes in any window. */
static inline uint64_t peer_slot(int from)
{
	return (uint64_t)SLOT_BYTES * ((uint64_t)from + 1);
}

static inline uint64_t peer_big(const struct peer *peer)
{
	return (uint64_t)SLOT_BYTES * ((uint64_t)peer->size + 1);
}

/* Test data: differs with seed and place. */
static inline uint8_t pattern(uint64_t seed, uint64_t i)
{
	return (uint8_t)(((i + seed * 0x9e3779b97f4a7c15ULL) * 0xd6e8feb86659fd93ULL) >> 56);
}
void pattern_fill(void *data, size_t bytes, uint64_t seed);
/* The first byte that is wrong, or -1. */
int64_t pattern_wrong(const void *data, size_t bytes, uint64_t seed);

#endif
