/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: requests from other nodes and parts of mailbox messages. The first byte chooses.
 */
#include <stdlib.h>

#include "armci/coll/part.h"
#include "armci/remote/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Walks of more rows than this are cut short. */
enum { ROWS_MAX = 4096, ANSWER_BYTES = 16384, RANKS = 7 };

static volatile uint8_t sink;

/* Read every byte, so that a sanitizer sees whether it is there. */
static void touch(const void *data, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		sink ^= ((const uint8_t *)data)[i];
}

/* Each row of a shape that was accepted lies within the extent that the server checks. */
static void walk(const struct wire_view *view)
{
	ptrdiff_t low, high;
	struct wire_rows rows;
	unsigned int count = 0;
	xfer_far_extent(&view->shape, &low, &high);
	for (wire_rows_begin(&rows, &view->shape, view->head.first, view->head.count);
	     rows.left; wire_rows_next(&rows)) {
		if (rows.far < low || rows.far + (ptrdiff_t)view->shape.row > high)
			abort();
		if (++count == ROWS_MAX)
			break;
	}
}

static void request(const uint8_t *data, size_t size)
{
	struct wire_view view;
	if (wire_decode(data, size, ANSWER_BYTES, &view) < 0)
		return;
	touch(view.data, view.data_bytes);
	if (view.scale)
		touch(view.scale, acc_size((enum acc_type)view.head.type));
	switch (view.head.op) {
	case WIRE_PUT:
	case WIRE_ACC:
	case WIRE_GET: walk(&view); break;
	case WIRE_PUTV:
	case WIRE_ACCV:
	case WIRE_GETV: touch(view.offsets, (size_t)view.head.count * 8); break;
	default: break;
	}
}

static void part(const uint8_t *data, size_t size)
{
	struct mbox_part part;
	if (mbox_part_decode(data, size, RANKS, &part) < 0)
		return;
	touch(part.data, part.bytes);
	if (part.from < 0 || part.from >= RANKS || part.bytes > part.total ||
	    part.offset > part.total - part.bytes)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	/* A copy of its own, so that reading past its end is seen. */
	size_t bytes = size - 1;
	uint8_t *copy = malloc(bytes ? bytes : 1);
	for (size_t i = 0; i < bytes; i++)
		copy[i] = data[i + 1];
	if (data[0] % 2 == 0)
		request(copy, bytes);
	else
		part(copy, bytes);
	free(copy);
	return 0;
}
