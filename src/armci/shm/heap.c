/* SPDX-License-Identifier: BSD-3-Clause */
/* The heap of one rank: runs of pages in two-level bins, with the page map kept exact for
 * global blocks. */
#include "armci/shm/heap.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "armci/core/job.h"
#include "armci/core/settings.h"
#include "armci/shm/arena.h"

/*
 * A run is a number of adjacent pages that are one block, or free. What is known of it is in an
 * array that has an entry for every page, valid where a run starts; it is private and, like the
 * slice, only as large as what was touched. No two free runs are adjacent.
 */
struct run {
	uint32_t pages;      /* 0: no run starts here */
	uint32_t before;     /* pages of the free run that ends here, 0: none does */
	uint32_t next, prev; /* free runs of one bin */
	uint8_t kind;        /* enum heap_kind; HEAP_NONE: free */
	uint8_t skew;        /* of the block, as in the page map */
	size_t bytes;        /* asked for */
};

/*
 * Bins: up to LINEAR pages one for each size; above, FINE bins for every power of two. Bit b of
 * fine_map[c] says that bin (c, b) is not empty, bit c of coarse_map that fine_map[c] is not
 * zero.
 */
enum { FINE_BITS = 5, FINE = 1 << FINE_BITS, COARSE = 32 - FINE_BITS + 1, LOOK = 8 };

#define NO_RUN UINT32_MAX

static struct {
	char *base;               /* of my slice */
	struct arena_page *pages; /* of my slice */
	struct run *runs;         /* [page_count + 1] */
	uint32_t page_count;
	uint32_t skew_turn;
	uint32_t coarse_map;
	uint32_t fine_map[COARSE];
	uint32_t bins[COARSE][FINE];
	size_t used[HEAP_INTERNAL + 1];
	size_t peak;
} heap;

struct bin {
	unsigned coarse, fine;
};

/* The bin that a run of so many pages is kept in. */
static inline struct bin bin_of(uint32_t pages)
{
	unsigned shift;

	if (pages < FINE)
		return (struct bin){0, pages};
	shift = 31u - (unsigned)__builtin_clz(pages) - FINE_BITS;
	return (struct bin){shift + 1, (pages >> shift) - FINE};
}

static void bin_insert(uint32_t at, uint32_t pages)
{
	struct bin bin = bin_of(pages);
	uint32_t *head = &heap.bins[bin.coarse][bin.fine];
	struct run *run = &heap.runs[at];

	run->pages = pages;
	run->kind = HEAP_NONE;
	run->prev = NO_RUN;
	run->next = *head;
	if (*head != NO_RUN)
		heap.runs[*head].prev = at;
	*head = at;
	heap.fine_map[bin.coarse] |= 1u << bin.fine;
	heap.coarse_map |= 1u << bin.coarse;
	heap.runs[at + pages].before = pages;
}

static void bin_remove(uint32_t at)
{
	struct run *run = &heap.runs[at];
	struct bin bin = bin_of(run->pages);

	if (run->next != NO_RUN)
		heap.runs[run->next].prev = run->prev;
	if (run->prev != NO_RUN) {
		heap.runs[run->prev].next = run->next;
	} else {
		heap.bins[bin.coarse][bin.fine] = run->next;
		if (run->next == NO_RUN) {
			heap.fine_map[bin.coarse] &= ~(1u << bin.fine);
			if (heap.fine_map[bin.coarse] == 0)
				heap.coarse_map &= ~(1u << bin.coarse);
		}
	}
	heap.runs[at + run->pages].before = 0;
}

/* The smallest good one of the first runs in the bin of this size, whose sizes vary by some
 * percent. */
static uint32_t bin_search(struct bin bin, uint32_t pages)
{
	uint32_t best = NO_RUN;
	uint32_t at = heap.bins[bin.coarse][bin.fine];

	for (int i = 0; i < LOOK && at != NO_RUN; i++, at = heap.runs[at].next) {
		uint32_t have = heap.runs[at].pages;

		if (have >= pages && (best == NO_RUN || have < heap.runs[best].pages))
			best = at;
		if (have == pages)
			break;
	}
	return best;
}

/* The whole bin: the last resort. */
static uint32_t bin_search_all(struct bin bin, uint32_t pages)
{
	uint32_t at = heap.bins[bin.coarse][bin.fine];

	while (at != NO_RUN && heap.runs[at].pages < pages)
		at = heap.runs[at].next;
	return at;
}

/* A free run of at least so many pages, or NO_RUN. */
static uint32_t run_find(uint32_t pages)
{
	struct bin bin = bin_of(pages);
	uint32_t found = bin_search(bin, pages);
	uint32_t map;

	if (found != NO_RUN)
		return found;
	/* Any run of a larger bin will do. */
	map = bin.fine + 1 < FINE ? heap.fine_map[bin.coarse] & (~0u << (bin.fine + 1)) : 0;
	if (map == 0) {
		uint32_t coarse = heap.coarse_map & (~0u << (bin.coarse + 1));

		if (coarse == 0)
			return bin_search_all(bin, pages);
		bin.coarse = (unsigned)__builtin_ctz(coarse);
		map = heap.fine_map[bin.coarse];
	}
	bin.fine = (unsigned)__builtin_ctz(map);
	return heap.bins[bin.coarse][bin.fine];
}

/* Units of 64 bytes that skews are made of. */
enum {
	SKEW_STEP = 2,
	SKEW_LEAST = 4,
	SKEW_TURNS = 13,
	SKEW_MOST = SKEW_LEAST + SKEW_STEP * (SKEW_TURNS - 1)
};

/* Larger blocks have room for any skew, so that their pages depend on their size alone. */
static uint32_t pages_for(size_t bytes)
{
	size_t room = bytes > ARENA_PAGE ? SKEW_MOST * 64u : 0;
	size_t pages;

	if (bytes > arena.slice_bytes)
		return NO_RUN;
	pages = (bytes + room + ARENA_PAGE - 1) / ARENA_PAGE;
	return pages > heap.page_count ? NO_RUN : (uint32_t)pages;
}

static uint8_t skew_for(size_t bytes)
{
	uint32_t skew;

	if (++heap.skew_turn >= SKEW_TURNS)
		heap.skew_turn = 0;
	skew = SKEW_LEAST + SKEW_STEP * heap.skew_turn;
	if (bytes > ARENA_PAGE)
		return (uint8_t)skew;
	while (skew > 0 && skew * 64 + bytes > ARENA_PAGE)
		skew -= SKEW_STEP;
	return (uint8_t)skew;
}

/* An entry of the page map as the word that it is written in. */
typedef uint64_t __attribute__((may_alias)) page_word;

static inline void page_write(struct arena_page *entry, page_word word)
{
	__atomic_store_n((page_word *)entry, word, __ATOMIC_RELAXED);
}

static page_word page_pack(struct arena_page page)
{
	page_word word;

	memcpy(&word, &page, sizeof(word));
	return word;
}

static void pages_mark(uint32_t at, const struct run *run)
{
	size_t end = run->skew * 64u + run->bytes; /* from the start of the run */
	struct arena_page *entry = &heap.pages[at];
	struct arena_page *last = entry + (end - 1) / ARENA_PAGE;
	struct arena_page page = {at + 1, ARENA_PAGE, run->kind, run->skew};
	page_word inner;

	if (entry < last) {
		page_write(entry++, page_pack(page));
		page.skew = 0;
	}
	inner = page_pack(page);
	while (entry < last)
		page_write(entry++, inner);
	page.limit = (uint16_t)((end - 1) % ARENA_PAGE + 1);
	page_write(last, page_pack(page));
}

static void pages_clear(uint32_t at, const struct run *run)
{
	struct arena_page *entry = &heap.pages[at];
	const struct arena_page *end = entry + run->pages;

	while (entry < end)
		page_write(entry++, 0);
}

int heap_open(struct err *err)
{
	size_t count = arena.slice_bytes / ARENA_PAGE;
	struct run *runs;

	runs = mmap(NULL, (count + 1) * sizeof(*runs), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (runs == MAP_FAILED)
		return err_sys(err, errno, "cannot map the tables of a heap of %zu MB",
			       arena.slice_bytes >> 20);
	memset(&heap, 0, sizeof(heap));
	memset(heap.bins, 0xff, sizeof(heap.bins)); /* NO_RUN */
	heap.runs = runs;
	heap.page_count = (uint32_t)count;
	heap.base = arena_at(arena.slice_start + (size_t)job.node_rank * arena.slice_bytes);
	heap.pages = arena.pages + (size_t)job.node_rank * count;
	/* Ranks that do the same begin at different skews. */
	heap.skew_turn = (uint32_t)job.rank * 3 % SKEW_TURNS;
	bin_insert(0, heap.page_count);
	return 0;
}

void heap_close(void)
{
	if (heap.runs)
		munmap(heap.runs, ((size_t)heap.page_count + 1) * sizeof(*heap.runs));
	memset(&heap, 0, sizeof(heap));
}

static size_t used_total(void)
{
	size_t total = 0;

	for (int kind = 0; kind <= HEAP_INTERNAL; kind++)
		total += heap.used[kind];
	return total;
}

static size_t largest_free(void)
{
	uint32_t largest = 0;
	unsigned coarse, fine;

	if (heap.coarse_map == 0)
		return 0;
	coarse = 31u - (unsigned)__builtin_clz(heap.coarse_map);
	fine = 31u - (unsigned)__builtin_clz(heap.fine_map[coarse]);
	for (uint32_t at = heap.bins[coarse][fine]; at != NO_RUN; at = heap.runs[at].next)
		if (heap.runs[at].pages > largest)
			largest = heap.runs[at].pages;
	return (size_t)largest * ARENA_PAGE;
}

static void *full(size_t bytes, struct err *err)
{
	err_set(err, ENOMEM,
		"no room for %zu bytes: of the %zu MB of shared memory of this rank %zu MB are in use, and the "
		"largest free piece has %zu MB (" SETTINGS_PREFIX "ARENA sets the size)",
		bytes, arena.slice_bytes >> 20, used_total() >> 20, largest_free() >> 20);
	return NULL;
}

void *heap_alloc(size_t bytes, enum heap_kind kind, struct err *err)
{
	uint32_t pages = pages_for(bytes);
	uint32_t at = pages == NO_RUN ? NO_RUN : run_find(pages);
	struct run *run;
	uint32_t rest;
	size_t total;

	if (at == NO_RUN)
		return full(bytes, err);
	run = &heap.runs[at];
	bin_remove(at);
	rest = run->pages - pages;
	if (rest > 0)
		bin_insert(at + pages, rest);
	run->pages = pages;
	run->kind = (uint8_t)kind;
	run->skew = skew_for(bytes);
	run->bytes = bytes;
	if (kind == HEAP_GLOBAL)
		pages_mark(at, run);
	heap.used[kind] += bytes;
	total = used_total();
	if (total > heap.peak)
		heap.peak = total;
	return heap.base + (size_t)at * ARENA_PAGE + run->skew * 64u;
}

/* The block that begins at `address`, or NO_RUN. */
static uint32_t block_find(const void *address)
{
	size_t offset = (uintptr_t)address - (uintptr_t)heap.base;
	const struct run *run;

	if (!heap.runs || offset >= arena.slice_bytes)
		return NO_RUN;
	run = &heap.runs[offset / ARENA_PAGE];
	if (run->pages == 0 || run->kind == HEAP_NONE || offset % ARENA_PAGE != run->skew * 64u)
		return NO_RUN;
	return (uint32_t)(offset / ARENA_PAGE);
}

size_t heap_size(const void *address, enum heap_kind kind)
{
	uint32_t at = block_find(address);

	return at != NO_RUN && heap.runs[at].kind == kind ? heap.runs[at].bytes : 0;
}

void heap_free(void *address)
{
	uint32_t at = block_find(address);
	struct run *run;
	uint32_t pages, after;

	assert(at != NO_RUN);
	run = &heap.runs[at];
	pages = run->pages;
	heap.used[run->kind] -= run->bytes;
	if (run->kind == HEAP_GLOBAL)
		pages_clear(at, run);
	after = at + pages;
	if (after < heap.page_count && heap.runs[after].kind == HEAP_NONE) {
		pages += heap.runs[after].pages;
		bin_remove(after);
		heap.runs[after].pages = 0;
	}
	if (run->before > 0) {
		uint32_t before = run->before;

		run->pages = 0;
		run->before = 0;
		at -= before;
		pages += before;
		bin_remove(at);
	}
	bin_insert(at, pages);
}

void heap_usage(size_t ret_used[4], size_t *ret_peak)
{
	memcpy(ret_used, heap.used, sizeof(heap.used));
	*ret_peak = heap.peak;
}
