/* SPDX-License-Identifier: BSD-3-Clause */
/* ARMCI's groups: the structures that users copy, and the list of groups that these stand for.
 */
#include <armci.h>
#include <armcix.h>

#include "armci/api/group.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "armci/api/entry.h"
#include "armci/coll/collective.h"
#include "armci/core/fail.h"
#include "armci/core/job.h"

/* All groups that this rank is a member of, by age, the world first. So their ids ascend. */
static struct {
	struct coll_group **list;
	int count, room;
	int last; /* the one found last */
	struct coll_group *standard;
} groups;

static int groups_add(struct coll_group *group)
{
	if (groups.count == groups.room) {
		int room = groups.room * 2 + 8;
		struct coll_group **list = realloc(groups.list, (size_t)room * sizeof *list);
		if (list == NULL)
			return -ENOMEM;
		groups.list = list;
		groups.room = room;
	}
	groups.last = groups.count;
	groups.list[groups.count++] = group;
	return 0;
}

static void groups_remove(struct coll_group *group)
{
	int at = 0;

	while (groups.list[at] != group)
		at++;
	memmove(&groups.list[at], &groups.list[at + 1],
		(size_t)(groups.count - at - 1) * sizeof groups.list[0]);
	groups.count--;
	groups.last = 0;
	if (groups.standard == group)
		groups.standard = coll_world;
}

int groups_open(struct err *err)
{
	if (groups_add(coll_world) < 0)
		return err_set(err, ENOMEM, "there is no memory for the list of groups");
	groups.standard = coll_world;
	return 0;
}

/* Youngest first: members of several groups end them in the same order everywhere, so that
 * nobody waits in a circle. */
void groups_close(void)
{
	while (groups.count > 1)
		coll_group_free(groups.list[--groups.count]);
	free(groups.list);
	memset(&groups, 0, sizeof groups);
}

static bool is_for(const ARMCI_Group *group, const struct coll_group *members)
{
	return members->comm == group->comm && members->rank == group->rank &&
	       members->size == group->size;
}

static bool has_caller(const ARMCI_Group *group)
{
	return group->comm != MPI_COMM_NULL && group->rank >= 0;
}

struct coll_group *group_of(const ARMCI_Group *group, const char *call)
{
	if (group == NULL)
		fail("%s: the group is NULL", call);
	if (!has_caller(group))
		fail("%s: this rank is no member of the group", call);
	if (is_for(group, groups.list[groups.last]))
		return groups.list[groups.last];
	for (int i = 0; i < groups.count; i++)
		if (is_for(group, groups.list[i])) {
			groups.last = i;
			return groups.list[i];
		}
	fail("%s: this is no group, or one that has been freed", call);
}

static void fill(ARMCI_Group *ret_group, const struct coll_group *group)
{
	*ret_group = (ARMCI_Group){
		.comm = group->comm,
		.noncoll_pgroup_comm = MPI_COMM_NULL,
		.grp_to_abs = group->ranks,
		.abs_to_grp = group->places,
		.rank = group->rank,
		.size = group->size,
	};
}

static void fill_none(ARMCI_Group *ret_group)
{
	*ret_group = (ARMCI_Group){
		.comm = MPI_COMM_NULL,
		.noncoll_pgroup_comm = MPI_COMM_NULL,
		.rank = -1,
	};
}

static void *memory(const char *call, size_t bytes)
{
	void *address = calloc(1, bytes > 0 ? bytes : 1);

	if (address == NULL)
		fail("%s: there is no memory for a group", call);
	return address;
}

/* A group of these ranks of the world, the caller being one of them. */
static void create(const char *call, const struct coll_group *parent, const int *world_ranks,
		   int count, ARMCI_Group *ret_group)
{
	struct coll_group *group = NULL;
	struct err err = ERR_INIT;

	if (coll_group_create(parent, world_ranks, count, &group, &err) < 0)
		fail("%s: %s", call, err.msg);
	if (groups_add(group) < 0)
		fail("%s: there is no memory for the list of groups", call);
	fill(ret_group, group);
}

static void create_child(const char *call, int count, const int *list, ARMCI_Group *ret_group,
			 const struct coll_group *parent)
{
	bool caller_is_in = false;

	if (count < 0 || count > parent->size)
		fail("%s(%d ranks): the parent group has %d", call, count, parent->size);
	if (ret_group == NULL || (list == NULL && count > 0))
		fail("%s(%d ranks): the %s is NULL", call, count,
		     ret_group == NULL ? "place for the group" : "list of ranks");
	int *world_ranks = memory(call, (size_t)count * sizeof(int));
	bool *seen = memory(call, (size_t)parent->size * sizeof(bool));
	for (int i = 0; i < count; i++) {
		if (list[i] < 0 || list[i] >= parent->size)
			fail("%s(%d ranks): there is no rank %d in the parent group, which has "
			     "ranks 0 to %d",
			     call, count, list[i], parent->size - 1);
		if (seen[list[i]])
			fail("%s(%d ranks): rank %d is in the list twice", call, count,
			     list[i]);
		seen[list[i]] = true;
		world_ranks[i] = parent->ranks[list[i]];
		caller_is_in = caller_is_in || list[i] == parent->rank;
	}
	free(seen);
	if (caller_is_in)
		create(call, parent, world_ranks, count, ret_group);
	else
		fill_none(ret_group);
	free(world_ranks);
}

void ARMCI_Group_create(int grp_size, int *pid_list, ARMCI_Group *group_out)
{
	entry_begin("ARMCI_Group_create(%d ranks)", grp_size);
	create_child("ARMCI_Group_create", grp_size, pid_list, group_out, groups.standard);
	entry_end();
}

void ARMCI_Group_create_child(int grp_size, int *pid_list, ARMCI_Group *group_out,
			      ARMCI_Group *group_parent)
{
	const char *call = "ARMCI_Group_create_child";

	entry_begin("%s(%d ranks, group %p)", call, grp_size, (void *)group_parent);
	create_child(call, grp_size, pid_list, group_out, group_of(group_parent, call));
	entry_end();
}

void ARMCI_Group_free(ARMCI_Group *group)
{
	entry_begin("ARMCI_Group_free(group %p)", (void *)group);
	if (group != NULL && has_caller(group)) {
		struct coll_group *members = group_of(group, "ARMCI_Group_free");
		if (members == coll_world)
			fail("ARMCI_Group_free: the world cannot be freed");
		groups_remove(members);
		coll_group_free(members);
		fill_none(group);
	}
	entry_end();
}

int ARMCI_Group_rank(ARMCI_Group *group, int *rank)
{
	int mine = -1;

	entry_begin("ARMCI_Group_rank(group %p)", (void *)group);
	if (group == NULL || has_caller(group))
		mine = group_of(group, "ARMCI_Group_rank")->rank;
	*rank = mine;
	entry_end();
	return mine < 0;
}

void ARMCI_Group_size(ARMCI_Group *group, int *size)
{
	entry_begin("ARMCI_Group_size(group %p)", (void *)group);
	if (group == NULL || has_caller(group))
		*size = group_of(group, "ARMCI_Group_size")->size;
	else
		*size = 0;
	entry_end();
}

void ARMCI_Group_set_default(ARMCI_Group *group)
{
	entry_begin("ARMCI_Group_set_default(group %p)", (void *)group);
	groups.standard = group_of(group, "ARMCI_Group_set_default");
	entry_end();
}

void ARMCI_Group_get_default(ARMCI_Group *group_out)
{
	entry_begin("ARMCI_Group_get_default()");
	fill(group_out, groups.standard);
	entry_end();
}

void ARMCI_Group_get_world(ARMCI_Group *group_out)
{
	entry_begin("ARMCI_Group_get_world()");
	fill(group_out, coll_world);
	entry_end();
}

int ARMCI_Absolute_id(ARMCI_Group *group, int group_rank)
{
	entry_begin("ARMCI_Absolute_id(group %p, rank %d)", (void *)group, group_rank);
	const struct coll_group *members = group_of(group, "ARMCI_Absolute_id");
	if (group_rank < 0 || group_rank >= members->size)
		fail("ARMCI_Absolute_id(rank %d): the group has ranks 0 to %d", group_rank,
		     members->size - 1);
	int rank = members->ranks[group_rank];
	entry_end();
	return rank;
}

/* What each member of a group that is split wants. */
struct wish {
	int color, key;
	int rank;  /* in the world */
	int place; /* in the parent */
};

static int wish_compare(const void *one, const void *other)
{
	const struct wish *a = one, *b = other;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	return a->place - b->place;
}

static void split(const char *call, struct coll_group *parent, int color, int key,
		  ARMCI_Group *ret_group)
{
	struct wish mine = {color, key, job.rank, parent->rank};
	struct wish *wishes = memory(call, (size_t)parent->size * sizeof *wishes);
	int *world_ranks = memory(call, (size_t)parent->size * sizeof(int));
	int count = 0;

	coll_allgather(parent, &mine, sizeof mine, wishes);
	for (int i = 0; i < parent->size; i++)
		if (wishes[i].color == color)
			wishes[count++] = wishes[i];
	qsort(wishes, (size_t)count, sizeof *wishes, wish_compare);
	for (int i = 0; i < count; i++)
		world_ranks[i] = wishes[i].rank;
	if (color == MPI_UNDEFINED)
		fill_none(ret_group);
	else
		create(call, parent, world_ranks, count, ret_group);
	free(wishes);
	free(world_ranks);
}

int ARMCIX_Group_split(ARMCI_Group *parent, int color, int key, ARMCI_Group *new_group)
{
	entry_begin("ARMCIX_Group_split(group %p, color %d, key %d)", (void *)parent, color,
		    key);
	split("ARMCIX_Group_split", group_of(parent, "ARMCIX_Group_split"), color, key,
	      new_group);
	entry_end();
	return 0;
}

int ARMCIX_Group_dup(ARMCI_Group *parent, ARMCI_Group *new_group)
{
	entry_begin("ARMCIX_Group_dup(group %p)", (void *)parent);
	const struct coll_group *members = group_of(parent, "ARMCIX_Group_dup");
	create("ARMCIX_Group_dup", members, members->ranks, members->size, new_group);
	entry_end();
	return 0;
}
