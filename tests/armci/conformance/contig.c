/* SPDX-License-Identifier: BSD-3-Clause */
/* Contiguous put and get: all sizes and alignments, every target, every kind of local memory.
 */
#include <stdlib.h>
#include <string.h>

#include "conf.h"

enum { GUARD = 64, MAX_BYTES = 1 << 20, SLOT = MAX_BYTES + 2 * GUARD };

static const int sizes[] = {0, 1, 3, 7, 8, 13, 4096, 65537, MAX_BYTES};
static const int offsets[][2] = {{0, 0}, {1, 0}, {0, 1}, {3, 5}, {7, 2}, {5, 5}};
enum {
	SIZES = sizeof(sizes) / sizeof(sizes[0]),
	OFFSETS = sizeof(offsets) / sizeof(offsets[0]),
};

static void **bases; /* a slot of each writer in each rank's segment */

static uint64_t pattern(int from, int to, int bytes)
{
	return (uint64_t)from * 1000003 + (uint64_t)to * 10007 + (uint64_t)bytes;
}

static unsigned char *slot(int owner, int writer)
{
	return (unsigned char *)bases[owner] + (size_t)writer * SLOT;
}

/* Writer's slot in my segment: the data where it was put and nothing else changed. */
static void check_slot(int writer, int offset, int bytes)
{
	const unsigned char *mine = slot(conf_rank, writer);
	unsigned char *expected = conf_alloc((size_t)bytes + 2 * GUARD);

	memset(expected, 0xa5, (size_t)bytes + 2 * GUARD);
	conf_fill(expected + GUARD / 2 + offset, (size_t)bytes,
		  pattern(writer, conf_rank, bytes));
	CHECK_BYTES(expected, mine, (size_t)bytes + 2 * GUARD - 16,
		    "%d bytes put by rank %d at offset %d", bytes, writer, offset);
	free(expected);
}

static void put_case(unsigned char *local, int src_offset, int dst_offset, int bytes)
{
	for (int r = 0; r < conf_size; r++)
		memset(slot(conf_rank, r), 0xa5, (size_t)bytes + 2 * GUARD);
	ARMCI_Barrier();
	for (int k = 0; k < conf_size; k++) {
		int target = (conf_rank + k) % conf_size;

		conf_fill(local + src_offset, (size_t)bytes, pattern(conf_rank, target, bytes));
		CHECK_OK(ARMCI_Put(local + src_offset,
				   slot(target, conf_rank) + GUARD / 2 + dst_offset, bytes,
				   target));
	}
	ARMCI_Barrier();
	for (int r = 0; r < conf_size; r++)
		check_slot(r, dst_offset, bytes);
	ARMCI_Barrier();
}

static void get_case(unsigned char *local, int src_offset, int dst_offset, int bytes)
{
	unsigned char *expected = conf_alloc((size_t)bytes + GUARD);

	for (int r = 0; r < conf_size; r++)
		conf_fill(slot(conf_rank, r) + src_offset, (size_t)bytes,
			  pattern(conf_rank, r, bytes));
	ARMCI_Barrier();
	for (int k = 0; k < conf_size; k++) {
		int target = (conf_rank + k) % conf_size;

		memset(local, 0x5a, (size_t)bytes + GUARD);
		memset(expected, 0x5a, (size_t)bytes + GUARD);
		conf_fill(expected + dst_offset, (size_t)bytes,
			  pattern(target, conf_rank, bytes));
		CHECK_OK(ARMCI_Get(slot(target, conf_rank) + src_offset, local + dst_offset,
				   bytes, target));
		CHECK_BYTES(expected, local, (size_t)bytes + GUARD,
			    "%d bytes from rank %d, offsets %d and %d", bytes, target,
			    src_offset, dst_offset);
	}
	free(expected);
	ARMCI_Barrier();
}

/* All sizes, and as many alignments (large sizes: at most two), with local memory of one kind.
 */
static void all_cases(unsigned char *local, int alignments)
{
	for (int s = 0; s < SIZES; s++) {
		for (int o = 0; o < alignments && (o < 2 || sizes[s] < 65536); o++) {
			put_case(local, offsets[o][0], offsets[o][1], sizes[s]);
			get_case(local, offsets[o][1], offsets[o][0], sizes[s]);
		}
	}
}

static void test_kinds_of_local_memory(void)
{
	static unsigned char in_program[MAX_BYTES + GUARD];
	unsigned char *heap = conf_alloc(MAX_BYTES + GUARD);
	unsigned char *pooled;
	void **others;

	conf_section("local memory of the heap");
	all_cases(heap, OFFSETS);
	free(heap);

	conf_section("local memory of the program");
	all_cases(in_program, 1);

	conf_section("local memory of ARMCI_Malloc_local");
	pooled = ARMCI_Malloc_local(MAX_BYTES + GUARD);
	CHECK(pooled != NULL, "ARMCI_Malloc_local of %d bytes gives NULL", MAX_BYTES + GUARD);
	all_cases(pooled, 3);
	CHECK_OK(ARMCI_Free_local(pooled));

	conf_section("local memory of another segment");
	others = conf_share(MAX_BYTES + GUARD);
	all_cases(others[conf_rank], 3);
	conf_unshare(others);
}

static void test_ends_of_segment(void)
{
	unsigned char last = 0, value;
	size_t end = (size_t)conf_size * SLOT - 1;

	conf_section("first and last byte of a segment");
	((unsigned char *)bases[conf_rank])[0] = (unsigned char)(conf_rank + 1);
	((unsigned char *)bases[conf_rank])[end] = (unsigned char)(conf_rank + 101);
	ARMCI_Barrier();
	for (int r = 0; r < conf_size; r++) {
		CHECK_OK(ARMCI_Get(bases[r], &value, 1, r));
		CHECK_INT(r + 1, value, "first byte of rank %d", r);
		CHECK_OK(ARMCI_Get((char *)bases[r] + end, &last, 1, r));
		CHECK_INT(r + 101, last, "last byte of rank %d", r);
	}
	ARMCI_Barrier();
	value = (unsigned char)(conf_rank + 201);
	CHECK_OK(ARMCI_Put(&value, (char *)bases[(conf_rank + 1) % conf_size] + end, 1,
			   (conf_rank + 1) % conf_size));
	ARMCI_Barrier();
	CHECK_INT(201 + (conf_rank + conf_size - 1) % conf_size,
		  ((unsigned char *)bases[conf_rank])[end], "last byte put by a neighbour");
}

static void test_copy(void)
{
	unsigned char *from = conf_alloc(70000), *to = conf_alloc(70000);

	conf_section("ARMCI_Copy");
	for (int s = 0; s < SIZES && sizes[s] < 70000; s++) {
		conf_fill(from, 70000, (uint64_t)s);
		memset(to, 0, 70000);
		ARMCI_Copy(from, to, sizes[s]);
		CHECK_BYTES(from, to, (size_t)sizes[s], "copy of %d bytes", sizes[s]);
		CHECK_INT(0, to[sizes[s]], "the byte behind a copy of %d bytes", sizes[s]);
	}
	free(from);
	free(to);
}

/* All ranks write to the same target at the same time, in pieces that share cache lines. */
static void test_interleaved_writers(void)
{
	enum { PIECES = 997 };
	unsigned char *mine = bases[conf_rank];

	conf_section("writers that share cache lines");
	for (int target = 0; target < conf_size; target++) {
		memset(mine, 0, (size_t)PIECES * (size_t)conf_size);
		ARMCI_Barrier();
		for (int i = 0; i < PIECES; i++) {
			unsigned char byte = (unsigned char)(i + conf_rank);

			CHECK_OK(ARMCI_Put(&byte,
					   (char *)bases[target] + i * conf_size + conf_rank, 1,
					   target));
		}
		ARMCI_Barrier();
		for (int i = 0; conf_rank == target && i < PIECES * conf_size; i++)
			CHECK_INT((unsigned char)(i / conf_size + i % conf_size), mine[i],
				  "byte %d of rank %d, put by rank %d", i, target,
				  i % conf_size);
		ARMCI_Barrier();
	}
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "contig");
	bases = conf_share((size_t)conf_size * SLOT);
	test_kinds_of_local_memory();
	test_ends_of_segment();
	test_copy();
	test_interleaved_writers();
	ARMCI_Barrier();
	conf_unshare(bases);
	return conf_end();
}
