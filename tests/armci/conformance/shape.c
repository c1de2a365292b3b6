/* SPDX-License-Identifier: BSD-3-Clause */
/* Strided shapes and a reference model of what strided operations do with them (shape.h). */
#include <stdio.h>
#include <string.h>

#include "conf.h"
#include "shape.h"

struct shape shape_random(uint64_t *state, int levels, int unit, int max_bytes,
			  enum shape_source source)
{
	struct shape shape = {.levels = levels};
	int src_extent, dst_extent, left;

	shape.count[0] = unit * (1 + conf_below(state, 24));
	left = max_bytes / shape.count[0];
	src_extent = dst_extent = shape.count[0];
	for (int i = 0; i < levels; i++) {
		int most = left < 1 ? 1 : left > 6 ? 6 : left;
		int rows = 1 + conf_below(state, most);

		shape.count[i + 1] = rows;
		left /= rows;
		shape.dst_stride[i] = dst_extent + unit * conf_below(state, 4);
		if (source == SHAPE_SOURCE_OVERLAPS)
			shape.src_stride[i] = unit * conf_below(state, src_extent / unit + 1);
		else
			shape.src_stride[i] = src_extent + unit * conf_below(state, 5);
		src_extent += shape.src_stride[i] * (rows - 1);
		dst_extent += shape.dst_stride[i] * (rows - 1);
	}
	return shape;
}

size_t shape_bytes(const struct shape *shape)
{
	size_t bytes = 1;

	for (int i = 0; i <= shape->levels; i++)
		bytes *= (size_t)shape->count[i];
	return bytes;
}

size_t shape_span(const struct shape *shape, const int *stride)
{
	size_t span = (size_t)shape->count[0];

	if (shape_bytes(shape) == 0)
		return 0;
	for (int i = 0; i < shape->levels; i++)
		span += (size_t)stride[i] * (size_t)(shape->count[i + 1] - 1);
	return span;
}

void shape_walk(const struct shape *shape, shape_row_fn *row, void *arg)
{
	int index[SHAPE_LEVELS + 1] = {0};
	int level;

	if (shape_bytes(shape) == 0)
		return;
	do {
		size_t src = 0, dst = 0;

		for (int i = 0; i < shape->levels; i++) {
			src += (size_t)index[i] * (size_t)shape->src_stride[i];
			dst += (size_t)index[i] * (size_t)shape->dst_stride[i];
		}
		row(arg, src, dst, shape->count[0]);
		for (level = 0; level < shape->levels; level++) {
			if (++index[level] < shape->count[level + 1])
				break;
			index[level] = 0;
		}
	} while (level < shape->levels);
}

struct copy {
	const unsigned char *src;
	unsigned char *dst;
};

static void copy_row(void *arg, size_t src_offset, size_t dst_offset, int bytes)
{
	const struct copy *copy = arg;

	memcpy(copy->dst + dst_offset, copy->src + src_offset, (size_t)bytes);
}

void shape_copy(const struct shape *shape, const void *src, void *dst)
{
	struct copy copy = {src, dst};

	shape_walk(shape, copy_row, &copy);
}

const char *shape_text(const struct shape *shape)
{
	static char text[512];
	size_t used = (size_t)snprintf(text, sizeof(text), "levels %d, count %d", shape->levels,
				       shape->count[0]);

	for (int i = 0; i < shape->levels; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, " %d (+%d, +%d)",
					 shape->count[i + 1], shape->src_stride[i],
					 shape->dst_stride[i]);
	return text;
}
