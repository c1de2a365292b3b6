/* SPDX-License-Identifier: BSD-3-Clause */
/* RAM capture: pre-copy while the VM runs, compare-and-copy while it is paused, into staging
 * memory. */
#ifndef STASIS_VM_RAM_CAPTURE_H
#define STASIS_VM_RAM_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { RAM_PAGE_BYTES = 4096 };

struct ram_capture;

struct ram_pass {
	uint64_t read_bytes;   /* populated RAM that was looked at */
	uint64_t copied_bytes; /* of it, copied because it differed */
};

/* What the pages of a capture were, without their bytes (16 bytes a page): it tells what
 * changed until a later capture of the same VM. */
struct ram_trace;

/*
 * Map ram_fd (shared, read-only) and reserve staging of the same size; staging is touched only
 * where RAM holds something, so that zero pages and holes of the file cost nothing. `since` is
 * the trace of an earlier capture to compare with, borrowed while the capture lives, or NULL.
 */
int ram_capture_create(int ram_fd, uint64_t ram_bytes, const struct ram_trace *since,
		       struct ram_capture **ret_capture, struct err *err);
void ram_capture_destroy(struct ram_capture *capture);

/*
 * One pass over the RAM of several VMs: pages that differ from staging are copied. Call it
 * while the VMs run (pre-copy), then once more while they are paused; only after that is
 * staging their RAM of the instant. `threads` 0: all processors. `nice` steps below the
 * caller's priority.
 */
int ram_captures_pass(struct ram_capture *const *captures, size_t count, size_t threads,
		      int nice, struct ram_pass *ret_pass, struct err *err);

/* A page of RAM from elsewhere, NULL: of zeros, in place of the passes: all of RAM must come
 * so. One thread for each capture. */
void ram_capture_put(struct ram_capture *capture, uint64_t offset, const void *bytes);

/* The RAM's size. */
uint64_t ram_capture_size(const struct ram_capture *capture);

/* Staging as it is: the first offset >= `offset` that may hold non-zero bytes (UINT64_MAX:
 * none), and its bytes. */
uint64_t ram_capture_next_data(const struct ram_capture *capture, uint64_t offset);
const void *ram_capture_bytes(const struct ram_capture *capture, uint64_t offset);

/* Those of the pages of `len` bytes from `offset` on that differ from `since`: bit p % 8 of
 * byte p / 8 for page p, counted from `offset`. Whether there is one. After the last pass. */
bool ram_capture_changed(const struct ram_capture *capture, uint64_t offset, uint32_t len,
			 uint8_t *ret_bitmap);
/* The capture's own trace, the caller's from now on. The capture is good for nothing but its
 * destruction afterwards. */
struct ram_trace *ram_capture_take_trace(struct ram_capture *capture);
void ram_trace_destroy(struct ram_trace *trace);

/* An upper bound of the staging memory a capture of this RAM will need now: its populated
 * bytes. */
int ram_populated_bytes(int ram_fd, uint64_t *ret_bytes, struct err *err);

/* Fill the holes of the RAM file with pages of zeros, whatever the guest does meanwhile. */
int ram_populate(int ram_fd, uint64_t ram_bytes, struct err *err);

/* Copy the populated, non-zero pages of `from_fd` into the all-zero `to_fd`: clones a
 * template's RAM. */
int ram_clone(int from_fd, int to_fd, uint64_t ram_bytes, unsigned int threads,
	      struct err *err);

#endif
