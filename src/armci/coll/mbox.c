/* SPDX-License-Identifier: BSD-3-Clause */
/* Mailboxes: the ring in shared memory, and the queue of messages that came before they were
 * wanted. */
#include "armci/coll/mbox.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "armci/coll/part.h"
#include "armci/core/fail.h"
#include "armci/core/job.h"
#include "armci/core/wait.h"
#include "armci/remote/remote.h"
#include "armci/shm/arena.h"

enum { RING_BYTES = 56 << 10, WAITING_WORDS = 64, WAITING_BITS = WAITING_WORDS * 64 };

/* An entry of the ring is a length (uint64_t) and the part, padded to 8 bytes; it may wrap
 * around the end. */
struct box {
	_Alignas(64) _Atomic uint32_t locked; /* by who puts something in */
	struct event unlocked;
	_Alignas(64) _Atomic uint64_t head; /* bytes ever put in */
	_Alignas(64) _Atomic uint64_t tail; /* bytes ever taken out */
	_Alignas(64) struct event
		bell; /* rung for the owner: parts in its box, or room in one it waits for */
	_Alignas(64) _Atomic uint32_t wanted;    /* a bit of waiting[] may be set */
	_Atomic uint64_t waiting[WAITING_WORDS]; /* ranks of the node, modulo WAITING_BITS, that
						    wait for room */
	_Alignas(64) char ring[RING_BYTES];
};
static_assert(sizeof(struct box) <= MBOX_BLOCK_BYTES, "the box fits");
static_assert((int)MBOX_BLOCK_BYTES <= (int)ARENA_RANK_BLOCK, "the rank block holds it");

/* A message on its way or waiting for its receiver. */
struct message {
	struct message *next; /* in the queue */
	struct message *next_partial;
	int from;
	enum mbox_class class;
	uint64_t tag;
	size_t total, received;
	char *data; /* `space`, or where the receiver wants it */
	char space[];
};

static struct {
	struct box *box;       /* mine */
	struct message *first; /* unclaimed messages, oldest first */
	struct message **last;
	struct message *partial; /* messages that are not complete */
	struct {
		bool active;
		int from;
		enum mbox_class class;
		uint64_t tag;
		char *data;
		size_t size;
		struct message *message; /* that has been claimed */
	} wanted;
} mbox;

static struct box *box_of(int node_rank)
{
	return arena_rank_block(node_rank);
}

int mbox_open(struct err *err)
{
	if (arena.rank_blocks == NULL)
		return err_set(err, EINVAL, "mailboxes are opened before the shared memory");
	mbox.box = box_of(job.node_rank);
	mbox.last = &mbox.first;
	return 0;
}

void mbox_close(void)
{
	struct message *message;

	while ((message = mbox.first) != NULL) {
		mbox.first = message->next;
		free(message);
	}
	memset(&mbox, 0, sizeof mbox);
}

/* ---- The ring: putting in ---- */

static void box_lock(struct box *box)
{
	for (;;) {
		uint32_t seen = event_seq(&box->unlocked);

		if (atomic_exchange_explicit(&box->locked, 1, memory_order_acquire) == 0)
			return;
		event_wait(&box->unlocked, seen);
	}
}

static void box_unlock(struct box *box)
{
	atomic_store_explicit(&box->locked, 0, memory_order_release);
	event_signal(&box->unlocked);
}

static void ring_write(struct box *box, uint64_t at, const void *data, size_t bytes)
{
	size_t start = (size_t)(at % RING_BYTES);
	size_t before = RING_BYTES - start;

	if (before > bytes)
		before = bytes;
	memcpy(box->ring + start, data, before);
	if (bytes > before)
		memcpy(box->ring, (const char *)data + before, bytes - before);
}

static uint64_t entry_bytes(size_t bytes)
{
	return sizeof(uint64_t) + ((bytes + 7) & ~(size_t)7);
}

static bool box_has_room(struct box *box, uint64_t needed)
{
	uint64_t tail = atomic_load(&box->tail);

	return atomic_load(&box->head) - tail + needed <= RING_BYTES;
}

/* Put in a part, which is in two pieces. False: no room. */
static bool box_put(struct box *box, const void *header, size_t header_bytes, const void *data,
		    size_t data_bytes)
{
	uint64_t length = header_bytes + data_bytes;
	uint64_t needed = entry_bytes(length);

	if (!box_has_room(box, needed))
		return false;
	box_lock(box);
	bool room = box_has_room(box, needed);
	if (room) {
		uint64_t head = atomic_load_explicit(&box->head, memory_order_relaxed);
		ring_write(box, head, &length, sizeof length);
		ring_write(box, head + sizeof length, header, header_bytes);
		if (data_bytes > 0)
			ring_write(box, head + sizeof length + header_bytes, data, data_bytes);
		atomic_store(&box->head, head + needed);
	}
	box_unlock(box);
	if (room)
		event_signal(&box->bell);
	return room;
}

int mbox_deliver(int to, const void *part, size_t bytes)
{
	struct mbox_part decoded;

	if (to < 0 || to >= job.size || !job_is_near(to))
		return -EINVAL;
	if (mbox_part_decode(part, bytes, job.size, &decoded) < 0)
		return -EINVAL;
	return box_put(box_of(job.node_rank_of[to]), part, bytes, NULL, 0) ? 0 : -EAGAIN;
}

/* ---- Messages ---- */

static bool message_is(const struct message *message, int from, enum mbox_class class,
		       uint64_t tag)
{
	return (from < 0 || message->from == from) && message->class == class &&
	       message->tag == tag;
}

/* A new message from the first part of it. Claimed by who waits for it, else in the queue. */
static struct message *message_begin(const struct mbox_part *part)
{
	bool claimed = mbox.wanted.active && mbox.wanted.message == NULL &&
		       (mbox.wanted.from < 0 || mbox.wanted.from == part->from) &&
		       mbox.wanted.class == part->class && mbox.wanted.tag == part->tag;
	bool direct = claimed && part->total <= mbox.wanted.size;
	size_t space = direct ? 0 : (size_t)part->total;
	struct message *message = malloc(sizeof *message + space);

	if (message == NULL)
		fail("there is no memory for a message of %llu bytes from rank %d",
		     (unsigned long long)part->total, part->from);
	*message = (struct message){
		.from = part->from,
		.class = part->class,
		.tag = part->tag,
		.total = (size_t)part->total,
		.data = direct ? mbox.wanted.data : message->space,
	};
	if (claimed) {
		mbox.wanted.message = message;
	} else {
		*mbox.last = message;
		mbox.last = &message->next;
	}
	return message;
}

static struct message **partial_find(int from)
{
	struct message **link = &mbox.partial;

	while (*link != NULL && (*link)->from != from)
		link = &(*link)->next_partial;
	return link;
}

/* Add a part to its message. A sender finishes one message before it begins the next. */
static void message_accept(const struct mbox_part *part)
{
	struct message **link = partial_find(part->from);
	struct message *message = *link;

	if (message == NULL && part->offset == 0) {
		message = message_begin(part);
		if (part->bytes < part->total) {
			message->next_partial = mbox.partial;
			mbox.partial = message;
			link = &mbox.partial;
		}
	}
	if (message == NULL || part->offset != message->received ||
	    part->total != message->total ||
	    !message_is(message, part->from, part->class, part->tag))
		fail("a message from rank %d came apart: a part at %llu of %llu bytes was not expected",
		     part->from, (unsigned long long)part->offset,
		     (unsigned long long)part->total);
	if (part->bytes > 0)
		memcpy(message->data + message->received, part->data, part->bytes);
	message->received += part->bytes;
	if (*link == message && message->received == message->total)
		*link = message->next_partial;
}

/* ---- The ring: taking out ---- */

static void ring_read(const struct box *box, uint64_t at, void *data, size_t bytes)
{
	size_t start = (size_t)(at % RING_BYTES);
	size_t before = RING_BYTES - start;

	if (before > bytes)
		before = bytes;
	memcpy(data, box->ring + start, before);
	if (bytes > before)
		memcpy((char *)data + before, box->ring, bytes - before);
}

/* Tell those who wait for room in my box. */
static void box_ring_waiters(struct box *box)
{
	atomic_store(&box->wanted, 0);
	for (int word = 0; word < WAITING_WORDS; word++) {
		uint64_t bits = atomic_load(&box->waiting[word]);

		if (bits != 0)
			bits = atomic_exchange(&box->waiting[word], 0);
		for (; bits != 0; bits &= bits - 1) {
			int rank = word * 64 + __builtin_ctzll(bits);
			for (; rank < job.node_size; rank += WAITING_BITS)
				event_signal(&box_of(rank)->bell);
		}
	}
}

/* Take one part out of my box. */
static void box_take(struct box *box, uint64_t tail)
{
	char copy[MBOX_PART_MAX];
	struct mbox_part part;
	uint64_t length;

	ring_read(box, tail, &length, sizeof length);
	uint64_t at = tail + sizeof length;
	const char *start = box->ring + at % RING_BYTES;
	if (length > MBOX_PART_MAX)
		length = 0;
	if (at % RING_BYTES + length > RING_BYTES) {
		ring_read(box, at, copy, (size_t)length);
		start = copy;
	}
	if (mbox_part_decode(start, (size_t)length, job.size, &part) < 0)
		fail("the mailbox holds something that is no message");
	message_accept(&part);
	atomic_store(&box->tail, tail + entry_bytes((size_t)length));
	if (atomic_load(&box->wanted))
		box_ring_waiters(box);
}

void mbox_serve(void)
{
	struct box *box = mbox.box;
	uint64_t tail = atomic_load_explicit(&box->tail, memory_order_relaxed);

	while (atomic_load_explicit(&box->head, memory_order_acquire) != tail) {
		box_take(box, tail);
		tail = atomic_load_explicit(&box->tail, memory_order_relaxed);
	}
}

/* ---- Sending and receiving ---- */

/* Wait until the box may have room; the own box is emptied meanwhile. */
static void wait_for_room(struct box *box, uint64_t needed)
{
	uint32_t seen = event_seq(&mbox.box->bell);
	int bit = job.node_rank % WAITING_BITS;

	mbox_serve();
	atomic_fetch_or(&box->waiting[bit / 64], (uint64_t)1 << (bit % 64));
	atomic_store(&box->wanted, 1);
	if (!box_has_room(box, needed))
		event_wait(&mbox.box->bell, seen);
}

static void part_send(int to, const struct mbox_part *part)
{
	char bytes[MBOX_PART_MAX];

	mbox_part_encode(part, bytes);
	if (to == job.rank) {
		message_accept(part);
	} else if (job_is_near(to)) {
		struct box *box = box_of(job.node_rank_of[to]);
		while (!box_put(box, bytes, MBOX_PART_HEADER, part->data, part->bytes))
			wait_for_room(box, entry_bytes(MBOX_PART_HEADER + part->bytes));
	} else {
		if (part->bytes > 0)
			memcpy(bytes + MBOX_PART_HEADER, part->data, part->bytes);
		remote_message(to, bytes, MBOX_PART_HEADER + part->bytes);
	}
}

void mbox_send(int to, enum mbox_class class, uint64_t tag, const void *data, size_t bytes)
{
	struct mbox_part part = {.from = job.rank, .class = class, .tag = tag, .total = bytes};

	do {
		size_t left = bytes - (size_t)part.offset;
		part.data = left > 0 ? (const char *)data + part.offset : NULL;
		part.bytes = left < MBOX_PART_DATA ? left : MBOX_PART_DATA;
		part_send(to, &part);
		part.offset += part.bytes;
	} while (part.offset < bytes);
}

/* Take the oldest message that fits out of the queue. */
static struct message *queue_claim(int from, enum mbox_class class, uint64_t tag)
{
	for (struct message **link = &mbox.first; *link != NULL; link = &(*link)->next) {
		struct message *message = *link;

		if (!message_is(message, from, class, tag))
			continue;
		*link = message->next;
		if (message->next == NULL)
			mbox.last = link;
		return message;
	}
	return NULL;
}

/* Between nodes some transports send only while they are looked after, and a sender may be
 * gone. */
static void wait_for_bell(uint32_t seen, int from, int64_t *since_ns)
{
	enum { LOOK_NS = 5000000 };

	if (job.node_count == 1) {
		event_wait(&mbox.box->bell, seen);
	} else if (!event_wait_for(&mbox.box->bell, seen, LOOK_NS)) {
		if (*since_ns == 0)
			*since_ns = wait_now_ns();
		remote_watch(from, *since_ns);
	}
}

size_t mbox_receive(int from, enum mbox_class class, uint64_t tag, void *data, size_t size,
		    int *ret_from)
{
	mbox.wanted.from = from;
	mbox.wanted.class = class;
	mbox.wanted.tag = tag;
	mbox.wanted.data = data;
	mbox.wanted.size = size;
	mbox.wanted.message = queue_claim(from, class, tag);
	mbox.wanted.active = true;
	int64_t since_ns = 0;
	for (;;) {
		uint32_t seen = event_seq(&mbox.box->bell);

		mbox_serve();
		if (mbox.wanted.message != NULL &&
		    mbox.wanted.message->received == mbox.wanted.message->total)
			break;
		wait_for_bell(seen, from, &since_ns);
	}
	mbox.wanted.active = false;

	struct message *message = mbox.wanted.message;
	size_t total = message->total;
	if (ret_from)
		*ret_from = message->from;
	if (message->data != data && size > 0)
		memcpy(data, message->data, total < size ? total : size);
	free(message);
	return total;
}
