/* SPDX-License-Identifier: BSD-3-Clause */
/* QEMU's stream of a background snapshot, decoded: the guest's RAM, and the state of its
 * devices. */
#ifndef STASIS_VM_RAM_STREAM_H
#define STASIS_VM_RAM_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What is in the stream goes here. */
struct ram_stream_sink {
	const char *block; /* the name of the RAM block that is the guest's RAM */
	uint64_t bytes;    /* its size, in whole pages */
	/* A page of it, not aligned; NULL: it is zero. */
	void (*page)(void *arg, uint64_t offset, const void *page);
	/* The sections of all devices, in pieces, up to the end of the stream. */
	int (*devices)(void *arg, const void *bytes, size_t len, struct err *err);
	void *arg;
};

struct ram_stream;

/* The sink is copied. NULL with err set. */
struct ram_stream *ram_stream_create(const struct ram_stream_sink *sink, struct err *err);
void ram_stream_destroy(struct ram_stream *stream); /* NULL is allowed */

/*
 * Decode the next bytes of the stream. *ret_used of them are done with; the rest, less than
 * RAM_STREAM_REST_MAX, must come again with more behind it. -EPROTO: this is no such stream, or
 * not one of this RAM.
 */
enum { RAM_STREAM_REST_MAX = 8192 };
int ram_stream_feed(struct ram_stream *stream, const void *bytes, size_t len, size_t *ret_used,
		    struct err *err);

/* The stream has ended, with `left` bytes that were not used. -EPROTO: it is not whole. */
int ram_stream_end(const struct ram_stream *stream, size_t left, struct err *err);

#endif
