/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Collectives, groups and mailboxes, run by mpirun on any number of ranks: on real nodes, then
 * with each 1, 2 and 3 ranks as a node of their own, for which messages between nodes go over
 * MPI and a thread of each rank.
 */
#include <errno.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "armci/coll/collective.h"
#include "armci/coll/group.h"
#include "armci/coll/mbox.h"
#include "armci/coll/part.h"
#include "armci/core/job.h"
#include "armci/core/settings.h"
#include "armci/core/wait.h"
#include "armci/shm/arena.h"
#include "armci/shm/heap.h"
#include "coll_wire.h"

enum { DEADLINE_S = 300, LAYOUTS = 4, CASES_MAX = 32 };

static int passed, failed;
static int faults; /* in the present case, on this rank */
static int layout;

/* The cases of the present layout. */
static struct {
	const char *names[CASES_MAX];
	int faults[CASES_MAX];
	int count;
} cases;

#define CHECK(condition)                                                                       \
	do {                                                                                   \
		if (!(condition) && faults++ < 3)                                              \
			fprintf(stderr, "rank %d, layout %d, %s:%d: not true: %s\n", job.rank, \
				layout, __FILE__, __LINE__, #condition);                       \
	} while (0)

static void case_end(const char *name)
{
	cases.names[cases.count] = name;
	cases.faults[cases.count++] = faults;
	faults = 0;
}

/* A case has passed if it has on all ranks. */
static void cases_end(void)
{
	int all[CASES_MAX] = {0}, rank = 0;

	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Allreduce(cases.faults, all, cases.count, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
	for (int i = 0; i < cases.count; i++) {
		if (all[i] == 0)
			passed++;
		else
			failed++;
		if (all[i] != 0 && rank == 0)
			fprintf(stderr, "FAILED: %s, layout %d\n", cases.names[i], layout);
	}
	cases.count = 0;
}

/* ---- What is random, but the same on all ranks that draw in step ---- */

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t state;

static size_t draw(size_t below)
{
	state++;
	return (size_t)(mix(state) % below);
}

/* Mostly small ones, at times around the sizes at which the way changes, at times large ones.
 */
static size_t draw_size(void)
{
	static const size_t edges[] = {0, 1, 1024, 2048, 4096, 32 << 10, 64 << 10, 256 << 10};

	switch (draw(4)) {
	case 0: return edges[draw(8)] + draw(3);
	case 1: return draw(300000);
	default: return draw(700);
	}
}

static unsigned char filling(size_t i, uint64_t seed)
{
	return (unsigned char)(mix(seed * 1000003 + i / 8) + i);
}

static void fill(void *data, size_t bytes, uint64_t seed)
{
	for (size_t i = 0; i < bytes; i++)
		((unsigned char *)data)[i] = filling(i, seed);
}

static bool is_filled(const void *data, size_t bytes, uint64_t seed)
{
	for (size_t i = 0; i < bytes; i++)
		if (((const unsigned char *)data)[i] != filling(i, seed))
			return false;
	return true;
}

/* ---- The library's parts, opened and closed ---- */

static void must(int rc, const struct err *err)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "rank %d: %s\n", job.rank, err->msg);
	MPI_Abort(MPI_COMM_WORLD, 1);
}

static void parts_open(void)
{
	static const char *const runs[LAYOUTS] = {"0", "1", "2", "3"};
	struct err err = ERR_INIT;

	setenv(SETTINGS_PREFIX "NODE_RANKS", runs[layout], 1);
	must(settings_read(&err), &err);
	must(job_open(MPI_COMM_WORLD, &err), &err);
	wait_open();
	must(arena_open(&err), &err);
	must(heap_open(&err), &err);
	must(mbox_open(&err), &err);
	coll_wire_open();
	must(coll_open(&err), &err);
}

static void parts_close(void)
{
	size_t used[4] = {0}, peak;

	coll_close();
	heap_usage(used, &peak);
	CHECK(used[HEAP_INTERNAL] == 0);
	case_end("all blocks are freed at the end");
	cases_end();
	coll_wire_close();
	mbox_close();
	heap_close();
	arena_close();
	job_close();
}

/* ---- Collectives ---- */

/* Nobody leaves before the last has come. */
static void check_barrier(struct coll_group *group)
{
	if (draw(4) == 0 && (int)draw((size_t)group->size) == group->rank)
		usleep(2000); /* somebody is late */
	int64_t mine[2], *all = malloc((size_t)group->size * sizeof mine);
	mine[0] = wait_now_ns();
	coll_barrier(group);
	mine[1] = wait_now_ns();
	coll_allgather(group, mine, sizeof mine, all);
	for (int i = 0; i < group->size; i++)
		CHECK(all[2 * i] <= mine[1]);
	free(all);
}

static void check_broadcast(struct coll_group *group, uint64_t seed)
{
	size_t bytes = draw_size();
	int root = (int)draw((size_t)group->size);
	char *data = malloc(bytes + 16);

	memset(data, 'x', bytes + 16);
	if (group->rank == root)
		fill(data, bytes, seed);
	coll_broadcast(group, data, bytes, root);
	CHECK(is_filled(data, bytes, seed));
	CHECK(memcmp(data + bytes, "xxxxxxxxxxxxxxxx", 16) == 0); /* nothing beyond */
	free(data);
}

static void check_allgather(struct coll_group *group, uint64_t seed)
{
	size_t bytes = draw_size() / (draw(2) ? 16 : 1);
	char *mine = malloc(bytes + 1), *all = malloc((size_t)group->size * bytes + 1);

	fill(mine, bytes, seed + (uint64_t)group->rank);
	coll_allgather(group, mine, bytes, all);
	for (int i = 0; i < group->size; i++)
		CHECK(is_filled(all + (size_t)i * bytes, bytes, seed + (uint64_t)i));
	free(mine);
	free(all);
}

/* Element i of a member's vector. Of products only few factors differ from one. */
static long element(uint64_t seed, int member, size_t i, enum coll_op op)
{
	long value = (long)(mix(seed * 131 + (uint64_t)member * 7919 + i) % 2001) - 1000;

	if (op == COLL_PROD)
		return value % 3 == 0 ? 2 : value % 3 == 1 ? 1 : -1;
	if (op == COLL_LAND || op == COLL_LOR)
		return value % 4 == 0 ? 0 : value;
	return value;
}

static long reduce_two(long a, long b, enum coll_op op)
{
	switch (op) {
	case COLL_SUM: return a + b;
	case COLL_PROD: return a * b;
	case COLL_MAX:
	case COLL_ABSMAX: return a > b ? a : b;
	case COLL_MIN:
	case COLL_ABSMIN: return a < b ? a : b;
	case COLL_OR:
	case COLL_LOR: return a | b;
	default: return a & b;
	}
}

static long reduce_one(long a, enum coll_op op)
{
	if (op == COLL_ABSMAX || op == COLL_ABSMIN)
		return labs(a);
	return op == COLL_LAND || op == COLL_LOR ? a != 0 : a;
}

static void store(void *data, size_t i, enum coll_type type, long value)
{
	switch (type) {
	case COLL_INT: ((int *)data)[i] = (int)value; break;
	case COLL_LONG: ((long *)data)[i] = value; break;
	case COLL_LLONG: ((long long *)data)[i] = value; break;
	case COLL_FLOAT: ((float *)data)[i] = (float)value; break;
	default: ((double *)data)[i] = (double)value; break;
	}
}

static long load(const void *data, size_t i, enum coll_type type)
{
	switch (type) {
	case COLL_INT: return ((const int *)data)[i];
	case COLL_LONG: return ((const long *)data)[i];
	case COLL_LLONG: return (long)((const long long *)data)[i];
	case COLL_FLOAT: return (long)((const float *)data)[i];
	default: return (long)((const double *)data)[i];
	}
}

static void check_allreduce(struct coll_group *group, uint64_t seed, enum coll_type type,
			    enum coll_op op, size_t count)
{
	void *data = malloc(count * combine_size(type) + 1);

	if (!combine_is_defined(type, op)) {
		free(data);
		return;
	}
	for (size_t i = 0; i < count; i++)
		store(data, i, type, element(seed, group->rank, i, op));
	coll_allreduce(group, data, count, type, op);
	bool right = true;
	for (size_t i = 0; i < count && right; i++) {
		long expected = reduce_one(element(seed, 0, i, op), op);
		for (int member = 1; member < group->size; member++)
			expected = reduce_two(expected,
					      reduce_one(element(seed, member, i, op), op), op);
		right = load(data, i, type) == expected;
	}
	CHECK(right);
	free(data);
}

static void check_same_bits(struct coll_group *group, const double *data, size_t count)
{
	uint64_t hash = 0, *hashes = malloc((size_t)group->size * sizeof hash);

	for (size_t i = 0; i < count; i++) {
		uint64_t bits;
		memcpy(&bits, &data[i], sizeof bits);
		hash = mix(hash ^ bits);
	}
	coll_allgather(group, &hash, sizeof hash, hashes);
	for (int i = 0; i < group->size; i++)
		CHECK(hashes[i] == hash);
	free(hashes);
}

/* Sums, which depend on the order of their terms, and the greatest of zeros of both signs: the
 * same bits everywhere. */
static void check_bits(struct coll_group *group, uint64_t seed)
{
	size_t count = draw_size() / 8 + 1;
	double *data = malloc(count * sizeof(double)), exact = 0;
	uint64_t mine = seed + (uint64_t)group->rank * 31;

	for (size_t i = 0; i < count; i++)
		data[i] = 1.0 / (double)(mix(mine + i) % 100000 + 1);
	for (int member = 0; member < group->size; member++)
		exact += 1.0 / (double)(mix(seed + (uint64_t)member * 31) % 100000 + 1);
	coll_allreduce(group, data, count, COLL_DOUBLE, COLL_SUM);
	CHECK(data[0] > exact * (1 - 1e-12) && data[0] < exact * (1 + 1e-12));
	check_same_bits(group, data, count);
	for (size_t i = 0; i < count; i++)
		data[i] = mix(mine + i) % 2 ? 0.0 : -0.0;
	coll_allreduce(group, data, count, COLL_DOUBLE, COLL_MAX);
	check_same_bits(group, data, count);
	free(data);
}

static void check_any(struct coll_group *group, uint64_t seed)
{
	size_t kind = draw(8);
	enum coll_type type = (enum coll_type)draw(COLL_TYPES);
	enum coll_op op = (enum coll_op)draw(COLL_OPS);

	switch (kind) {
	case 0: check_barrier(group); break;
	case 1:
	case 2: check_broadcast(group, seed); break;
	case 3: check_allgather(group, seed); break;
	case 4: coll_barrier(group); break;
	case 5: check_bits(group, seed); break;
	default: check_allreduce(group, seed, type, op, draw_size() / 8); break;
	}
}

static void test_allreduce(void)
{
	static const size_t counts[] = {1, 7, 256, 257, 5000, 100001};

	for (enum coll_type type = COLL_INT; type < COLL_TYPES; type++)
		for (enum coll_op op = COLL_SUM; op < COLL_OPS; op++)
			for (size_t i = 0; i < 6 - (op != COLL_SUM); i++)
				check_allreduce(coll_world, (uint64_t)op + i, type, op,
						counts[i]);
	case_end("allreduce of all types, operations and sizes");
	for (int i = 0; i < 10; i++)
		check_bits(coll_world, (uint64_t)i);
	case_end("sums have the same bits on all members");

	int extreme[2] = {-2147483647 - 1, 2147483647};
	coll_allreduce(coll_world, extreme, 2, COLL_INT, COLL_ABSMAX);
	CHECK(extreme[1] == 2147483647);
	coll_allreduce(coll_world, extreme, 0, COLL_INT, COLL_SUM);
	case_end("extremes and nothing");
}

static void test_world(void)
{
	for (int i = 0; i < 30; i++)
		check_barrier(coll_world);
	for (int i = 0; i < (job.node_count == 1 ? 1000 : 100); i++)
		coll_barrier(coll_world);
	case_end("barrier");
	for (int i = 0; i < 40; i++)
		check_broadcast(coll_world, (uint64_t)i * 1000);
	case_end("broadcast");
	for (int i = 0; i < 200; i++) {
		int value = coll_world->rank == 0 ? i : -1;
		if (i % 50 == 20 && coll_world->rank > 0)
			usleep(3000); /* while the root goes on */
		coll_broadcast(coll_world, &value, sizeof value, 0);
		CHECK(value == i);
	}
	case_end("broadcasts of a root that is ahead");
	for (int i = 0; i < 30; i++)
		check_allgather(coll_world, (uint64_t)i * 1000);
	case_end("allgather");
	for (int i = 0; i < 80; i++)
		check_any(coll_world, (uint64_t)i * 1000);
	case_end("collectives one after the other");
}

/* ---- Groups ---- */

/* `count` different world ranks in random order. */
static int draw_members(int *ret_ranks)
{
	int count = 1 + (int)draw((size_t)job.size);

	for (int i = 0; i < job.size; i++)
		ret_ranks[i] = i;
	for (int i = 0; i < count; i++) {
		int other = i + (int)draw((size_t)(job.size - i)), rank = ret_ranks[i];
		ret_ranks[i] = ret_ranks[other];
		ret_ranks[other] = rank;
	}
	return count;
}

static bool is_among(const int *ranks, int count)
{
	for (int i = 0; i < count; i++)
		if (ranks[i] == job.rank)
			return true;
	return false;
}

/* A member of a group draws the same for it as the others, and everybody the same from one
 * group to the next. */
static void in_step(uint64_t seed, struct coll_group *group, int operations)
{
	uint64_t outside = state;

	state = mix(seed) & 0xffffffffffff;
	for (int i = 0; i < operations && group != NULL; i++)
		check_any(group, seed + (uint64_t)i * 77);
	state = outside;
}

static void check_description(const struct coll_group *group, const int *ranks, int count)
{
	int rank = -1, size = -1, first = -1;

	MPI_Comm_rank(group->comm, &rank);
	MPI_Comm_size(group->comm, &size);
	CHECK(group->size == count && size == count);
	CHECK(group->rank == rank && ranks[rank] == job.rank);
	for (int i = 0; i < count; i++) {
		CHECK(group->ranks[i] == ranks[i] && group->places[ranks[i]] == i);
		CHECK(job.node_of[group->ranks[group->leaders[group->node_of[i]]]] ==
		      job.node_of[ranks[i]]);
		if (first < 0 && job.node_of[ranks[i]] == job.node)
			first = i;
	}
	CHECK(group->near[0] == first && group->leaders[group->node_index] == first);
	CHECK(group->near[group->near_rank] == group->rank);
	CHECK((group->block != NULL) == (group->near_count > 1));
}

static void test_groups(void)
{
	enum { GROUPS = 5 };
	struct coll_group *groups[GROUPS] = {NULL};
	struct err err = ERR_INIT;
	int *ranks = malloc((size_t)job.size * sizeof(int));

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < GROUPS; i++) {
			int count = draw_members(ranks);
			if (!is_among(ranks, count))
				continue;
			must(coll_group_create(coll_world, ranks, count, &groups[i], &err),
			     &err);
			check_description(groups[i], ranks, count);
		}
		for (int i = 0; i < 12; i++) {
			in_step((uint64_t)(round * 100 + i), groups[i % GROUPS], 3);
			if (i % 4 == 3)
				coll_barrier(coll_world);
		}
		for (int i = 0; i < GROUPS; i++) {
			coll_group_free(groups[i]);
			groups[i] = NULL;
		}
	}
	free(ranks);
	case_end("groups that overlap");
}

static void check_scopes(struct coll_group *group)
{
	struct coll_group *near = NULL, *masters = NULL, *again = NULL;
	struct err err = ERR_INIT;
	int one = 1;

	must(coll_group_node(group, &near, &err), &err);
	CHECK(near->size == group->near_count && near->node_count == 1);
	CHECK((near == group) == (group->node_count == 1));
	coll_allreduce(near, &one, 1, COLL_INT, COLL_SUM);
	CHECK(one == group->near_count);
	must(coll_group_masters(group, &masters, &err), &err);
	CHECK((masters != NULL) == coll_group_is_leader(group));
	if (masters != NULL) {
		CHECK(masters->size == group->node_count);
		one = 1;
		coll_allreduce(masters, &one, 1, COLL_INT, COLL_SUM);
		CHECK(one == group->node_count);
	}
	must(coll_group_node(group, &again, &err), &err);
	CHECK(again == near);
}

static void test_scopes(void)
{
	struct coll_group *group = NULL;
	struct err err = ERR_INIT;
	int *ranks = malloc((size_t)job.size * sizeof(int));

	check_scopes(coll_world);
	for (int i = 0; i < job.size; i++)
		ranks[i] = job.size - 1 - i;
	must(coll_group_create(coll_world, ranks, job.size, &group, &err), &err);
	coll_group_hold(group);
	check_scopes(group);
	coll_group_free(group);
	coll_barrier(group); /* still there */
	coll_group_free(group);
	free(ranks);
	case_end("nodes and masters of groups");
}

/* ---- Mailboxes ---- */

static void receive_filled(int from, uint64_t tag, size_t bytes, uint64_t seed)
{
	char *data = malloc(bytes + 1);
	int sender = -1;
	size_t got = mbox_receive(from, MBOX_USER, tag, data, bytes, &sender);

	CHECK(got == bytes && (from < 0 || sender == from));
	CHECK(is_filled(data, bytes, seed + (uint64_t)(sender < 0 ? 0 : sender)));
	free(data);
}

static void send_filled(int to, uint64_t tag, size_t bytes, uint64_t seed)
{
	char *data = malloc(bytes + 1);

	fill(data, bytes, seed + (uint64_t)job.rank);
	mbox_send(to, MBOX_USER, tag, data, bytes);
	free(data);
}

/* Everybody sends to everybody, also itself, before anybody receives; then the tags are asked
 * for in another order. */
static void test_all_to_all(void)
{
	enum { TAGS = 4 };
	size_t sizes[TAGS];

	for (int round = 0; round < 3; round++) {
		for (int tag = 0; tag < TAGS; tag++)
			sizes[tag] = draw_size();
		for (int tag = 0; tag < TAGS; tag++)
			for (int i = 0; i < job.size; i++)
				send_filled((job.rank + i) % job.size, (uint64_t)tag,
					    sizes[tag], (uint64_t)tag * 1000);
		for (int tag = TAGS - 1; tag >= 0; tag--)
			for (int i = 0; i < job.size; i++)
				receive_filled(tag == 1 ? -1 : (job.rank + i) % job.size,
					       (uint64_t)tag, sizes[tag], (uint64_t)tag * 1000);
		coll_barrier(coll_world);
	}
	case_end("messages from all to all");
}

static void test_exchange(void)
{
	int other = job.rank ^ 1;
	size_t bytes = 3000000;

	if (other < job.size) {
		send_filled(other, 5, bytes, 99);
		receive_filled(other, 5, bytes, 99);
	}
	coll_barrier(coll_world);
	case_end("two send each other much at once");

	int next = (job.rank + 1) % job.size, last = (job.rank + job.size - 1) % job.size;
	for (int i = 0; i < 300; i++)
		send_filled(next, 7, (size_t)(i * i % 777), (uint64_t)i);
	for (int i = 0; i < 300; i++)
		receive_filled(last, 7, (size_t)(i * i % 777), (uint64_t)i);
	case_end("messages with one tag keep their order");

	char small[4] = {0};
	mbox_send(job.rank, MBOX_COLL, 1, NULL, 0);
	mbox_send(job.rank, MBOX_USER, 1, "12345678", 8);
	CHECK(mbox_receive(job.rank, MBOX_USER, 1, small, 4, NULL) == 8);
	CHECK(memcmp(small, "1234", 4) == 0);
	CHECK(mbox_receive(-1, MBOX_COLL, 1, NULL, 0, NULL) == 0);
	mbox_send(next, MBOX_USER, 1, "12345678", 8);
	CHECK(mbox_receive(last, MBOX_USER, 1, small, 3, NULL) == 8);
	case_end("empty messages, and those that are longer than their place");
	coll_barrier(coll_world);
}

static void test_parts(void)
{
	char bytes[MBOX_PART_MAX + 1] = {0};
	struct mbox_part part = {
		.from = 0, .class = MBOX_COLL, .tag = 9, .total = 100, .offset = 60};
	struct mbox_part back;

	mbox_part_encode(&part, bytes);
	CHECK(mbox_part_decode(bytes, MBOX_PART_HEADER + 40, 1, &back) == 0);
	CHECK(back.from == 0 && back.class == MBOX_COLL && back.tag == 9 && back.total == 100 &&
	      back.offset == 60 && back.bytes == 40);
	CHECK(mbox_part_decode(bytes, MBOX_PART_HEADER + 41, 1, &back) == -EINVAL);
	CHECK(mbox_part_decode(bytes, MBOX_PART_HEADER, 1, &back) == -EINVAL);
	CHECK(mbox_part_decode(bytes, MBOX_PART_HEADER - 1, 1, &back) == -EINVAL);
	CHECK(mbox_part_decode(bytes, 0, 1, &back) == -EINVAL);
	CHECK(mbox_part_decode(bytes, MBOX_PART_HEADER + 40, 0, &back) == -EINVAL);
	part.total = UINT64_MAX;
	mbox_part_encode(&part, bytes);
	CHECK(mbox_part_decode(bytes, MBOX_PART_HEADER + 40, 1, &back) == -EINVAL);
	part.total = 50;
	mbox_part_encode(&part, bytes);
	CHECK(mbox_part_decode(bytes, MBOX_PART_HEADER + 1, 1, &back) == -EINVAL);
	part = (struct mbox_part){.class = MBOX_CLASSES, .total = 1};
	mbox_part_encode(&part, bytes);
	CHECK(mbox_part_decode(bytes, MBOX_PART_HEADER + 1, 1, &back) == -EINVAL);
	part = (struct mbox_part){.total = 1 << 20};
	mbox_part_encode(&part, bytes);
	CHECK(mbox_part_decode(bytes, MBOX_PART_MAX, 1, &back) == 0);
	CHECK(mbox_part_decode(bytes, MBOX_PART_MAX + 1, 1, &back) == -EINVAL);
	CHECK(mbox_deliver(job.size, bytes, MBOX_PART_MAX) == -EINVAL);
	CHECK(mbox_deliver(-1, bytes, MBOX_PART_MAX) == -EINVAL);
	CHECK(mbox_deliver(job.rank, bytes, 3) == -EINVAL);
	case_end("malformed parts are refused");
}

int main(int argc, char **argv)
{
	int provided = MPI_THREAD_SINGLE;

	alarm(DEADLINE_S);
	MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
	for (layout = 0; layout < (provided == MPI_THREAD_MULTIPLE ? LAYOUTS : 1); layout++) {
		parts_open();
		test_world();
		test_allreduce();
		test_groups();
		test_scopes();
		test_all_to_all();
		test_exchange();
		test_parts();
		parts_close();
	}
	int rank = 0;
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	if (rank == 0)
		printf("%d passed, %d failed, 0 skipped\n", passed, failed);
	MPI_Finalize();
	return failed != 0;
}
