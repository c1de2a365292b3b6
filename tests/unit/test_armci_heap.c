/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of libarmci's heap and page map against a model of what is allocated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "arena_fixture.h"

enum { SLICE = 8 << 20, RANKS = 3, BLOCKS = 200, ROUNDS = 20000 };

struct block {
	char *at;
	size_t bytes;
	enum heap_kind kind;
	unsigned char fill;
};

static struct block blocks[BLOCKS];
static uint64_t random_state;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static size_t random_below(size_t limit)
{
	return (size_t)(random_next() % limit);
}

static int setup(void **state)
{
	(void)state;
	random_state = 88172645463325252ULL;
	memset(blocks, 0, sizeof(blocks));
	return fixture_open(RANKS, SLICE);
}

static int teardown(void **state)
{
	(void)state;
	fixture_close();
	return 0;
}

/* What the page map says of [at, at + bytes), and what it must say of a global block and its
 * surroundings. */
static bool is_global(const char *at, size_t bytes)
{
	return arena_is_global(arena_offset(at), bytes);
}

/* By the model: the byte belongs to a global block. */
static bool is_in_some(const char *at)
{
	for (size_t i = 0; i < BLOCKS; i++)
		if (blocks[i].at && blocks[i].kind == HEAP_GLOBAL && at >= blocks[i].at &&
		    at < blocks[i].at + blocks[i].bytes)
			return true;
	return false;
}

static void check_edges(const struct block *block)
{
	bool global = block->kind == HEAP_GLOBAL;
	char *end = block->at + block->bytes;
	size_t inside = random_below(block->bytes);

	assert_int_equal(is_global(block->at, block->bytes), global);
	assert_int_equal(is_global(block->at, 1), global);
	assert_int_equal(is_global(end - 1, 1), global);
	assert_int_equal(is_global(block->at + inside, block->bytes - inside), global);
	assert_int_equal(is_global(block->at - 1, 1), is_in_some(block->at - 1));
	assert_false(is_global(block->at - 1, 2));
	assert_false(is_global(block->at, block->bytes + 1));
	assert_false(is_global(end - 1, 2));
	assert_int_equal(is_global(end, 1), is_in_some(end));
	assert_false(is_global(block->at + inside, block->bytes - inside + 1));
	assert_int_equal(is_global(block->at, 0), global || is_in_some(block->at - 1));
	assert_int_equal(is_global(end, 0), global || is_in_some(end));
	assert_int_equal(heap_size(block->at, block->kind), block->bytes);
	assert_int_equal(heap_size(block->at + 1, block->kind), 0);
	assert_int_equal(
		heap_size(block->at, block->kind == HEAP_LOCAL ? HEAP_GLOBAL : HEAP_LOCAL), 0);
}

static void check_placed(const struct block *block)
{
	char *slice = arena_at(arena.slice_start + (size_t)job.node_rank * arena.slice_bytes);

	assert_true(block->at >= slice &&
		    block->at + block->bytes <= slice + arena.slice_bytes);
	assert_int_equal((uintptr_t)block->at % 128, 0);
	if (block->bytes > ARENA_PAGE)
		assert_int_not_equal((uintptr_t)block->at % ARENA_PAGE, 0);
	for (size_t i = 0; i < BLOCKS; i++)
		if (blocks[i].at && &blocks[i] != block)
			assert_true(blocks[i].at + blocks[i].bytes <= block->at ||
				    block->at + block->bytes <= blocks[i].at);
}

/* First and last bytes carry the fill, so that blocks that overlap or move are seen. */
static void fill(struct block *block)
{
	block->fill = (unsigned char)random_next();
	block->at[0] = block->at[block->bytes - 1] = (char)block->fill;
}

static size_t random_bytes(void)
{
	switch (random_below(5)) {
	case 0: return 1 + random_below(64);
	case 1: return 1 + random_below(2 * ARENA_PAGE);
	case 2: return ARENA_PAGE * (1 + random_below(40));
	case 3: return 1 + random_below(400000);
	default: return 65536;
	}
}

static void check_usage(void)
{
	size_t expected[4] = {0}, used[4], peak, total = 0;

	for (size_t i = 0; i < BLOCKS; i++)
		if (blocks[i].at)
			expected[blocks[i].kind] += blocks[i].bytes;
	heap_usage(used, &peak);
	for (int kind = 0; kind < 4; kind++) {
		assert_int_equal(used[kind], expected[kind]);
		total += used[kind];
	}
	assert_true(peak >= total);
}

static void block_release(struct block *block)
{
	char *at = block->at;

	assert_int_equal((unsigned char)at[0], block->fill);
	assert_int_equal((unsigned char)at[block->bytes - 1], block->fill);
	heap_free(at);
	assert_int_equal(heap_size(at, block->kind), 0);
	assert_false(is_global(at, 1));
	assert_false(is_global(at + block->bytes - 1, 1));
	assert_false(is_global(at + block->bytes / 2, 1));
	block->at = NULL;
}

static void test_random_against_model(void **state)
{
	size_t full = 0;
	struct err err;

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		struct block *block = &blocks[random_below(BLOCKS)];

		if (block->at) {
			check_edges(block);
			block_release(block);
			continue;
		}
		block->bytes = random_bytes();
		block->kind = (enum heap_kind)(HEAP_GLOBAL + random_below(3));
		err = ERR_INIT;
		block->at = heap_alloc(block->bytes, block->kind, &err);
		if (!block->at) {
			assert_int_equal(err.code, ENOMEM);
			full++;
			continue;
		}
		check_placed(block);
		check_edges(block);
		fill(block);
		if (round % 64 == 0)
			check_usage();
	}
	assert_true(full > 0); /* the slice was full at times */
	for (size_t i = 0; i < BLOCKS; i++)
		if (blocks[i].at)
			block_release(&blocks[i]);
	check_usage();
	/* All is one piece again, and no page is marked. */
	blocks[0].at = heap_alloc(SLICE - 4 * ARENA_PAGE, HEAP_LOCAL, NULL);
	assert_non_null(blocks[0].at);
	for (size_t i = 0; i < RANKS * (SLICE / ARENA_PAGE); i++)
		assert_int_equal(arena.pages[i].head, 0);
}

static void test_every_byte_of_a_block(void **state)
{
	static const size_t sizes[] = {1, 127, 4096, 4097, 8192, 12345};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *at = heap_alloc(sizes[i], HEAP_GLOBAL, NULL);

		for (ptrdiff_t byte = -5000; byte < (ptrdiff_t)sizes[i] + 5000; byte++) {
			bool inside = byte >= 0 && byte < (ptrdiff_t)sizes[i];

			assert_int_equal(is_global(at + byte, 1), inside);
		}
		heap_free(at);
	}
}

static void test_ranges_across_blocks_are_refused(void **state)
{
	char *a = heap_alloc(ARENA_PAGE, HEAP_GLOBAL, NULL);
	char *b = heap_alloc(ARENA_PAGE, HEAP_GLOBAL, NULL);

	(void)state;
	/* A block of a whole page has no skew: the two touch. */
	assert_ptr_equal(a + ARENA_PAGE, b);
	assert_true(is_global(a, ARENA_PAGE));
	assert_true(is_global(b, ARENA_PAGE));
	assert_false(is_global(a, ARENA_PAGE + 1));
	assert_false(is_global(a, 2 * ARENA_PAGE));
	assert_false(arena_is_global(0, 1));
	assert_false(arena_is_global(arena.slice_start - 1, 1));
	assert_false(arena_is_global(arena.bytes, 1));
	assert_false(arena_is_global(arena.bytes, 0));
	assert_false(arena_is_global(UINT64_MAX, 1));
	assert_false(arena_is_global(arena_offset(a), SIZE_MAX));
	assert_false(arena_is_global(arena_offset(a), SIZE_MAX - arena_offset(a)));
}

static void test_exhaustion_and_coalescing(void **state)
{
	char *pages[SLICE / ARENA_PAGE];
	size_t count = 0;
	struct err err = ERR_INIT;

	(void)state;
	assert_null(heap_alloc(SIZE_MAX, HEAP_GLOBAL, &err));
	assert_int_equal(err.code, ENOMEM);
	assert_non_null(strstr(err.msg, "STASIS_ARMCI_ARENA"));
	assert_null(heap_alloc(SLICE, HEAP_GLOBAL, NULL)); /* no room for the skew */
	while (count < SLICE / ARENA_PAGE) {
		pages[count] = heap_alloc(ARENA_PAGE, HEAP_GLOBAL, NULL);
		assert_non_null(pages[count++]);
	}
	assert_null(heap_alloc(1, HEAP_GLOBAL, NULL));
	/* Every other page free: nothing larger fits. */
	for (size_t i = 0; i < count; i += 2)
		heap_free(pages[i]);
	assert_null(heap_alloc(ARENA_PAGE + 1, HEAP_GLOBAL, NULL));
	for (size_t i = 1; i < count; i += 2)
		heap_free(pages[i]);
	pages[0] = heap_alloc(SLICE - ARENA_PAGE, HEAP_LOCAL, NULL);
	assert_non_null(pages[0]);
	heap_free(pages[0]);
}

/* The last resort: a run in the same bin as the size asked for, behind many that are too small.
 */
static void test_fits_are_found_behind_misfits(void **state)
{
	enum { SMALL = 129 * ARENA_PAGE, LARGE = 131 * ARENA_PAGE, MANY = 12, SKEWED = 4096 };
	char *small[MANY], *large, *rest;
	size_t bytes = SLICE - 4 * ARENA_PAGE;

	(void)state;
	large = heap_alloc(LARGE - SKEWED, HEAP_LOCAL, NULL);
	heap_alloc(1, HEAP_LOCAL, NULL);
	for (int i = 0; i < MANY; i++) {
		small[i] = heap_alloc(SMALL - SKEWED, HEAP_LOCAL, NULL);
		heap_alloc(1, HEAP_LOCAL, NULL);
		assert_non_null(small[i]);
	}
	do {
		rest = heap_alloc(bytes, HEAP_LOCAL, NULL);
		bytes -= rest ? 0 : ARENA_PAGE;
	} while (!rest);
	heap_free(large);
	for (int i = 0; i < MANY; i++)
		heap_free(small[i]);
	assert_ptr_equal((char *)heap_alloc(LARGE - SKEWED, HEAP_LOCAL, NULL) - large <
					 ARENA_PAGE
				 ? large
				 : NULL,
			 large);
}

static void test_freed_blocks_are_reused_first(void **state)
{
	uintptr_t first, again;
	char *at;

	(void)state;
	heap_alloc(65536, HEAP_GLOBAL, NULL);
	at = heap_alloc(65536, HEAP_GLOBAL, NULL);
	heap_alloc(65536, HEAP_GLOBAL, NULL);
	first = (uintptr_t)at / ARENA_PAGE;
	for (int i = 0; i < 100; i++) {
		heap_free(at);
		at = heap_alloc(65536, HEAP_GLOBAL, NULL);
		again = (uintptr_t)at / ARENA_PAGE;
		assert_int_equal(again, first);
	}
}

static void test_slices_of_other_ranks(void **state)
{
	char *mine = heap_alloc(5000, HEAP_GLOBAL, NULL), *theirs;

	(void)state;
	heap_close();
	fixture_become(1, RANKS);
	assert_int_equal(heap_open(NULL), 0);
	theirs = heap_alloc(5000, HEAP_GLOBAL, NULL);
	assert_true((size_t)(theirs - mine) > SLICE - (2 * ARENA_PAGE));
	assert_int_not_equal((uintptr_t)mine % ARENA_PAGE, (uintptr_t)theirs % ARENA_PAGE);
	assert_true(is_global(mine, 5000));
	assert_true(is_global(theirs, 5000));
	assert_int_equal(heap_size(mine, HEAP_GLOBAL), 0);
	assert_int_equal(heap_size(theirs, HEAP_GLOBAL), 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random_against_model, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_byte_of_a_block, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ranges_across_blocks_are_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_exhaustion_and_coalescing, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_fits_are_found_behind_misfits, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_freed_blocks_are_reused_first, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_slices_of_other_ranks, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
