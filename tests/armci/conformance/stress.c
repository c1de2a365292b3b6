/* SPDX-License-Identifier: BSD-3-Clause */
/* A random mixture of operations by all ranks on all ranks, with a model that every get and the
 * end are checked by. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf.h"
#include "shape.h"

enum {
	AREA = 48 * 1024,
	SUMS = 500,
	MAX_BYTES = 12 * 1024,
	LOCAL = 64 * 1024,
	TOTALS = SUMS + 2
};

/* Each rank's segment: what all add to, then an area of each writer for itself. */
struct segment {
	long counter;
	long locked; /* grows under mutex 0 of its rank */
	long sums[SUMS];
};

static void **bases;
static unsigned char *local;    /* source of puts */
static unsigned char *incoming; /* destination of gets */
static unsigned char *models;   /* my areas at all targets */
static long *added;             /* what I have added at all targets: counter, locked, sums */
static armci_hdl_t *handles;    /* a put may be under way to each target, from its own buffer */
static bool *under_way;
static unsigned char *outgoing;

static unsigned char *area(int target)
{
	return (unsigned char *)bases[target] + sizeof(struct segment) +
	       (size_t)conf_rank * AREA;
}

static unsigned char *model(int target)
{
	return models + (size_t)target * AREA;
}

static struct segment *shared(int target)
{
	return bases[target];
}

static long *added_at(int target)
{
	return added + (size_t)target * TOTALS;
}

/* Non-blocking puts keep no order: complete them before other operations on the same area. */
static void finish(int target)
{
	if (!under_way[target])
		return;
	CHECK_OK(ARMCI_Wait(&handles[target]));
	memset(outgoing + (size_t)target * MAX_BYTES, 0xdd, MAX_BYTES); /* it may be reused */
	ARMCI_Fence(target);
	under_way[target] = false;
}

static int random_size(uint64_t *state)
{
	static const int classes[] = {9, 9, 70, 70, 600, 5000, MAX_BYTES};

	return conf_below(state, classes[conf_below(state, 7)]);
}

static void put_contiguous(uint64_t *state, int target)
{
	int bytes = random_size(state), at = conf_below(state, AREA - bytes);

	finish(target);
	conf_fill(local, (size_t)bytes, conf_random(state));
	CHECK_OK(ARMCI_Put(local, area(target) + at, bytes, target));
	memcpy(model(target) + at, local, (size_t)bytes);
}

static void put_nonblocking(uint64_t *state, int target)
{
	int bytes = random_size(state), at = conf_below(state, AREA - bytes);
	unsigned char *source = outgoing + (size_t)target * MAX_BYTES;

	finish(target);
	conf_fill(source, (size_t)bytes, conf_random(state));
	CHECK_OK(ARMCI_NbPut(source, area(target) + at, bytes, target, &handles[target]));
	memcpy(model(target) + at, source, (size_t)bytes);
	under_way[target] = true;
}

static void get_contiguous(uint64_t *state, int target)
{
	int bytes = random_size(state), at = conf_below(state, AREA - bytes);

	finish(target);
	CHECK_OK(ARMCI_Get(area(target) + at, incoming, bytes, target));
	CHECK_BYTES(model(target) + at, incoming, (size_t)bytes,
		    "get of %d bytes at %d from rank %d", bytes, at, target);
}

static void put_strided(uint64_t *state, int target)
{
	struct shape shape =
		shape_random(state, conf_below(state, 4), 1, MAX_BYTES, SHAPE_SOURCE_APART);
	size_t span = shape_span(&shape, shape.dst_stride);
	size_t at = (size_t)conf_below(state, (int)(AREA - span));

	finish(target);
	conf_fill(local, shape_span(&shape, shape.src_stride), conf_random(state));
	CHECK_OK(ARMCI_PutS(local, shape.src_stride, area(target) + at, shape.dst_stride,
			    shape.count, shape.levels, target));
	shape_copy(&shape, local, model(target) + at);
}

static void get_strided(uint64_t *state, int target)
{
	struct shape shape =
		shape_random(state, conf_below(state, 4), 1, MAX_BYTES, SHAPE_SOURCE_OVERLAPS);
	size_t span = shape_span(&shape, shape.src_stride);
	size_t at = (size_t)conf_below(state, (int)(AREA - span));
	size_t out = shape_span(&shape, shape.dst_stride);

	finish(target);
	memset(local, 0, out);
	memset(incoming, 0, out);
	CHECK_OK(ARMCI_GetS(area(target) + at, shape.src_stride, incoming, shape.dst_stride,
			    shape.count, shape.levels, target));
	shape_copy(&shape, model(target) + at, local);
	CHECK_BYTES(local, incoming, out, "strided get from rank %d: %s", target,
		    shape_text(&shape));
}

/* Segments of one length at multiples of it, none twice. */
static void put_or_get_vector(uint64_t *state, int target, bool put)
{
	enum { MOST = 300 };
	void *src[MOST], *dst[MOST];
	int bytes = 1 + conf_below(state, 40), segments = conf_below(state, MOST);
	int step = 1 + 2 * conf_below(state, 100);
	armci_giov_t group = {src, dst, bytes, segments};

	finish(target);
	conf_fill(local, (size_t)(bytes * MOST), conf_random(state));
	for (int i = 0; i < segments; i++) {
		size_t place = (size_t)(i * step % 1024 * bytes);

		src[i] = put ? local + (size_t)i * (size_t)bytes : area(target) + place;
		dst[i] = put ? area(target) + place : incoming + (size_t)i * (size_t)bytes;
		if (put)
			memcpy(model(target) + place, src[i], (size_t)bytes);
		else
			memcpy(local + (size_t)i * (size_t)bytes, model(target) + place,
			       (size_t)bytes);
	}
	if (put) {
		CHECK_OK(ARMCI_PutV(&group, 1, target));
		return;
	}
	CHECK_OK(ARMCI_GetV(&group, 1, target));
	CHECK_BYTES(local, incoming, (size_t)(bytes * segments), "vector get from rank %d",
		    target);
}

static void accumulate(uint64_t *state, int target)
{
	long values[SUMS], scale = conf_below(state, 7) - 3;
	int first = conf_below(state, SUMS), count = 1 + conf_below(state, SUMS - first);
	int width = 1 + conf_below(state, count);
	int stride[] = {width * (int)sizeof(long)}, counts[] = {stride[0], count / width};

	for (int i = 0; i < count; i++)
		values[i] = conf_below(state, 1000);
	if (conf_below(state, 2) == 0) {
		CHECK_OK(ARMCI_Acc(ARMCI_ACC_LNG, &scale, values, &shared(target)->sums[first],
				   count * (int)sizeof(long), target));
	} else {
		count = count / width * width;
		CHECK_OK(ARMCI_AccS(ARMCI_ACC_LNG, &scale, values, stride,
				    &shared(target)->sums[first], stride, counts, 1, target));
	}
	for (int i = 0; i < count; i++)
		added_at(target)[2 + first + i] += scale * values[i];
}

static void fetch_and_add(uint64_t *state, int target)
{
	int value = conf_below(state, 100);
	long old;

	CHECK_OK(ARMCI_Rmw(ARMCI_FETCH_AND_ADD_LONG, &old, &shared(target)->counter, value,
			   target));
	added_at(target)[0] += value;
	CHECK(old >= 0, "a counter that only grows is %ld at rank %d", old, target);
}

/* What nobody else may do at the same time. */
static void under_lock(int target)
{
	long value;

	ARMCI_Lock(0, target);
	CHECK_OK(ARMCI_Get(&shared(target)->locked, &value, sizeof(value), target));
	value++;
	CHECK_OK(ARMCI_Put(&value, &shared(target)->locked, sizeof(value), target));
	ARMCI_Unlock(0, target);
	added_at(target)[1]++;
}

static void one_value(uint64_t *state, int target)
{
	int at = conf_below(state, AREA / 8) * 8;
	/* The areas are aligned for this. */
	long *there = (long *)(void *)(area(target) + at), value = (long)conf_random(state);

	finish(target);
	CHECK_OK(ARMCI_PutValueLong(value, there, target));
	memcpy(model(target) + at, &value, sizeof(value));
	CHECK_INT(value, ARMCI_GetValueLong(there, target), "a value put to rank %d", target);
}

static void one_operation(uint64_t *state)
{
	int target = conf_below(state, conf_size);

	switch (conf_below(state, 13)) {
	case 0: put_contiguous(state, target); break;
	case 1: put_nonblocking(state, target); break;
	case 2: get_contiguous(state, target); break;
	case 3: put_strided(state, target); break;
	case 4: get_strided(state, target); break;
	case 5: put_or_get_vector(state, target, true); break;
	case 6: put_or_get_vector(state, target, false); break;
	case 7:
	case 8: accumulate(state, target); break;
	case 9: fetch_and_add(state, target); break;
	case 10: one_value(state, target); break;
	case 11: under_lock(target); break;
	default: ARMCI_Fence(target); break;
	}
}

static void check_all(void)
{
	long *total = conf_alloc(sizeof(long) * TOTALS * (size_t)conf_size);
	unsigned char *now = conf_alloc(AREA);

	for (int k = 0; k < conf_size; k++) {
		finish(k);
		CHECK_OK(ARMCI_Get(area(k), now, AREA, k));
		CHECK_BYTES(model(k), now, AREA, "my area at rank %d", k);
	}
	memcpy(total, added, sizeof(long) * TOTALS * (size_t)conf_size);
	armci_msg_lgop(total, TOTALS * conf_size, "+");
	ARMCI_Barrier();
	CHECK_INT(total[conf_rank * TOTALS], shared(conf_rank)->counter, "my counter");
	CHECK_INT(total[conf_rank * TOTALS + 1], shared(conf_rank)->locked,
		  "what the lock keeps");
	for (int i = 0; i < SUMS; i++)
		CHECK_INT(total[conf_rank * TOTALS + 2 + i], shared(conf_rank)->sums[i],
			  "sum %d", i);
	ARMCI_Barrier();
	free(total);
	free(now);
}

static void begin(void)
{
	size_t ranks = (size_t)conf_size;

	bases = conf_share(sizeof(struct segment) + ranks * AREA);
	memset(bases[conf_rank], 0, sizeof(struct segment) + ranks * AREA);
	local = conf_alloc(LOCAL);
	incoming = conf_alloc(LOCAL);
	models = conf_alloc(ranks * AREA);
	added = conf_alloc(sizeof(long) * TOTALS * ranks);
	handles = conf_alloc(sizeof(*handles) * ranks);
	under_way = conf_alloc(sizeof(*under_way) * ranks);
	outgoing = conf_alloc(ranks * MAX_BYTES);
	for (int k = 0; k < conf_size; k++)
		ARMCI_INIT_HANDLE(&handles[k]);
	CHECK_INT(0, ARMCI_Create_mutexes(1), "ARMCI_Create_mutexes");
	ARMCI_Barrier();
}

static void end(void)
{
	CHECK_INT(0, ARMCI_Destroy_mutexes(), "ARMCI_Destroy_mutexes");
	conf_unshare(bases);
	free(local);
	free(incoming);
	free(models);
	free(added);
	free(handles);
	free(under_way);
	free(outgoing);
}

/* Five phases; or, with a file named by STRESS_UNTIL, until there is this file. */
static bool goes_on(int phase)
{
	const char *until = getenv("STRESS_UNTIL");
	int more = until == NULL ? phase < 5 : access(until, F_OK) != 0;

	armci_msg_brdcst(&more, sizeof(more), 0);
	return more;
}

int main(int argc, char **argv)
{
	uint64_t state;

	conf_begin(&argc, &argv, "stress");
	state = conf_seed() + (uint64_t)conf_rank * 7919;
	begin();
	for (int phase = 0; goes_on(phase); phase++) {
		void **others;

		conf_section("a mixture of everything");
		others = conf_share(1000);
		for (int i = 0; i < conf_times(600); i++)
			one_operation(&state);
		conf_unshare(others);
		check_all();
	}
	end();
	return conf_end();
}
