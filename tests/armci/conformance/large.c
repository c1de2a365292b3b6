/* SPDX-License-Identifier: BSD-3-Clause */
/* Transfers and segments above 2 GB. Needs about 5 GB of memory: only with CONFORMANCE_LARGE=1.
 */
#include <stdlib.h>
#include <string.h>

#include "conf.h"

/* Rows of the source overlap, so that it is small; their sum is above 2^31 bytes. */
enum { ROW = 1 << 20, ROWS = 2200, SHIFT = 4096 };

static const size_t segment_bytes = (size_t)ROW * ROWS;

static unsigned char *source;

static unsigned char *row_of(unsigned char *base, int i)
{
	return base + (size_t)i * ROW;
}

/* Some rows of the owner's memory, each compared with where in the source it came from. */
static void check_rows(unsigned char *base, const char *what)
{
	for (int i = 0; i < ROWS; i += i < ROWS - 20 ? 97 : 1)
		CHECK_BYTES(source + (size_t)i * SHIFT, row_of(base, i), ROW,
			    "%s: row %d of %d", what, i, ROWS);
}

static void put_strided(void **bases, int from, int owner)
{
	int src_stride[] = {SHIFT}, dst_stride[] = {ROW}, count[] = {ROW, ROWS};

	conf_section("a strided put above 2 GB");
	if (conf_rank == from)
		CHECK_OK(ARMCI_PutS(source, src_stride, bases[owner], dst_stride, count, 1,
				    owner));
	ARMCI_Barrier();
	if (conf_rank == owner)
		check_rows(bases[owner], "ARMCI_PutS");
}

/* Accumulates 1 × source onto 0: the bytes of the source again. */
static void accumulate_strided(void **bases, int from, int owner)
{
	int src_stride[] = {SHIFT}, dst_stride[] = {ROW}, count[] = {ROW, ROWS};
	int one = 1;

	conf_section("a strided accumulate above 2 GB");
	if (conf_rank == owner)
		memset(bases[owner], 0, segment_bytes);
	ARMCI_Barrier();
	if (conf_rank == from)
		CHECK_OK(ARMCI_AccS(ARMCI_ACC_INT, &one, source, src_stride, bases[owner],
				    dst_stride, count, 1, owner));
	ARMCI_Barrier();
	if (conf_rank == owner)
		check_rows(bases[owner], "ARMCI_AccS");
}

/* The first word of each row. */
static void get_strided(void **bases, int to, int owner)
{
	unsigned char *small = conf_alloc(ROW + (size_t)ROWS * 8);
	int src_stride[] = {ROW}, dst_stride[] = {8}, count[] = {8, ROWS};

	conf_section("a strided get over a span above 2 GB");
	if (conf_rank == to) {
		CHECK_OK(ARMCI_GetS(bases[owner], src_stride, small, dst_stride, count, 1,
				    owner));
		for (int i = 0; i < ROWS; i++)
			CHECK_BYTES(source + (size_t)i * SHIFT, small + i * 8, 8,
				    "first word of row %d", i);
	}
	ARMCI_Barrier();
	free(small);
}

static void vectors(void **bases, int from, int owner)
{
	void **src = conf_alloc(sizeof(void *) * ROWS),
	     **dst = conf_alloc(sizeof(void *) * ROWS);
	armci_giov_t group = {src, dst, ROW, ROWS};

	conf_section("a vector put above 2 GB");
	if (conf_rank == owner)
		memset(bases[owner], 0, segment_bytes);
	for (int i = 0; i < ROWS; i++) {
		src[i] = source + (size_t)i * SHIFT;
		dst[i] = row_of(bases[owner], i);
	}
	ARMCI_Barrier();
	if (conf_rank == from)
		CHECK_OK(ARMCI_PutV(&group, 1, owner));
	ARMCI_Barrier();
	if (conf_rank == owner)
		check_rows(bases[owner], "ARMCI_PutV");
	free(src);
	free(dst);
}

/* The largest size that an int holds, and places beyond 2 GB. */
static void contiguous(void **bases, int from, int owner)
{
	unsigned char *whole = NULL;
	const int most = 0x7fffffff;

	conf_section("a contiguous get of 2^31 - 1 bytes, and words behind 2 GB");
	if (conf_rank == from) {
		whole = conf_alloc((size_t)most);
		CHECK_OK(ARMCI_Get((char *)bases[owner] + 12345, whole, most, owner));
		for (int i = 1; i < 2000; i += 111)
			CHECK_BYTES(source + (size_t)i * SHIFT, whole + (size_t)i * ROW - 12345,
				    ROW, "row %d", i);
		CHECK_OK(ARMCI_Put(whole + 5, (char *)bases[owner] + segment_bytes - 8, 8,
				   owner));
	}
	ARMCI_Barrier();
	if (conf_rank == owner)
		CHECK_BYTES(source + 12350, (char *)bases[owner] + segment_bytes - 8, 8,
			    "the last word of a large segment");
	ARMCI_Barrier();
	free(whole);
}

int main(int argc, char **argv)
{
	const char *wanted;
	void **bases;
	int owner, from;

	conf_begin(&argc, &argv, "large");
	wanted = getenv("CONFORMANCE_LARGE");
	if (wanted == NULL || strcmp(wanted, "1") != 0) {
		conf_skip("transfers above 2 GB", "CONFORMANCE_LARGE=1 is not set");
		return conf_end();
	}
	owner = conf_size - 1;
	from = 0;
	bases = conf_alloc(sizeof(void *) * (size_t)conf_size);
	source = conf_alloc(ROW + (size_t)ROWS * SHIFT);
	conf_fill(source, ROW + (size_t)ROWS * SHIFT, 1);
	CHECK_OK(ARMCI_Malloc(bases, conf_rank == owner ? (armci_size_t)segment_bytes : 0));
	put_strided(bases, from, owner);
	get_strided(bases, from, owner);
	contiguous(bases, from, owner);
	accumulate_strided(bases, from, owner);
	vectors(bases, from, owner);
	CHECK_OK(ARMCI_Free(bases[conf_rank]));
	free(bases);
	free(source);
	return conf_end();
}
