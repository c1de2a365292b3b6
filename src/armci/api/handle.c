/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handle->target is slot number and generation in one int, positive; anything else (0, or what
 * an uninitialised handle holds) names no slot. Slots live in chunks that never move.
 */
#include "armci/api/handle.h"

#include <stdlib.h>

#include "armci/core/fail.h"

enum { SLOT_BITS = 16, SLOTS = 1 << SLOT_BITS, CHUNK = 256, GENERATIONS = 1 << 14 };

struct slot {
	struct remote_handle handle;
	int generation; /* 1 … GENERATIONS - 1; that of the handle which has the slot */
	bool used;
};

static struct slot *chunks[SLOTS / CHUNK];
static int slot_count, next_slot;
static struct remote_handle implicit;

static struct slot *slot_at(int i)
{
	return &chunks[i / CHUNK][i % CHUNK];
}

/* A slot without operations, beginning the search after the last one found. */
static int take(void)
{
	for (int tries = 0; tries < slot_count && tries < CHUNK; tries++) {
		next_slot = (next_slot + 1) % slot_count;
		if (!slot_at(next_slot)->used ||
		    remote_pending(&slot_at(next_slot)->handle) == 0)
			return next_slot;
	}
	if (slot_count < SLOTS) {
		struct slot *chunk = calloc(CHUNK, sizeof *chunk);
		if (!chunk)
			fail("out of memory for non-blocking handles");
		chunks[slot_count / CHUNK] = chunk;
		next_slot = slot_count;
		slot_count += CHUNK;
		return next_slot;
	}
	remote_wait_all();
	return next_slot;
}

struct remote_handle *handle_find(const armci_hdl_t *handle)
{
	int slot = handle->target & (SLOTS - 1), generation = handle->target >> SLOT_BITS;
	if (handle->target <= 0 || slot >= slot_count || !slot_at(slot)->used ||
	    slot_at(slot)->generation != generation)
		return NULL;
	return &slot_at(slot)->handle;
}

struct remote_handle *handle_slot(armci_hdl_t *handle)
{
	if (!handle)
		return &implicit;
	struct remote_handle *found = handle_find(handle);
	if (found)
		return found;
	int i = take();
	struct slot *slot = slot_at(i);
	slot->used = true;
	slot->generation = slot->generation % (GENERATIONS - 1) + 1;
	handle->target = slot->generation << SLOT_BITS | i;
	return &slot->handle;
}

void handle_end(armci_hdl_t *handle)
{
	if (handle_find(handle))
		slot_at(handle->target & (SLOTS - 1))->used = false;
	handle->target = 0;
}

void handles_close(void)
{
	for (int i = 0; i < slot_count; i += CHUNK)
		free(chunks[i / CHUNK]);
	slot_count = next_slot = 0;
}
