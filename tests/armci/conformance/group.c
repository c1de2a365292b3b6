/* SPDX-License-Identifier: BSD-3-Clause */
/* Groups: made in every way, their ranks, translation, memory, barriers and the default group.
 */
#include <stdlib.h>
#include <string.h>

#include <armcix.h>

#include "conf.h"

/* Everything that can be asked of a group whose members are these ranks of the world, in order.
 */
static void check_group(ARMCI_Group *group, const int *members, int count, const char *what)
{
	int rank = -2, size = -2, mine = -1, result, unlike = MPI_UNEQUAL;

	for (int i = 0; i < count; i++) {
		if (members[i] == conf_rank)
			mine = i;
	}
	result = ARMCI_Group_rank(group, &rank);
	CHECK_INT(mine, rank, "%s: rank in the group", what);
	CHECK_INT(mine < 0, result != 0, "%s: whether ARMCI_Group_rank says no member", what);
	if (mine < 0)
		return;
	ARMCI_Group_size(group, &size);
	CHECK_INT(count, size, "%s: size of the group", what);
	for (int i = 0; i < count; i++)
		CHECK_INT(members[i], ARMCI_Absolute_id(group, i),
			  "%s: rank %d of the group in the world", what, i);
	/* Global Arrays takes the communicator from the structure. */
	MPI_Comm_rank(group->comm, &rank);
	MPI_Comm_size(group->comm, &size);
	CHECK_INT(mine, rank, "%s: rank in the group's communicator", what);
	CHECK_INT(count, size, "%s: size of the group's communicator", what);
	if (count == conf_size)
		MPI_Comm_compare(group->comm, MPI_COMM_WORLD, &unlike);
	CHECK(unlike != MPI_IDENT, "%s: the communicator is MPI_COMM_WORLD itself", what);
}

/* Memory over the group: each member puts to each, by the world's ranks. */
static void use_memory(ARMCI_Group *group, int count)
{
	void **bases = conf_alloc(sizeof(void *) * (size_t)count);
	int mine;

	ARMCI_Group_rank(group, &mine);
	for (int round = 0; round < 5; round++) {
		CHECK_OK(ARMCI_Malloc_group(bases, (armci_size_t)sizeof(long) * count, group));
		for (int i = 0; i < count; i++) {
			long value = 100 * round + 10 * mine + i;
			int proc = ARMCI_Absolute_id(group, i);

			CHECK_OK(ARMCI_Put(&value, (long *)bases[i] + mine, sizeof(value),
					   proc));
			ARMCI_Fence(proc);
		}
		armci_msg_group_barrier(group);
		for (int i = 0; i < count; i++)
			CHECK_INT(100 * round + 10 * i + mine, ((long *)bases[mine])[i],
				  "put by member %d", i);
		armci_msg_group_barrier(group);
		CHECK_OK(ARMCI_Free_group(bases[mine], group));
	}
	free(bases);
}

static void use_collectives(ARMCI_Group *group, const int *members, int count)
{
	long sum = conf_rank + 1, expected = 0;
	int root = members[count - 1], value = conf_rank == root ? 4711 : 0;

	for (int i = 0; i < count; i++)
		expected += members[i] + 1;
	armci_msg_group_lgop(&sum, 1, "+", group);
	CHECK_INT(expected, sum, "sum over the group");
	armci_msg_group_bcast_scope(SCOPE_ALL, &value, sizeof(value), root, group);
	CHECK_INT(4711, value, "broadcast over the group from rank %d", root);
}

static void use(ARMCI_Group *group, const int *members, int count, const char *what)
{
	check_group(group, members, count, what);
	if (ARMCI_Group_rank(group, &(int){0}) != 0)
		return;
	use_memory(group, count);
	use_collectives(group, members, count);
}

static int contains(const int *members, int count)
{
	for (int i = 0; i < count; i++) {
		if (members[i] == conf_rank)
			return 1;
	}
	return 0;
}

static void test_world(void)
{
	int *all = conf_alloc(sizeof(int) * (size_t)conf_size);
	ARMCI_Group world, standard;

	conf_section("the world and the default group");
	for (int i = 0; i < conf_size; i++)
		all[i] = i;
	ARMCI_Group_get_world(&world);
	use(&world, all, conf_size, "the world");
	ARMCI_Group_get_default(&standard);
	use(&standard, all, conf_size, "the default group");
	free(all);
}

/* Lists of members of all sorts; everybody calls, as the reference needs it. */
static void test_create(void)
{
	int *list = conf_alloc(sizeof(int) * (size_t)conf_size);
	static const char *const names[] = {"all ranks", "every second rank", "the last rank",
					    "backwards"};

	conf_section("groups of all sorts");
	for (int kind = 0; kind < 4; kind++) {
		ARMCI_Group group, world;
		int count = 0;

		for (int r = 0; r < conf_size; r++) {
			if (kind == 0 || (kind == 1 && r % 2 == 0) ||
			    (kind == 2 && r == conf_size - 1))
				list[count++] = r;
			else if (kind == 3)
				list[count++] = conf_size - 1 - r;
		}
		memset(&group, 0, sizeof(group));
		ARMCI_Group_create(count, list, &group);
		use(&group, list, count, names[kind]);
		ARMCI_Group_get_world(&world);
		if (contains(list, count))
			ARMCI_Group_free(&group);
		memset(&group, 0, sizeof(group));
		ARMCI_Group_create_child(count, list, &group, &world);
		use(&group, list, count, names[kind]);
		if (contains(list, count))
			ARMCI_Group_free(&group);
	}
	free(list);
}

/* Only the members call; disjoint groups at the same time, then overlapping ones in turn. */
static void test_create_by_members(void)
{
	int *list = conf_alloc(sizeof(int) * (size_t)conf_size), count = 0;
	ARMCI_Group group;

	if (conf_beyond_reference("groups made by their members alone"))
		return;
	conf_section("groups made by their members alone");
	for (int r = conf_rank % 2; r < conf_size; r += 2)
		list[count++] = r;
	ARMCI_Group_create(count, list, &group);
	use(&group, list, count, "even or odd ranks");
	ARMCI_Group_free(&group);
	for (int first = 0; first < conf_size; first++) {
		count = 0;
		for (int r = first; r < conf_size && r < first + 2; r++)
			list[count++] = r;
		if (!contains(list, count))
			continue;
		ARMCI_Group_create(count, list, &group);
		use(&group, list, count, "two neighbours");
		ARMCI_Group_free(&group);
	}
	list[0] = conf_rank;
	ARMCI_Group_create(1, list, &group);
	use(&group, list, 1, "oneself");
	ARMCI_Group_free(&group);
	free(list);
}

/* Lists of a child name ranks of its parent; of the default group, if one was set. */
static void test_children(void)
{
	int *upper = conf_alloc(sizeof(int) * (size_t)conf_size);
	int *list = conf_alloc(sizeof(int) * (size_t)conf_size), *absolute;
	ARMCI_Group parent, child, world, standard;
	int half = conf_size / 2, count = 0, children = 0;

	absolute = conf_alloc(sizeof(int) * (size_t)conf_size);
	conf_section("children, and groups of a default group");
	ARMCI_Group_get_world(&world);
	for (int r = half; r < conf_size; r++)
		upper[count++] = r;
	memset(&parent, 0, sizeof(parent));
	ARMCI_Group_create(count, upper, &parent);
	for (int i = 0; i < count; i += 2) {
		list[children] = i;
		absolute[children++] = half + i;
	}
	if (contains(upper, count)) {
		memset(&child, 0, sizeof(child));
		ARMCI_Group_create_child(children, list, &child, &parent);
		use(&child, absolute, children, "a child");
		if (contains(absolute, children))
			ARMCI_Group_free(&child);
		ARMCI_Group_set_default(&parent);
		ARMCI_Group_get_default(&standard);
		check_group(&standard, upper, count, "a default group that was set");
		memset(&child, 0, sizeof(child));
		ARMCI_Group_create(children, list, &child);
		use(&child, absolute, children, "a group of a default group");
		if (contains(absolute, children))
			ARMCI_Group_free(&child);
		ARMCI_Group_set_default(&world);
		ARMCI_Group_free(&parent);
	}
	ARMCI_Group_get_default(&standard);
	CHECK_INT(conf_size, standard.size, "size of the default group, set back");
	free(upper);
	free(list);
	free(absolute);
}

static void test_split_and_dup(void)
{
	int *list = conf_alloc(sizeof(int) * (size_t)conf_size), count = 0;
	ARMCI_Group world, split, dup;

	conf_section("ARMCIX_Group_split and ARMCIX_Group_dup");
	ARMCI_Group_get_world(&world);
	/* The key turns the order round. */
	CHECK_OK(ARMCIX_Group_split(&world, conf_rank % 3, -conf_rank, &split));
	for (int r = conf_size - 1; r >= 0; r--) {
		if (r % 3 == conf_rank % 3)
			list[count++] = r;
	}
	use(&split, list, count, "a split group");
	CHECK_OK(ARMCIX_Group_dup(&split, &dup));
	use(&dup, list, count, "a duplicate");
	ARMCI_Group_free(&split);
	use(&dup, list, count, "a duplicate whose original is gone");
	ARMCI_Group_free(&dup);
	if (!conf_reference()) {
		CHECK_OK(ARMCIX_Group_split(&world, conf_rank == 0 ? MPI_UNDEFINED : 1, 0,
					    &split));
		for (int r = 1; r < conf_size; r++)
			list[r - 1] = r;
		use(&split, list, conf_size - 1, "a group that rank 0 did not want");
		ARMCI_Group_free(&split);
	}
	free(list);
}

/* Many groups one after the other, and many at a time. */
static void test_many(void)
{
	enum { AT_ONCE = 40 };
	ARMCI_Group world, groups[AT_ONCE];
	int rounds = conf_times(150);

	conf_section("many groups");
	ARMCI_Group_get_world(&world);
	for (int i = 0; i < rounds; i++) {
		int one = 1;

		CHECK_OK(ARMCIX_Group_split(&world, (conf_rank + i) % 2, 0, &groups[0]));
		armci_msg_group_igop(&one, 1, "+", &groups[0]);
		CHECK_INT(groups[0].size, one, "members that took part");
		ARMCI_Group_free(&groups[0]);
	}
	for (int i = 0; i < AT_ONCE; i++)
		CHECK_OK(ARMCIX_Group_dup(&world, &groups[i]));
	for (int i = 0; i < AT_ONCE; i++) {
		int value = conf_rank == i % conf_size ? i : -1;

		armci_msg_group_bcast_scope(SCOPE_ALL, &value, sizeof(value), i % conf_size,
					    &groups[i]);
		CHECK_INT(i, value, "broadcast over duplicate %d", i);
		CHECK_INT(ARMCI_Uses_shm(), ARMCI_Uses_shm_grp(&groups[i]),
			  "ARMCI_Uses_shm_grp");
		ARMCI_Group_free(&groups[i]);
	}
}

int main(int argc, char **argv)
{
	conf_begin(&argc, &argv, "group");
	test_world();
	test_create();
	test_create_by_members();
	test_children();
	test_split_and_dup();
	test_many();
	return conf_end();
}
