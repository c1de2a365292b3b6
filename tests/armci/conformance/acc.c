/* SPDX-License-Identifier: BSD-3-Clause */
/* Accumulate: all types and scale factors, contiguous, strided and vector; concurrent sums are
 * exact. */
#include <stdlib.h>
#include <string.h>

#include "acc.h"
#include "conf.h"
#include "shape.h"

enum { SLOT = 64 * 1024, SHAPE_BYTES = 8 * 1024 };

static void **bases;
static unsigned char *local, *model, *now;

static unsigned char *my_slot(int target)
{
	return (unsigned char *)bases[target] + (size_t)conf_rank * SLOT;
}

/* A known start in my slot at the target and in the model, another in local. */
static void prepare(const struct acc_type *type, int target, uint64_t seed)
{
	acc_fill(type, model, SLOT / type->bytes, seed);
	acc_fill(type, local, SLOT / type->bytes, seed + 99);
	CHECK_OK(ARMCI_Put(model, my_slot(target), SLOT, target));
	ARMCI_Fence(target);
}

static void check_model(const struct acc_type *type, int target, const char *what)
{
	ARMCI_Fence(target);
	CHECK_OK(ARMCI_Get(my_slot(target), now, SLOT, target));
	CHECK_BYTES(model, now, SLOT, "%s of %s to rank %d", what, type->name, target);
}

static void contiguous(const struct acc_type *type, int constant, int scale_index, int target,
		       int elements, bool nonblocking)
{
	double scale[2];
	armci_hdl_t handle;

	prepare(type, target, (uint64_t)elements);
	acc_scale(type, scale_index, scale);
	acc_model(type, scale, local, model + type->bytes, elements);
	ARMCI_INIT_HANDLE(&handle);
	if (nonblocking) {
		CHECK_OK(ARMCI_NbAcc(constant, scale, local, my_slot(target) + type->bytes,
				     elements * type->bytes, target, &handle));
		CHECK_OK(ARMCI_Wait(&handle));
	} else {
		CHECK_OK(ARMCI_Acc(constant, scale, local, my_slot(target) + type->bytes,
				   elements * type->bytes, target));
	}
	check_model(type, target, nonblocking ? "ARMCI_NbAcc" : "ARMCI_Acc");
}

struct strided_model {
	const struct acc_type *type;
	const void *scale;
};

static void acc_row(void *arg, size_t src_offset, size_t dst_offset, int bytes)
{
	const struct strided_model *strided = arg;

	acc_model(strided->type, strided->scale, local + src_offset, model + dst_offset,
		  bytes / strided->type->bytes);
}

static void strided(const struct acc_type *type, int constant, int scale_index, int target,
		    struct shape *shape, bool nonblocking)
{
	double scale[2];
	struct strided_model arg = {type, scale};
	armci_hdl_t handle;

	CHECK(shape_span(shape, shape->dst_stride) <= SLOT, "the shape does not fit: %s",
	      shape_text(shape));
	prepare(type, target, (uint64_t)scale_index);
	acc_scale(type, scale_index, scale);
	shape_walk(shape, acc_row, &arg);
	ARMCI_INIT_HANDLE(&handle);
	if (nonblocking) {
		CHECK_OK(ARMCI_NbAccS(constant, scale, local, shape->src_stride,
				      my_slot(target), shape->dst_stride, shape->count,
				      shape->levels, target, &handle));
		CHECK_OK(ARMCI_Wait(&handle));
	} else {
		CHECK_OK(ARMCI_AccS(constant, scale, local, shape->src_stride, my_slot(target),
				    shape->dst_stride, shape->count, shape->levels, target));
	}
	check_model(type, target, shape_text(shape));
}

static void vector(const struct acc_type *type, int constant, int scale_index, int target,
		   bool nonblocking)
{
	enum { GROUPS = 3, SEGMENTS = 20 };
	int least = conf_reference() ? 1 : 0;
	void *src[GROUPS][SEGMENTS], *dst[GROUPS][SEGMENTS];
	armci_giov_t groups[GROUPS];
	double scale[2];
	armci_hdl_t handle;
	size_t to = 0;

	prepare(type, target, (uint64_t)scale_index + 7);
	acc_scale(type, scale_index, scale);
	for (int g = 0; g < GROUPS; g++) {
		int elements = least + g * 5; /* the first group has no bytes */

		groups[g].src_ptr_array = src[g];
		groups[g].dst_ptr_array = dst[g];
		groups[g].bytes = elements * type->bytes;
		groups[g].ptr_array_len = SEGMENTS - g;
		for (int i = 0; i < SEGMENTS; i++) {
			size_t from = (size_t)((i * 7) % SEGMENTS * type->bytes);

			src[g][i] = local + from;
			dst[g][i] = my_slot(target) + to;
			if (i < SEGMENTS - g)
				acc_model(type, scale, local + from, model + to, elements);
			to += (size_t)((elements + 1) * type->bytes);
		}
	}
	ARMCI_INIT_HANDLE(&handle);
	if (nonblocking) {
		CHECK_OK(ARMCI_NbAccV(constant, scale, groups, GROUPS, target, &handle));
		CHECK_OK(ARMCI_Wait(&handle));
	} else {
		CHECK_OK(ARMCI_AccV(constant, scale, groups, GROUPS, target));
	}
	check_model(type, target, nonblocking ? "ARMCI_NbAccV" : "ARMCI_AccV");
}

/* Every form with every scale factor of one type, by the constant given. */
static void all_forms(const struct acc_type *type, int constant)
{
	static const int elements[] = {0, 1, 2, 3, 17, 513, 3000};
	uint64_t state = (uint64_t)(constant + conf_rank);

	for (int s = 0; s < ACC_SCALES; s++) {
		int target = (conf_rank + s) % conf_size;

		/* The reference aborts for no elements. */
		for (size_t e = conf_reference() ? 1 : 0;
		     e < sizeof(elements) / sizeof(elements[0]); e++)
			contiguous(type, constant, s, target, elements[e], e % 2 == 1);
		for (int levels = 0; levels <= SHAPE_LEVELS; levels++) {
			struct shape shape = shape_random(&state, levels, type->bytes,
							  SHAPE_BYTES, SHAPE_SOURCE_APART);

			strided(type, constant, s, target, &shape, levels % 2 == 1);
		}
		vector(type, constant, s, target, s % 2 == 1);
	}
}

/*
 * All ranks add to the same elements of every rank at once, in all forms. Each form adds rank+1
 * to each of ELEMENTS elements once per round.
 */
enum { ELEMENTS = 1000, FORMS = 3 };

static void add_everywhere(const struct acc_type *type, void *scale, int target, int form)
{
	struct shape rows = {.levels = 1, .count = {20 * type->bytes, ELEMENTS / 20}};
	void *src[ELEMENTS / 10], *dst[ELEMENTS / 10];
	armci_giov_t group = {src, dst, 10 * type->bytes, ELEMENTS / 10};

	rows.src_stride[0] = rows.dst_stride[0] = 20 * type->bytes;
	for (int i = 0; i < ELEMENTS / 10; i++) {
		src[i] = local + i * group.bytes;
		dst[i] = (char *)bases[target] + i * group.bytes;
	}
	if (form == 0)
		CHECK_OK(ARMCI_Acc(type->type, scale, local, bases[target],
				   ELEMENTS * type->bytes, target));
	else if (form == 1)
		CHECK_OK(ARMCI_AccS(type->type, scale, local, rows.src_stride, bases[target],
				    rows.dst_stride, rows.count, 1, target));
	else
		CHECK_OK(ARMCI_AccV(type->type, scale, &group, 1, target));
}

static void concurrent(const struct acc_type *type, int rounds)
{
	int bytes = ELEMENTS * type->bytes;
	double one[2], scale[2], sum[2];

	acc_scale(type, 0, one);
	memset(scale, 0, sizeof(scale));
	memset(sum, 0, sizeof(sum));
	memset(local, 0, (size_t)bytes);
	memset(model, 0, (size_t)bytes);
	memset(bases[conf_rank], 0, (size_t)bytes);
	for (int i = 0; i < conf_rank + 1; i++)
		acc_model(type, one, one, scale, 1);
	for (int i = 0; i < FORMS * rounds * conf_size * (conf_size + 1) / 2; i++)
		acc_model(type, one, one, sum, 1);
	for (int i = 0; i < ELEMENTS; i++) {
		acc_model(type, one, one, local + i * type->bytes, 1);
		acc_model(type, one, sum, model + i * type->bytes, 1);
	}
	ARMCI_Barrier();
	for (int i = 0; i < rounds; i++) {
		/* All at the same target at the same time. */
		for (int k = 0; k < conf_size * FORMS; k++)
			add_everywhere(type, scale, k / FORMS, (k + conf_rank) % FORMS);
	}
	ARMCI_Barrier();
	CHECK_BYTES(model, bases[conf_rank], (size_t)bytes,
		    "sum of %d rounds of %s from %d ranks", rounds, type->name, conf_size);
	ARMCI_Barrier();
}

/* No scale factor means one. */
static void test_no_scale(void)
{
	if (conf_beyond_reference("no scale factor"))
		return;
	conf_section("no scale factor");
	for (int t = 0; t < ACC_TYPES; t++) {
		const struct acc_type *type = &acc_types[t];
		int target = (conf_rank + t) % conf_size;
		double one[2];

		acc_scale(type, 0, one);
		prepare(type, target, (uint64_t)t);
		acc_model(type, one, local, model, 100);
		CHECK_OK(ARMCI_Acc(type->type, NULL, local, my_slot(target), 100 * type->bytes,
				   target));
		check_model(type, target, "ARMCI_Acc without scale");
	}
}

/* Segments of one accumulate may lie on top of each other: each is added. */
static void test_overlapping_segments(void)
{
	enum { SEGMENTS = 200, ELEMENTS_OF_ONE = 5 };
	void *src[SEGMENTS], *dst[SEGMENTS];

	conf_section("segments that overlap");
	for (int t = 0; t < ACC_TYPES; t++) {
		const struct acc_type *type = &acc_types[t];
		armci_giov_t group = {src, dst, ELEMENTS_OF_ONE * type->bytes, SEGMENTS};
		int target = (conf_rank + t) % conf_size;
		double scale[2];

		acc_scale(type, 3, scale);
		prepare(type, target, (uint64_t)t);
		for (int i = 0; i < SEGMENTS; i++) {
			int place = i * 3 % 7 * type->bytes;

			src[i] = local + i * type->bytes;
			dst[i] = my_slot(target) + place;
			acc_model(type, scale, src[i], model + place, ELEMENTS_OF_ONE);
		}
		CHECK_OK(ARMCI_AccV(type->type, scale, &group, 1, target));
		check_model(type, target, "ARMCI_AccV of overlapping segments");
	}
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "acc");
	bases = conf_share((size_t)conf_size * SLOT);
	local = conf_alloc(SLOT);
	model = conf_alloc(SLOT);
	now = conf_alloc(SLOT);
	for (int t = 0; t < ACC_TYPES; t++) {
		conf_section(acc_types[t].name);
		all_forms(&acc_types[t], acc_types[t].type);
	}
	if (!conf_beyond_reference("the original's constants")) {
		conf_section("the original's constants");
		for (int t = 0; t < ACC_TYPES; t++)
			all_forms(&acc_types[t], acc_types[t].original);
	}
	test_no_scale();
	test_overlapping_segments();
	conf_section("concurrent sums");
	for (int t = 0; t < ACC_TYPES; t++)
		concurrent(&acc_types[t], conf_often(30));
	ARMCI_Barrier();
	conf_unshare(bases);
	free(local);
	free(model);
	free(now);
	return conf_end();
}
