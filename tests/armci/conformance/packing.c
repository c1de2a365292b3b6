/* SPDX-License-Identifier: BSD-3-Clause */
/* armci_write_strided gathers strided memory into a buffer, armci_read_strided scatters it
 * back. */
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "shape.h"

enum { ROOM = 128 * 1024, MAX_BYTES = 20 * 1024 };

static unsigned char *memory, *packed, *expected;

/* The strided side of the shape is its destination's; the packed side has no gaps. */
static void make_dense(struct shape *shape)
{
	int extent = shape->count[0];

	for (int i = 0; i < shape->levels; i++) {
		shape->src_stride[i] = extent;
		extent *= shape->count[i + 1];
	}
}

static void gather_row(void *arg, size_t src_offset, size_t dst_offset, int bytes)
{
	memcpy((unsigned char *)arg + src_offset, memory + dst_offset, (size_t)bytes);
}

static void both_ways(struct shape *shape)
{
	size_t bytes = shape_bytes(shape);

	conf_fill(memory, ROOM, 1);
	memset(packed, 0x77, ROOM);
	memset(expected, 0x77, ROOM);
	shape_walk(shape, gather_row, expected);
	armci_write_strided(memory, shape->levels, shape->dst_stride, shape->count,
			    (char *)packed);
	CHECK_BYTES(expected, packed, ROOM, "armci_write_strided: %s", shape_text(shape));

	conf_fill(packed, bytes, 2);
	conf_fill(expected, ROOM, 1);
	shape_copy(shape, packed, expected);
	armci_read_strided(memory, shape->levels, shape->dst_stride, shape->count,
			   (char *)packed);
	CHECK_BYTES(expected, memory, ROOM, "armci_read_strided: %s", shape_text(shape));
}

static void test_random(void)
{
	uint64_t state = conf_seed() + (uint64_t)conf_rank;

	for (int levels = 0; levels <= SHAPE_LEVELS; levels++) {
		conf_section(levels == 0 ? "no levels" : "more levels");
		for (int i = 0; i < conf_times(30); i++) {
			struct shape shape =
				shape_random(&state, levels, 1, MAX_BYTES, SHAPE_SOURCE_APART);

			make_dense(&shape);
			both_ways(&shape);
		}
	}
}

static void test_zero_counts(void)
{
	if (conf_beyond_reference("counts of zero"))
		return;
	conf_section("counts of zero");
	for (int zero = 0; zero < 3; zero++) {
		struct shape shape = {.levels = 2, .count = {4, 3, 2}};

		shape.dst_stride[0] = 8;
		shape.dst_stride[1] = 64;
		shape.count[zero] = 0;
		make_dense(&shape);
		both_ways(&shape);
	}
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "packing");
	memory = conf_alloc(ROOM);
	packed = conf_alloc(ROOM);
	expected = conf_alloc(ROOM);
	test_random();
	test_zero_counts();
	free(memory);
	free(packed);
	free(expected);
	return conf_end();
}
