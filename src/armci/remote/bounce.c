/* SPDX-License-Identifier: BSD-3-Clause */
/* Bounce slots: two stacks of free ones. Client side only, under the library's lock. */
#include "armci/remote/bounce.h"

#include <errno.h>
#include <stdlib.h>

#include "armci/core/settings.h"
#include "armci/shm/arena.h"
#include "armci/shm/heap.h"

/* Slots of one size: `count` of them at `base`, the free ones on a stack. */
struct slots {
	char *base;
	size_t each, count, free;
	void **stack;
};

static struct slots small = {.each = BOUNCE_SMALL}, large = {.each = BOUNCE_LARGE};

/* A slot is registered as a whole: the few that lie across a boundary of regions are left out.
 */
static bool in_one_region(const char *slot, size_t bytes)
{
	uint64_t size = (uint64_t)settings.region_bytes;
	uint64_t first = arena_offset(slot);
	return first / size == (first + bytes - 1) / size;
}

static int slots_open(struct slots *slots, size_t bytes, struct err *err)
{
	slots->count = bytes / slots->each;
	slots->stack = malloc(slots->count * sizeof *slots->stack);
	slots->base = heap_alloc(slots->count * slots->each, HEAP_INTERNAL, err);
	if (!slots->stack || !slots->base)
		return err_set(err, ENOMEM, "out of memory for %zu bytes of bounce memory",
			       bytes);
	slots->free = 0;
	for (size_t i = 0; i < slots->count; i++) {
		char *slot = slots->base + i * slots->each;
		if (in_one_region(slot, slots->each))
			slots->stack[slots->free++] = slot;
	}
	return 0;
}

static void slots_close(struct slots *slots)
{
	if (slots->base)
		heap_free(slots->base);
	free(slots->stack);
	slots->base = NULL;
	slots->stack = NULL;
	slots->free = slots->count = 0;
}

int bounce_open(struct err *err)
{
	size_t bytes = (size_t)settings.bounce_bytes;
	int rc = slots_open(&small, bytes / 4, err);
	return rc < 0 ? rc : slots_open(&large, bytes - bytes / 4, err);
}

void bounce_close(void)
{
	slots_close(&large);
	slots_close(&small);
}

void *bounce_get(size_t bytes)
{
	if (bytes <= BOUNCE_SMALL && small.free)
		return small.stack[--small.free];
	return large.free ? large.stack[--large.free] : NULL;
}

void bounce_put(void *slot)
{
	char *at = slot;
	struct slots *slots = at >= small.base && at < small.base + small.count * small.each
				      ? &small
				      : &large;
	slots->stack[slots->free++] = slot;
}
