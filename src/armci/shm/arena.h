/* SPDX-License-Identifier: BSD-3-Clause */
/* The arena: one memfd per node, mapped whole by every rank of the node, in which all shared
 * memory lives. */
#ifndef STASIS_ARMCI_SHM_ARENA_H
#define STASIS_ARMCI_SHM_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "armci/core/cpu.h"
#include "armci/core/wait.h"
#include "base/err.h"

/*
 * Layout (offsets from the start, page aligned):
 *   header | rank blocks [node_size] | accumulate locks | page map | slices [node_size]
 * A slice is the heap of one rank (shm/heap.h); slices have the same size. An address in the
 * arena travels between processes as its offset; a user's address of rank r belongs to r's own
 * mapping.
 */
enum { ARENA_PAGE = 4096, ARENA_LOCKS = 1024, ARENA_LOCK_STRIDE = 64 };

/*
 * One page of a slice. Zero: no page of a global block (blocks of other kinds are the owner's
 * affair alone). Written by the owner of the slice, read by all ranks of the node, in one
 * access each.
 */
struct arena_page {
	uint32_t head;  /* 1 + index (in the slice) of the first page of its block */
	uint16_t limit; /* one past the last byte of this page that belongs to the block: 1 …
			   4096 */
	uint8_t kind;   /* HEAP_GLOBAL (shm/heap.h) */
	uint8_t skew;   /* where in this page the block begins, in units of 64 bytes; 0 but in a
			   first page */
} __attribute__((aligned(8)));

struct arena {
	char *base;   /* of my mapping */
	size_t bytes; /* of the whole */
	size_t slice_bytes;
	size_t slice_start;       /* offset of slice 0 */
	struct arena_page *pages; /* of slice 0; each slice has slice_bytes / ARENA_PAGE */
	char *locks;       /* [ARENA_LOCKS] × ARENA_LOCK_STRIDE, of accumulates (shm/lock.h) */
	char *rank_blocks; /* [node_size] × ARENA_RANK_BLOCK, for coll/mbox.h and the like */
};

enum { ARENA_RANK_BLOCK = 64 << 10 };

extern CPU_NEAR_DATA struct arena arena;

/* Collective over the node: the lowest rank makes the memfd, others open it through /proc. Uses
 * job and settings. */
int arena_open(struct err *err);
void arena_close(void);

/* The parts of arena_open() that need no MPI: bytes of an arena of job.node_size slices, and
 * mapping one that is in `fd`. */
size_t arena_total(size_t slice_bytes);
int arena_map(int fd, size_t slice_bytes, struct err *err);

static inline char *arena_at(uint64_t offset)
{
	return arena.base + offset;
}

static inline uint64_t arena_offset(const void *address)
{
	return (uint64_t)((const char *)address - arena.base);
}

/* True if [offset, offset + bytes) lies in one allocated global block: exact to the byte. bytes
 * may be 0 (then: the address is in a block or one past its end). */
bool arena_is_global(uint64_t offset, size_t bytes);

/* Block of a rank of my node for shared state of other parts: zero-filled at start. */
static inline void *arena_rank_block(int node_rank)
{
	return arena.rank_blocks + (size_t)node_rank * ARENA_RANK_BLOCK;
}

#endif
