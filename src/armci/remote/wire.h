/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests and answers between a client and the service thread of another node: their bytes,
 * made and checked. */
#ifndef STASIS_ARMCI_REMOTE_WIRE_H
#define STASIS_ARMCI_REMOTE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "armci/core/acc.h"
#include "armci/core/xfer.h"

/* All ranks of a job run one build on one kind of processor: integers are in its byte order. */
enum wire_op {
	WIRE_PUT,     /* shape, then rows × row bytes */
	WIRE_ACC,     /* shape, scale unless one, then rows × row bytes */
	WIRE_GET,     /* shape; the answer carries the bytes */
	WIRE_PUTV,    /* count offsets, then count × row bytes */
	WIRE_ACCV,    /* count offsets, scale unless one, then the bytes */
	WIRE_GETV,    /* count offsets */
	WIRE_RMW,     /* far, value; the answer's value is the old one */
	WIRE_LOCK,    /* far; answered when the sender holds the mutex */
	WIRE_TRYLOCK, /* far; status -EBUSY if somebody has it */
	WIRE_UNLOCK,  /* far */
	WIRE_CHECK,   /* far, value = bytes; answer's status 0 if it is global memory */
	WIRE_KEYS, /* far = first region, count; the answer carries struct transport_key each */
	WIRE_MESSAGE, /* value = rank; then one mailbox part */
	WIRE_PING,
	WIRE_OPS
};

struct wire_request {
	uint8_t op;
	uint8_t type;   /* enum acc_type, or enum remote_rmw */
	uint8_t scaled; /* a scale of acc_size(type) bytes stands before the data */
	uint8_t levels; /* of the shape */
	uint32_t id;    /* comes back in the answer */
	uint32_t from;  /* world rank of the sender */
	uint32_t count; /* rows (shape), offsets (vector), regions */
	uint64_t far;   /* offset in this node's arena */
	uint64_t row;   /* bytes a row */
	uint64_t first; /* first row of the shape that is meant */
	int64_t value;
};

/* A level of the shape, `levels` of them after the request. */
struct wire_level {
	uint64_t count;
	int64_t far_stride;
};

struct wire_answer {
	uint32_t id;
	int32_t status; /* 0 or -errno */
	int64_t value;
};

/* A request taken apart; pointers lead into the message. */
struct wire_view {
	struct wire_request head;
	struct xfer shape;      /* near strides are zero */
	const uint8_t *offsets; /* count × 8 bytes, unaligned; vector operations */
	const void *scale;      /* NULL: one */
	const void *data;       /* what follows */
	size_t data_bytes;
};

/*
 * Take a message apart: everything in it is checked against its length and for arithmetic that
 * would overflow; data_bytes is what the operation needs, no more and no less. `answer_bytes`
 * bounds what GET and GETV may ask for. -EINVAL otherwise. Whether offsets are global memory is
 * for the server to check.
 */
int wire_decode(const void *message, size_t bytes, size_t answer_bytes,
		struct wire_view *ret_view);

/* Put head and shape (or nothing for levels 0) at the start of the buffer: returns how many
 * bytes. */
size_t wire_encode(void *buffer, const struct wire_request *head, const struct xfer *shape);

/* The rows first … first + rows of a shape. */
struct wire_rows {
	const struct xfer *shape;
	uint64_t left;
	size_t index[XFER_LEVELS_MAX];
	ptrdiff_t near, far;
};
void wire_rows_begin(struct wire_rows *rows, const struct xfer *shape, uint64_t first,
		     uint64_t count);
void wire_rows_next(struct wire_rows *rows);

#endif
