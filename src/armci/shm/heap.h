/* SPDX-License-Identifier: BSD-3-Clause */
/* The heap of one rank: blocks of whole pages in its slice of the arena. Only the owner
 * allocates and frees. */
#ifndef STASIS_ARMCI_SHM_HEAP_H
#define STASIS_ARMCI_SHM_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum heap_kind {
	HEAP_NONE,
	HEAP_GLOBAL,   /* segments that others may read and write */
	HEAP_LOCAL,    /* ARMCI_Malloc_local */
	HEAP_INTERNAL, /* the library's own */
};

/*
 * Free runs of pages are in bins by size (TLSF: constant time), coalesced when freed; of a bin
 * the run freed last is used first. New memory reads as zero only the first time. Blocks begin
 * at ARENA_PAGE alignment plus a skew, a multiple of 128 that differs between blocks and
 * between ranks and is not 0 for blocks of more than a page: copies between blocks whose
 * addresses agree in their low 12 bits are slow. One thread at a time calls these (the
 * library's lock).
 */
int heap_open(struct err *err);
void heap_close(void);

/* NULL with a sentence (ENOMEM) when the slice is full. bytes > 0. */
void *heap_alloc(size_t bytes, enum heap_kind kind, struct err *err);

/* Size asked for of the block that begins at `address` and has this kind; 0 if there is none.
 */
size_t heap_size(const void *address, enum heap_kind kind);

/* `address` is the beginning of a block. */
void heap_free(void *address);

/* Bytes in use by kind, and the most there ever were in all. */
void heap_usage(size_t ret_used[4], size_t *ret_peak);

#endif
