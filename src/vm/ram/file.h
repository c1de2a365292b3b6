/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's RAM file: its populated extents, and how they are cut into pieces of work. */
#ifndef STASIS_VM_RAM_FILE_H
#define STASIS_VM_RAM_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A populated part of the file, at most RAM_PIECE_BYTES long. */
enum { RAM_PIECE_BYTES = 1 << 20 };
struct ram_piece {
	uint64_t start, end;
};

/* -EINVAL unless the file has that size, which is one of whole pages. */
int ram_check(int fd, uint64_t bytes, struct err *err);

/* Map the file read-only, shared; NULL with err set. Reading a hole through it fills the hole:
 * look at extents only. */
const void *ram_map(int fd, uint64_t bytes, struct err *err);

/*
 * All populated parts, in order; free() the list. The file is scanned once from end to end,
 * some 50 ns a page: the kernel walks to the end of an extent however little of it is asked
 * for, so asking piece by piece would be quadratic.
 */
int ram_pieces_find(int fd, uint64_t bytes, struct ram_piece **ret_pieces, size_t *ret_count,
		    struct err *err);

#endif
