/* SPDX-License-Identifier: BSD-3-Clause */
/* The own block as plain memory: others see its stores after a sync, it sees the others' puts
 * and sums; also block-cyclic. */
#include "check.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 34, COLUMNS = 27, ROUNDS = 12, SIGNALS = 8, WORDS = 96 };

static int block_is_empty(const struct box *block)
{
	return block->hi[0] < block->lo[0] || block->hi[1] < block->lo[1];
}

/* Store into the own block, or with check set, compare it. */
static void own_block(int g_a, const struct type *type, const struct num *values, int check)
{
	struct box block = {.ndim = 2};
	unsigned char *data;
	int at[2], ld;

	NGA_Distribution(g_a, check_rank, block.lo, block.hi);
	if (block_is_empty(&block))
		return;
	NGA_Access(g_a, block.lo, block.hi, &data, &ld);
	box_first(&block, at);
	do {
		int offset = (at[0] - block.lo[0]) * ld + at[1] - block.lo[1];
		void *place = data + (size_t)offset * type->size;
		struct num value = values[at[0] * COLUMNS + at[1]];

		if (!check)
			num_store(type, place, value);
		CHECK(num_is(type, place, value),
		      "the owner of (%d,%d) of %s sees %s instead of %s", at[0], at[1],
		      type->name, num_text(type, place), num_wanted(type, value));
	} while (box_next(&block, at));
	if (check)
		NGA_Release(g_a, block.lo, block.hi);
	else
		NGA_Release_update(g_a, block.lo, block.hi);
}

/* Rows in turn, by the rank after the one that had the row before. */
static void rows(int g_a, const struct type *type, int round, int acc)
{
	unsigned char one[16] __attribute__((aligned(16)));

	num_store(type, one, (struct num){1, 0});
	for (int i = 0; i < ROWS; i++) {
		struct box box = {.ndim = 2, .lo = {i, 0}, .hi = {i, COLUMNS - 1}};
		struct patch patch;

		if ((i + round) % check_ranks != check_rank)
			continue;
		patch = patch_create(type, &box, 0);
		for (int j = 0; j < COLUMNS; j++)
			num_store(type, patch.data + (size_t)j * type->size,
				  num_at(type, round, (size_t)(i * COLUMNS + j)));
		if (acc)
			NGA_Acc(g_a, box.lo, box.hi, patch.data, patch.ld, one);
		else
			NGA_Put(g_a, box.lo, box.hi, patch.data, patch.ld);
		patch_destroy(&patch);
	}
}

static void do_type(const struct type *type)
{
	int dims[2] = {ROWS, COLUMNS}, g_a = NGA_Create(type->ga, 2, dims, "own", NULL);
	struct num values[ROWS * COLUMNS];

	CHECK(g_a, "NGA_Create fails for %s", type->name);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < ROWS * COLUMNS; i++)
			values[i] = num_at(type, 100 + round, (size_t)i);
		own_block(g_a, type, values, 0);
		GA_Sync();
		check_array(g_a, values, "after plain stores");
		GA_Sync();
		rows(g_a, type, round, round % 2);
		for (int i = 0; i < ROWS * COLUMNS; i++) {
			struct num term = num_at(type, round, (size_t)i);

			values[i] = round % 2 ? num_add(values[i], term) : term;
		}
		GA_Sync();
		own_block(g_a, type, values, 1);
		GA_Sync();
	}
	GA_Destroy(g_a);
}

/*
 * Data, a fence, then a signal that the next rank polls for: when it sees the signal, it sees
 * the data. Round after round through all ranks, without a barrier.
 */
static void do_signals(void)
{
	int words[2] = {check_ranks, WORDS}, flags[1] = {check_ranks}, *map,
	    chunk[2] = {1, WORDS};
	int g_data, g_flag, next = (check_rank + 1) % check_ranks, block[1] = {check_ranks};
	int lo[2] = {next, 0}, hi[2] = {next, WORDS - 1}, ld[1] = {WORDS};
	int mine_lo[2] = {check_rank, 0}, mine_hi[2] = {check_rank, WORDS - 1};
	long data[WORDS];

	map = check_alloc((size_t)check_ranks, sizeof(*map));
	for (int rank = 0; rank < check_ranks; rank++)
		map[rank] = rank;
	g_data = NGA_Create(C_LONG, 2, words, "data", chunk);
	g_flag = NGA_Create_irreg(C_LONG, 1, flags, "flags", block, map);
	CHECK(g_data && g_flag, "NGA_Create fails");
	GA_Zero(g_data);
	GA_Zero(g_flag);
	for (int round = 1; round <= SIGNALS; round++) {
		/* The token goes around once in each round; rank 0 begins. */
		if (check_rank > 0 || round > 1) {
			long wanted = check_rank > 0 ? round : round - 1;

			while (NGA_Read_inc(g_flag, &check_rank, 0) < wanted)
				sched_yield();
			NGA_Get(g_data, mine_lo, mine_hi, data, ld);
			for (int i = 0; i < WORDS; i++)
				CHECK(data[i] == wanted * 1000 + i,
				      "after signal %ld word %d is %ld, not %ld", wanted, i,
				      data[i], wanted * 1000 + i);
		}
		for (int i = 0; i < WORDS; i++)
			data[i] = round * 1000 + i;
		GA_Init_fence();
		NGA_Put(g_data, lo, hi, data, ld);
		GA_Fence();
		NGA_Read_inc(g_flag, &next, 1);
	}
	GA_Sync();
	GA_Destroy(g_flag);
	GA_Destroy(g_data);
	free(map);
}

/* Blocks dealt out to the ranks in turn, each accessed by its number. */
static void do_cyclic(const struct type *type)
{
	int dims[2] = {ROWS, COLUMNS}, tile[2] = {7, 5}, g_a = GA_Create_handle();
	struct num values[ROWS * COLUMNS];
	int blocks;

	GA_Set_data(g_a, 2, dims, type->ga);
	GA_Set_block_cyclic(g_a, tile);
	CHECK(GA_Allocate(g_a), "GA_Allocate of a block-cyclic array fails");
	blocks = GA_Total_blocks(g_a);
	CHECK(blocks == (ROWS + 6) / 7 * ((COLUMNS + 4) / 5), "there are %d blocks", blocks);
	for (int i = 0; i < ROWS * COLUMNS; i++)
		values[i] = num_at(type, 9, (size_t)i);
	for (int b = check_rank; b < blocks; b += check_ranks) {
		struct box block = {.ndim = 2};
		unsigned char *data;
		int at[2], ld;

		NGA_Distribution(g_a, b, block.lo, block.hi);
		NGA_Access_block(g_a, b, &data, &ld);
		box_first(&block, at);
		do {
			int offset = (at[0] - block.lo[0]) * ld + at[1] - block.lo[1];

			num_store(type, data + (size_t)offset * type->size,
				  values[at[0] * COLUMNS + at[1]]);
		} while (box_next(&block, at));
		NGA_Release_update_block(g_a, b);
	}
	GA_Sync();
	check_array(g_a, values, "in a block-cyclic array");
	GA_Sync();
	rows(g_a, type, 3, 1);
	for (int i = 0; i < ROWS * COLUMNS; i++)
		values[i] = num_add(values[i], num_at(type, 3, (size_t)i));
	GA_Sync();
	check_array(g_a, values, "in a block-cyclic array after acc");
	GA_Sync();
	GA_Destroy(g_a);
}

int main(int argc, char **argv)
{
	check_begin(&argc, &argv);
	for (int t = 0; t < check_types_count; t++) {
		do_type(&check_types[t]);
		do_cyclic(&check_types[t]);
	}
	do_signals();
	return check_end();
}
