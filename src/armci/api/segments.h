/* SPDX-License-Identifier: BSD-3-Clause */
/* From a user's address on any rank to where its memory is: my mapping, or an offset on another
 * node. */
#ifndef STASIS_ARMCI_API_SEGMENTS_H
#define STASIS_ARMCI_API_SEGMENTS_H

#include <stddef.h>
#include <stdint.h>

#include "armci/api/call.h"

struct place {
	char *near; /* in my mapping, NULL if the rank is on another node */
	int node;
	uint64_t far; /* offset in that node's arena */
};

/*
 * Where `address` of call->rank is, if [address + low, address + high) lies in one segment
 * there; if not, the job ends with a sentence. Segments on this node are known from the page
 * map, those on other nodes from the collective calls that made them; the other node is asked
 * about any other.
 */
struct place segment_find(const struct call *call, const void *address, ptrdiff_t low,
			  ptrdiff_t high);

/* Segments of ranks on other nodes. */
void segment_add(int rank, const void *base, size_t bytes);
void segment_remove(int rank, const void *base);

void segments_close(void);

/* The offset in its node's arena of an address of this rank. */
uint64_t segment_offset(int rank, const void *address);

#endif
