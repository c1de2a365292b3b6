/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables of the segments of ranks on other nodes: sorted by address, with the last hit
 * remembered. */
#include "armci/api/segments.h"

#include <stdlib.h>
#include <string.h>

#include "armci/api/near.h"
#include "armci/core/fail.h"
#include "armci/remote/remote.h"

struct segment {
	uintptr_t base;
	size_t bytes;
};

struct table {
	struct segment *rows;
	size_t count, size, last;
};

static struct table *tables; /* [job.size] */

/* Index of the last segment that begins at or below the address; count if none does. */
static size_t find(struct table *table, uintptr_t address)
{
	size_t low = 0, high = table->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (table->rows[middle].base <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? low - 1 : table->count;
}

static bool holds(const struct segment *segment, uintptr_t from, size_t bytes)
{
	return from >= segment->base && from - segment->base <= segment->bytes &&
	       bytes <= segment->bytes - (from - segment->base);
}

void segment_add(int rank, const void *base, size_t bytes)
{
	if (!tables)
		tables = calloc((size_t)job.size, sizeof *tables);
	struct table *table = tables ? &tables[rank] : NULL;
	if (table && table->count == table->size) {
		size_t size = table->size * 2 + 8;
		struct segment *rows = realloc(table->rows, size * sizeof *rows);
		if (rows) {
			table->rows = rows;
			table->size = size;
		}
	}
	if (!table || table->count == table->size)
		fail("out of memory for the table of segments");
	size_t at = find(table, (uintptr_t)base);
	at = at == table->count ? 0 : at + 1;
	memmove(&table->rows[at + 1], &table->rows[at],
		(table->count - at) * sizeof table->rows[0]);
	table->rows[at] = (struct segment){.base = (uintptr_t)base, .bytes = bytes};
	table->count++;
}

void segment_remove(int rank, const void *base)
{
	struct table *table = tables ? &tables[rank] : NULL;
	size_t at = table ? find(table, (uintptr_t)base) : 0;
	if (!table || at == table->count || table->rows[at].base != (uintptr_t)base)
		return;
	table->count--;
	memmove(&table->rows[at], &table->rows[at + 1],
		(table->count - at) * sizeof table->rows[0]);
}

void segments_close(void)
{
	for (int i = 0; tables && i < job.size; i++)
		free(tables[i].rows);
	free(tables);
	tables = NULL;
}

uint64_t segment_offset(int rank, const void *address)
{
	return (uintptr_t)address + near_ranks[rank].offset;
}

static bool known(int rank, uintptr_t from, size_t bytes)
{
	if (!tables)
		return false;
	struct table *table = &tables[rank];
	if (table->last < table->count && holds(&table->rows[table->last], from, bytes))
		return true;
	size_t at = find(table, from);
	if (at == table->count || !holds(&table->rows[at], from, bytes))
		return false;
	table->last = at;
	return true;
}

struct place segment_find(const struct call *call, const void *address, ptrdiff_t low,
			  ptrdiff_t high)
{
	int rank = call->rank;
	uintptr_t from = (uintptr_t)address + (uintptr_t)low;
	size_t bytes = (size_t)(high - low);
	const struct near_rank *there = &near_ranks[rank];
	uint64_t at = from - there->base;
	struct place place = {.node = job.node_of[rank], .far = segment_offset(rank, address)};
	uint64_t most = near_slice_bytes(rank);
	bool inside = at < most && bytes <= most - at;
	if (job_is_near(rank)) {
		if (inside && arena_is_global(from + there->offset, bytes)) {
			place.near = arena_at(place.far);
			return place;
		}
	} else if (inside && (known(rank, from, bytes) ||
			      remote_check(place.node, from + there->offset, bytes))) {
		return place;
	}
	call_fail(
		call,
		"addresses %p to %p of rank %d are not inside one segment made by ARMCI_Malloc%s",
		(void *)from, (void *)(from + bytes), rank,
		inside ? " (or it has been freed)" : "");
}
