/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared counters: each ticket is drawn once; counters on every rank; reset by a plain store of
 * their owner between syncs. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { TICKETS = 400, PLACES = 24, DRAWS = 150, RESETS = 40 };

/* Every ticket below TICKETS is drawn exactly once; the counter ends where it should. */
static void draw_tickets(int type, int bound_to_last)
{
	int dims[1] = {bound_to_last ? check_ranks : 1}, chunk[1] = {1};
	int at[1] = {dims[0] - 1}, *drawn = check_alloc(TICKETS, sizeof(*drawn));
	int g_n = NGA_Create(type, 1, dims, "tickets", chunk);
	long ticket, last = -1, wanted = TICKETS + check_ranks;

	CHECK(g_n, "NGA_Create of a counter fails");
	GA_Zero(g_n);
	while ((ticket = NGA_Read_inc(g_n, at, 1)) < TICKETS) {
		CHECK(ticket > last, "ticket %ld comes after %ld", ticket, last);
		drawn[ticket]++;
		last = ticket;
	}
	GA_Igop(drawn, TICKETS, "+");
	for (int i = 0; i < TICKETS; i++)
		CHECK(drawn[i] == 1, "ticket %d is drawn %d times", i, drawn[i]);
	GA_Sync();
	ticket = NGA_Read_inc(g_n, at, 0);
	CHECK(ticket == wanted, "the counter ends at %ld, not %ld", ticket, wanted);
	GA_Sync();
	GA_Destroy(g_n);
	free(drawn);
}

/* Many counters, any increments, negative ones too; what was read before adds up to what is
 * there after. */
static void count_everywhere(int ga_type)
{
	const struct type *type = type_find(ga_type);
	int dims[1] = {PLACES}, g_n = NGA_Create(ga_type, 1, dims, "counters", NULL);
	struct num expected[PLACES] = {{0, 0}};

	CHECK(g_n, "NGA_Create of counters fails");
	GA_Zero(g_n);
	for (int rank = 0; rank < check_ranks; rank++) {
		struct random random = {.seed = 300 + (uint64_t)rank};

		for (int i = 0; i < DRAWS; i++) {
			int at[1] = {random_below(&random, PLACES)};
			long inc = random_below(&random, 41) - 20;

			expected[at[0]].re += inc;
			if (rank == check_rank)
				NGA_Read_inc(g_n, at, inc);
		}
	}
	GA_Sync();
	check_array(g_n, expected, type->name);
	GA_Sync();
	GA_Destroy(g_n);
}

/* Values beyond 32 bits; an increment has 32. */
static void count_far(void)
{
	int dims[1] = {1}, at[1] = {0}, g_n = NGA_Create(C_LONG, 1, dims, "far", NULL);
	long step = (1L << 30) + 3, start = (1L << 40) - 5, got;

	GA_Fill(g_n, &start);
	for (int i = 0; i < 20; i++)
		NGA_Read_inc(g_n, at, step);
	GA_Sync();
	got = NGA_Read_inc(g_n, at, 0);
	CHECK(got == start + 20 * step * check_ranks, "a counter of 64 bits is %ld, not %ld",
	      got, start + 20 * step * check_ranks);
	GA_Sync();
	GA_Destroy(g_n);
}

/* The owner stores and loads the counter directly, all ranks draw between; in turn on each
 * rank. */
static void reset_by_store(int ga_type)
{
	const struct type *type = type_find(ga_type);
	int dims[1] = {check_ranks}, block[1] = {check_ranks};
	int *map = check_alloc((size_t)check_ranks, sizeof(*map));
	int g_n;

	for (int rank = 0; rank < check_ranks; rank++)
		map[rank] = rank;
	g_n = NGA_Create_irreg(ga_type, 1, dims, "reset", block, map);
	CHECK(g_n, "NGA_Create_irreg of counters fails");
	GA_Zero(g_n);
	for (int round = 0; round < RESETS; round++) {
		int at[1] = {(round + check_ranks - 1) % check_ranks}, ld[1],
		    draws = 1 + round % 7;
		long begin = round * 17 - 100, final = begin + draws * check_ranks,
		     before = begin - 1;
		void *place;

		if (at[0] == check_rank) {
			NGA_Access(g_n, at, at, &place, ld);
			num_store(type, place, (struct num){begin, 0});
			NGA_Release_update(g_n, at, at);
		}
		GA_Sync();
		for (int i = 0; i < draws; i++) {
			long got = NGA_Read_inc(g_n, at, 1);

			CHECK(got > before && got < final,
			      "round %d: %ld is drawn after %ld, from a counter reset to %ld",
			      round, got, before, begin);
			before = got;
		}
		GA_Sync();
		if (at[0] == check_rank) {
			NGA_Access(g_n, at, at, &place, ld);
			CHECK(num_is(type, place, (struct num){final, 0}),
			      "round %d: the owner sees %s in its counter instead of %ld",
			      round, num_text(type, place), final);
			NGA_Release(g_n, at, at);
		}
	}
	GA_Destroy(g_n);
	free(map);
}

int main(int argc, char **argv)
{
	check_begin(&argc, &argv);
	for (int bound_to_last = 0; bound_to_last < 2; bound_to_last++) {
		draw_tickets(C_INT, bound_to_last);
		draw_tickets(C_LONG, bound_to_last);
	}
	count_everywhere(C_INT);
	count_everywhere(C_LONG);
	count_far();
	reset_by_store(C_INT);
	reset_by_store(C_LONG);
	return check_end();
}
