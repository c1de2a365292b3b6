/* SPDX-License-Identifier: BSD-3-Clause */
/* Mailboxes: tagged messages from rank to rank, through shared memory, or a node's service
 * thread. */
#ifndef STASIS_ARMCI_COLL_MBOX_H
#define STASIS_ARMCI_COLL_MBOX_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Each rank's box is a ring in its rank block of the arena (shm/arena.h), into which ranks of
 * the node and service threads put parts of messages and from which its owner alone takes them:
 * straight to where they are awaited, or into a queue in its own memory. Every wait here
 * empties the own box, so that ranks that send to each other never wait for each other's room.
 * All functions but mbox_deliver() are called by one thread at a time (the library's lock).
 */

/* What the box uses of the rank block; the rest of it is free for others. */
enum { MBOX_BLOCK_BYTES = 60 << 10 };

/* Collective over the node in so far as nobody may send before all have opened. Needs job and
 * arena. */
int mbox_open(struct err *err);
/* Messages that nobody received are dropped. */
void mbox_close(void);

/* Who sends: messages of different classes never mix. */
enum mbox_class {
	MBOX_USER,   /* armci_msg_snd */
	MBOX_COLL,   /* between the nodes of a group; tag: its id and a sequence number */
	MBOX_SUBSET, /* among some members of a group; tag: its id and the root */
	MBOX_CLASSES
};

/* Returns when `data` may be reused. Messages from one sender with one class and tag arrive in
 * order. */
void mbox_send(int to, enum mbox_class class, uint64_t tag, const void *data, size_t bytes);

/* Wait for a message of this class and tag from world rank `from` (-1: from anybody) and copy
 * it out, at most `size` bytes of it. Returns its length, which the caller compares. ret_from
 * may be NULL. */
size_t mbox_receive(int from, enum mbox_class class, uint64_t tag, void *data, size_t size,
		    int *ret_from);

/*
 * Empty the own box into the queue, without waiting. remote_message() calls this again and
 * again while it waits, at the least every millisecond: two ranks that send to each other over
 * nodes would otherwise wait forever, both their boxes full.
 */
void mbox_serve(void);

/*
 * Put one part (at most MBOX_PART_MAX bytes with its header, made by mbox_send on another node)
 * into the box of a rank of this node: called by service threads of any process of the node.
 * -EAGAIN: full, try again later. -EINVAL: malformed, or not a rank of this node.
 */
enum { MBOX_PART_MAX = 4096 };
int mbox_deliver(int to, const void *part, size_t bytes);

#endif
