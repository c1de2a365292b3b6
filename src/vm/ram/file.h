/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's RAM file: its size, its mapping, which of its pages exist. */
#ifndef STASIS_VM_RAM_FILE_H
#define STASIS_VM_RAM_FILE_H

#include <stdint.h>

#include "base/err.h"
#include "vm/ram/capture.h"

/* Work is cut into pieces of a huge page each: at multiples of their size, the last may be
 * shorter. */
enum { RAM_PIECE_BYTES = 2 << 20, RAM_PIECE_PAGES = RAM_PIECE_BYTES / RAM_PAGE_BYTES };

/* -EINVAL unless the file has that size, which is one of whole pages. */
int ram_check(int fd, uint64_t bytes, struct err *err);

/* Map the file read-only, shared; NULL with err set. Reading a hole through it fills the hole:
 * look only at pages that exist. */
const void *ram_map(int fd, uint64_t bytes, struct err *err);

/*
 * Which pages of [start, end), at most a piece, exist in the file mapped at `ram`: one byte a
 * page, 0 for a hole. Cheap where the pages are mapped already (3 ns a page) and where there
 * are none at all (0.2 µs), else some 50 ns a page.
 */
int ram_find_pages(int fd, const void *ram, uint64_t start, uint64_t end,
		   unsigned char ret_exist[RAM_PIECE_PAGES], struct err *err);

#endif
