/* SPDX-License-Identifier: BSD-3-Clause */
/* One part of a message as it lies in a mailbox and travels between nodes. Pure. */
#ifndef STASIS_ARMCI_COLL_PART_H
#define STASIS_ARMCI_COLL_PART_H

#include <stddef.h>
#include <stdint.h>

#include "armci/coll/mbox.h"

/* A part taken apart; `data` leads into it. The parts of a message come in order, without gaps.
 */
struct mbox_part {
	int from; /* world rank */
	enum mbox_class class;
	uint64_t tag;
	uint64_t total;  /* bytes of the whole message */
	uint64_t offset; /* of this part's data in it */
	const void *data;
	size_t bytes; /* at least 1, unless total is 0 */
};

enum { MBOX_PART_HEADER = 32, MBOX_PART_DATA = MBOX_PART_MAX - MBOX_PART_HEADER };

/* -EINVAL unless everything in it agrees with `bytes`, which is its length, and with the number
 * of ranks. `part` needs no alignment. */
int mbox_part_decode(const void *part, size_t bytes, int ranks, struct mbox_part *ret_part);

/* The header of a part, MBOX_PART_HEADER bytes, behind which its data go. */
void mbox_part_encode(const struct mbox_part *part, void *ret_header);

#endif
