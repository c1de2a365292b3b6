/* SPDX-License-Identifier: BSD-3-Clause */
/* Ghost cells: whole updates, one direction at a time and non-blocking, faces and corners,
 * periodic at the edges. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 3, TAG_FIRST = 1 };

static const struct shape {
	int ndim, dims[3], widths[3];
} shapes[] = {
	{1, {43}, {2}},
	{1, {64}, {1}},
	{2, {24, 26}, {1, 1}},
	{2, {25, 33}, {2, 1}},
	{2, {32, 24}, {1, 2}},
	{3, {16, 18, 17}, {1, 1, 1}},
	{3, {17, 16, 20}, {2, 1, 1}},
};

static const int types[] = {C_DBL, C_INT, C_FLOAT, C_DCPL, C_LONG};

struct subject {
	const struct type *type;
	struct shape shape;
	int g_a;
};

/* The index that a position beyond the edge stands for. */
static int wrapped(int position, int dim)
{
	return (position % dim + dim) % dim;
}

static struct num value_at(const struct subject *s, int tag, const int *at)
{
	int inside[DIMS_MAX];

	for (int i = 0; i < s->shape.ndim; i++)
		inside[i] = wrapped(at[i], s->shape.dims[i]);
	return num_at(s->type, tag, dims_offset(s->shape.ndim, s->shape.dims, inside));
}

static int block_is_empty(const struct box *block)
{
	for (int i = 0; i < block->ndim; i++) {
		if (block->hi[i] < block->lo[i])
			return 1;
	}
	return 0;
}

static struct box own_block(const struct subject *s)
{
	struct box block = {.ndim = s->shape.ndim};

	NGA_Distribution(s->g_a, check_rank, block.lo, block.hi);
	return block;
}

/* A rank writes the block of its neighbour, so that the data come from elsewhere. */
static void put_values(const struct subject *s, int tag)
{
	struct box block = {.ndim = s->shape.ndim};

	NGA_Distribution(s->g_a, (check_rank + 1) % check_ranks, block.lo, block.hi);
	if (!block_is_empty(&block)) {
		struct patch patch = patch_create(s->type, &block, 0);
		int at[DIMS_MAX];

		box_first(&block, at);
		do {
			num_store(s->type, patch_at(&patch, at), value_at(s, tag, at));
		} while (box_next(&block, at));
		NGA_Put(s->g_a, block.lo, block.hi, patch.data, patch.ld);
		patch_destroy(&patch);
	}
	GA_Sync();
}

/* The local block with its ghosts, as plain memory. */
struct local {
	struct box box; /* of array positions, beyond the edges too */
	int dims[DIMS_MAX];
	unsigned char *data;
};

static struct local local_open(const struct subject *s)
{
	struct local local = {.box = own_block(s)};
	int ld[DIMS_MAX];

	if (block_is_empty(&local.box))
		return local;
	NGA_Access_ghosts(s->g_a, local.dims, &local.data, ld);
	for (int i = 0; i < s->shape.ndim; i++) {
		local.box.lo[i] -= s->shape.widths[i];
		local.box.hi[i] += s->shape.widths[i];
		CHECK(local.dims[i] == local.box.hi[i] - local.box.lo[i] + 1,
		      "NGA_Access_ghosts gives %d elements in dimension %d instead of %d",
		      local.dims[i], i, local.box.hi[i] - local.box.lo[i] + 1);
		CHECK(i == 0 || ld[i - 1] == local.dims[i],
		      "NGA_Access_ghosts gives a leading dimension of %d instead of %d",
		      ld[i - 1], local.dims[i]);
	}
	return local;
}

static unsigned char *local_at(const struct subject *s, const struct local *local,
			       const int *at)
{
	int inside[DIMS_MAX];

	for (int i = 0; i < s->shape.ndim; i++)
		inside[i] = at[i] - local->box.lo[i];
	return local->data + dims_offset(s->shape.ndim, local->dims, inside) * s->type->size;
}

/* In how many dimensions a position is outside the own block: 1 at a face, more at edges and
 * corners. */
static int ghostly(const struct subject *s, const struct local *local, const int *at)
{
	int count = 0;

	for (int i = 0; i < s->shape.ndim; i++) {
		count += at[i] < local->box.lo[i] + s->shape.widths[i] ||
			 at[i] > local->box.hi[i] - s->shape.widths[i];
	}
	return count;
}

/* Make stale ghosts show: all ghosts get a value that belongs nowhere. */
static void spoil_ghosts(const struct subject *s)
{
	struct local local = local_open(s);
	int at[DIMS_MAX];

	if (local.data) {
		box_first(&local.box, at);
		do {
			if (ghostly(s, &local, at))
				num_store(s->type, local_at(s, &local, at),
					  (struct num){12345, 6789});
		} while (box_next(&local.box, at));
		NGA_Release_update_ghosts(s->g_a);
	}
	GA_Sync();
}

/* Every cell with at most `faces` dimensions outside the own block is right. */
static void check_cells(const struct subject *s, int tag, int faces, const char *what)
{
	struct local local = local_open(s);
	int at[DIMS_MAX];

	if (local.data) {
		box_first(&local.box, at);
		do {
			const void *place = local_at(s, &local, at);
			struct num wanted = value_at(s, tag, at);

			if (ghostly(s, &local, at) > faces)
				continue;
			CHECK(num_is(s->type, place, wanted),
			      "%s: cell (%d,%d,%d) of a %d-dimensional array of %s is %s instead of %s",
			      what, at[0], s->shape.ndim > 1 ? at[1] : 0,
			      s->shape.ndim > 2 ? at[2] : 0, s->shape.ndim, s->type->name,
			      num_text(s->type, place), num_wanted(s->type, wanted));
		} while (box_next(&local.box, at));
		NGA_Release_ghosts(s->g_a);
	}
	GA_Sync();
}

/* All neighbours in turn, one call for each direction. */
static void update_by_directions(const struct subject *s)
{
	for (int dimension = 0; dimension < s->shape.ndim; dimension++) {
		NGA_Update_ghost_dir(s->g_a, dimension, -1, 1);
		NGA_Update_ghost_dir(s->g_a, dimension, 1, 1);
	}
	GA_Sync();
}

static void do_shape(const struct type *type, const struct shape *shape)
{
	struct subject s = {.type = type, .shape = *shape};
	ga_nbhdl_t handle;

	s.g_a = NGA_Create_ghosts(type->ga, s.shape.ndim, s.shape.dims, s.shape.widths,
				  "ghosts", NULL);
	CHECK(s.g_a, "NGA_Create_ghosts fails for %d dimensions", s.shape.ndim);
	CHECK(GA_Has_ghosts(s.g_a), "an array made with ghosts has none");
	for (int round = 0; round < ROUNDS; round++) {
		put_values(&s, TAG_FIRST + round);
		GA_Update_ghosts(s.g_a);
		GA_Sync();
		check_cells(&s, TAG_FIRST + round, DIMS_MAX, "after GA_Update_ghosts");
	}
	spoil_ghosts(&s);
	update_by_directions(&s);
	check_cells(&s, TAG_FIRST + ROUNDS - 1, DIMS_MAX, "after NGA_Update_ghost_dir");
	spoil_ghosts(&s);
	NGA_Update_ghosts_nb(s.g_a, &handle);
	NGA_NbWait(&handle);
	GA_Sync();
	check_cells(&s, TAG_FIRST + ROUNDS - 1, 1, "after NGA_Update_ghosts_nb");
	GA_Destroy(s.g_a);
}

/* Without corners only the faces are brought. */
static void do_faces(const struct type *type, const struct shape *shape)
{
	struct subject s = {.type = type, .shape = *shape};

	s.g_a = GA_Create_handle();
	GA_Set_data(s.g_a, s.shape.ndim, s.shape.dims, type->ga);
	GA_Set_ghosts(s.g_a, s.shape.widths);
	CHECK(GA_Allocate(s.g_a), "GA_Allocate of an array with ghosts fails");
	GA_Set_ghost_corner_flag(s.g_a, 0);
	put_values(&s, TAG_FIRST);
	spoil_ghosts(&s);
	GA_Update_ghosts(s.g_a);
	GA_Sync();
	check_cells(&s, TAG_FIRST, 1, "after GA_Update_ghosts without corners");
	GA_Destroy(s.g_a);
}

int main(int argc, char **argv)
{
	check_begin(&argc, &argv);
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++)
			do_shape(type_find(types[t]), &shapes[i]);
		do_faces(type_find(C_DBL), &shapes[i]);
	}
	return check_end();
}
