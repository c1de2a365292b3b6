/* SPDX-License-Identifier: BSD-3-Clause */
/* Vector put and get: many segments, mixed and zero lengths, against a reference model. */
#include <stdlib.h>
#include <string.h>

#include "conf.h"

enum { SLOT = 64 * 1024, MAX_SEGMENTS = 4096, MAX_GROUPS = 9 };

enum way { BLOCKING, EXPLICIT, IMPLICIT, WAYS };

static void **bases;
static unsigned char *local, *model;

/* Groups of segments: those of one group have the same length. */
struct vector {
	armci_giov_t groups[MAX_GROUPS];
	int group_count;
	void *src[MAX_SEGMENTS], *dst[MAX_SEGMENTS];
	int used;
};

static unsigned char *my_slot(int target)
{
	return (unsigned char *)bases[target] + (size_t)conf_rank * SLOT;
}

static void vector_add_group(struct vector *vector, int bytes)
{
	armci_giov_t *group = &vector->groups[vector->group_count++];

	group->src_ptr_array = vector->src + vector->used;
	group->dst_ptr_array = vector->dst + vector->used;
	group->bytes = bytes;
	group->ptr_array_len = 0;
}

/* To the group added last; the segments' places are offsets in src and dst. */
static void vector_add(struct vector *vector, unsigned char *src, unsigned char *dst)
{
	armci_giov_t *group = &vector->groups[vector->group_count - 1];

	vector->src[vector->used] = src;
	vector->dst[vector->used] = dst;
	vector->used++;
	group->ptr_array_len++;
}

/*
 * Random groups whose destinations do not touch; sources are anywhere, if apart is not set even
 * on top of each other.
 */
static void vector_random(struct vector *vector, uint64_t *state, unsigned char *src,
			  unsigned char *dst, int groups, bool apart)
{
	int at = 0, from = 0;

	memset(vector, 0, sizeof(*vector));
	for (int g = 0; g < groups; g++) {
		int bytes = conf_below(state, 4) == 0 ? 8 : conf_below(state, 100);
		int segments = conf_below(state, 5) == 0 ? 0 : conf_below(state, 60);

		vector_add_group(vector, bytes);
		for (int i = 0; i < segments && at + bytes < SLOT - 8; i++) {
			if (!apart)
				from = conf_below(state, SLOT - bytes);
			vector_add(vector, src + from, dst + at);
			from += bytes;
			at += bytes + conf_below(state, 5);
		}
	}
}

/* Moves the segments as the operation must, but from src_model for src and to dst_model for
 * dst. */
static void vector_model(const struct vector *vector, const unsigned char *src,
			 const unsigned char *src_model, const unsigned char *dst,
			 unsigned char *dst_model)
{
	for (int g = 0; g < vector->group_count; g++) {
		const armci_giov_t *group = &vector->groups[g];

		for (int i = 0; i < group->ptr_array_len; i++) {
			const unsigned char *from = group->src_ptr_array[i];
			const unsigned char *to = group->dst_ptr_array[i];

			memcpy(dst_model + (to - dst), src_model + (from - src),
			       (size_t)group->bytes);
		}
	}
}

static void complete(enum way way, armci_hdl_t *handle, int target)
{
	if (way == EXPLICIT)
		CHECK_OK(ARMCI_Wait(handle));
	else if (way == IMPLICIT)
		CHECK_OK(ARMCI_WaitProc(target));
}

static void put_case(struct vector *vector, int target, enum way way)
{
	static unsigned char now[SLOT];
	armci_hdl_t handle;

	conf_fill(model, SLOT, 5);
	CHECK_OK(ARMCI_Put(model, my_slot(target), SLOT, target));
	ARMCI_Fence(target);
	vector_model(vector, local, local, my_slot(target), model);
	ARMCI_INIT_HANDLE(&handle);
	if (way == BLOCKING)
		CHECK_OK(ARMCI_PutV(vector->groups, vector->group_count, target));
	else
		CHECK_OK(ARMCI_NbPutV(vector->groups, vector->group_count, target,
				      way == EXPLICIT ? &handle : NULL));
	complete(way, &handle, target);
	ARMCI_Fence(target);
	CHECK_OK(ARMCI_Get(my_slot(target), now, SLOT, target));
	CHECK_BYTES(model, now, SLOT, "%d segments in %d groups put to rank %d (way %d)",
		    vector->used, vector->group_count, target, way);
}

static void get_case(struct vector *vector, int target, enum way way)
{
	static unsigned char expected[SLOT];
	armci_hdl_t handle;

	conf_fill(model, SLOT, 6);
	CHECK_OK(ARMCI_Put(model, my_slot(target), SLOT, target));
	ARMCI_Fence(target);
	memcpy(expected, local, SLOT);
	vector_model(vector, my_slot(target), model, local, expected);
	ARMCI_INIT_HANDLE(&handle);
	if (way == BLOCKING)
		CHECK_OK(ARMCI_GetV(vector->groups, vector->group_count, target));
	else
		CHECK_OK(ARMCI_NbGetV(vector->groups, vector->group_count, target,
				      way == EXPLICIT ? &handle : NULL));
	complete(way, &handle, target);
	CHECK_BYTES(expected, local, SLOT, "%d segments in %d groups got from rank %d (way %d)",
		    vector->used, vector->group_count, target, way);
}

static void test_random(uint64_t seed, bool apart)
{
	static struct vector vector;
	uint64_t state = seed + (uint64_t)conf_rank;

	for (int i = 0; i < conf_times(60); i++) {
		int target = (conf_rank + i) % conf_size;
		int groups = 1 + conf_below(&state, MAX_GROUPS - 1);

		conf_fill(local, SLOT, conf_random(&state));
		vector_random(&vector, &state, local, my_slot(target), groups, apart);
		put_case(&vector, target, (enum way)(i % WAYS));
		vector_random(&vector, &state, my_slot(target), local, groups, apart);
		get_case(&vector, target, (enum way)(i % WAYS));
	}
}

/* Segments of one length, in the order given by step: forwards, backwards, scattered. */
static void one_group(struct vector *vector, unsigned char *src, unsigned char *dst, int bytes,
		      int segments, int step)
{
	memset(vector, 0, sizeof(*vector));
	vector_add_group(vector, bytes);
	for (int i = 0; i < segments; i++) {
		size_t place = (size_t)i * (size_t)step % (size_t)segments;

		vector_add(vector, src + (size_t)i * (size_t)bytes,
			   dst + place * (size_t)bytes);
	}
}

static void test_many_segments(void)
{
	static struct vector vector;
	static const int bytes[] = {1, 3, 4, 8, 12, 15};

	for (size_t b = 0; b < sizeof(bytes) / sizeof(bytes[0]); b++) {
		int segments = bytes[b] == 15 ? 4001 : MAX_SEGMENTS;
		int target = (conf_rank + (int)b) % conf_size;

		one_group(&vector, local, my_slot(target), bytes[b], segments, 1021);
		put_case(&vector, target, BLOCKING);
		one_group(&vector, my_slot(target), local, bytes[b], segments, 1021);
		get_case(&vector, target, EXPLICIT);
	}
}

static void test_long_segments(void)
{
	static struct vector vector;

	for (int target = 0; target < conf_size; target++) {
		one_group(&vector, local, my_slot(target), 21001, 3, 2);
		put_case(&vector, target, BLOCKING);
		one_group(&vector, my_slot(target), local, 21001, 3, 2);
		get_case(&vector, target, BLOCKING);
		one_group(&vector, local, my_slot(target), SLOT, 1, 1);
		put_case(&vector, target, EXPLICIT);
	}
}

static void test_nothing(void)
{
	static struct vector vector;

	for (int target = 0; target < conf_size; target++) {
		for (int way = 0; way < WAYS; way++) {
			memset(&vector, 0, sizeof(vector));
			put_case(&vector, target, (enum way)way);
			get_case(&vector, target, (enum way)way);
			one_group(&vector, local, my_slot(target), 8, 0, 1);
			put_case(&vector, target, (enum way)way);
			one_group(&vector, my_slot(target), local, 0, 7, 1);
			get_case(&vector, target, (enum way)way);
		}
	}
}

int main(int argc, char **argv)
{
	uint64_t seed;

	conf_begin(&argc, &argv, "vector");
	seed = conf_seed();
	bases = conf_share((size_t)conf_size * SLOT);
	local = conf_alloc(SLOT);
	model = conf_alloc(SLOT);
	conf_section("random groups");
	test_random(seed, true);
	conf_section("sources that overlap");
	test_random(seed, false);
	conf_section("thousands of segments");
	test_many_segments();
	conf_section("long segments");
	test_long_segments();
	conf_section("no groups, no segments, no bytes");
	test_nothing();
	ARMCI_Barrier();
	conf_unshare(bases);
	free(local);
	free(model);
	return conf_end();
}
