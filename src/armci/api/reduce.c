/* SPDX-License-Identifier: BSD-3-Clause */
/* Reductions, selections and the exchange of addresses. */
#include <armci.h>
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "armci/api/entry.h"
#include "armci/api/group.h"
#include "armci/api/scope.h"
#include "armci/api/stats.h"
#include "armci/coll/collective.h"
#include "armci/core/fail.h"
#include "armci/core/job.h"

/* Fortran hands its strings over without an end: only so many characters are looked at, and an
 * op is known by its beginning. */
enum { OP_LENGTH = 6 };

/* A longer name stands before those that it begins with. */
static const struct {
	const char *name;
	enum coll_op op;
} ops[] = {
	{"+", COLL_SUM},   {"*", COLL_PROD},        {"max", COLL_MAX},
	{"min", COLL_MIN}, {"absmax", COLL_ABSMAX}, {"absmin", COLL_ABSMIN},
	{"or", COLL_OR},   {"bor", COLL_OR},        {"band", COLL_AND},
	{"lor", COLL_LOR}, {"land", COLL_LAND},     {"||", COLL_LOR},
	{"|", COLL_OR},    {"&&", COLL_LAND},       {"&", COLL_AND},
};

/* ARMCI-MPI's constants are those of enum coll_type; these are the original's. */
static const int original_types[COLL_TYPES] = {-99, -101, -102, -306, -307};

/* For sentences: what was called with what. */
struct reduction {
	const char *call;
	void *x;
	int n;
	const char *op;
	int type;
};

#define REDUCTION_FORMAT "%s(x %p, n %d, op \"%.*s\")"
#define REDUCTION_VALUES(reduction)                                   \
	(reduction)->call, (reduction)->x, (reduction)->n, OP_LENGTH, \
		(reduction)->op ? (reduction)->op : "NULL"

static enum coll_op op_parse(const struct reduction *reduction)
{
	for (size_t i = 0; reduction->op && i < sizeof ops / sizeof ops[0]; i++)
		if (strncmp(reduction->op, ops[i].name, strlen(ops[i].name)) == 0)
			return ops[i].op;
	fail(REDUCTION_FORMAT ": there is no such operation", REDUCTION_VALUES(reduction));
}

static enum coll_type type_parse(const struct reduction *reduction)
{
	if (reduction->type >= 0 && reduction->type < COLL_TYPES)
		return (enum coll_type)reduction->type;
	for (int i = 0; i < COLL_TYPES; i++)
		if (reduction->type == original_types[i])
			return (enum coll_type)i;
	fail(REDUCTION_FORMAT ": %d is no type (ARMCI_INT … ARMCI_DOUBLE)",
	     REDUCTION_VALUES(reduction), reduction->type);
}

static void check_vector(const struct reduction *reduction)
{
	if (reduction->n < 0)
		fail(REDUCTION_FORMAT ": a negative length", REDUCTION_VALUES(reduction));
	if (reduction->x == NULL && reduction->n > 0)
		fail(REDUCTION_FORMAT ": x is NULL", REDUCTION_VALUES(reduction));
}

/* Group NULL: the caller does not take part. */
static void reduce(const struct reduction *reduction, struct coll_group *group)
{
	enum coll_op op = op_parse(reduction);
	enum coll_type type = type_parse(reduction);

	check_vector(reduction);
	if (!combine_is_defined(type, op))
		fail(REDUCTION_FORMAT ": the operation is for integers only",
		     REDUCTION_VALUES(reduction));
	if (group == NULL)
		return;
	stats_count(STAT_COLLECTIVE, job.rank, (uint64_t)reduction->n * combine_size(type));
	coll_allreduce(group, reduction->x, (size_t)reduction->n, type, op);
}

static void gop(const char *call, int scope, void *x, int n, const char *op, int type)
{
	struct reduction reduction = {call, x, n, op, type};

	entry_begin("%s(%d elements, \"%s\")", call, n, op);
	reduce(&reduction, scope_group(call, scope, coll_world));
	entry_end();
}

static void group_gop(const char *call, int scope, void *x, int n, const char *op, int type,
		      const ARMCI_Group *group)
{
	struct reduction reduction = {call, x, n, op, type};

	entry_begin("%s(%d elements, \"%s\")", call, n, op);
	reduce(&reduction, scope_group(call, scope, group_of(group, call)));
	entry_end();
}

void armci_msg_gop_scope(int scope, void *x, int n, char *op, int type)
{
	gop("armci_msg_gop_scope", scope, x, n, op, type);
}

void armci_msg_group_gop_scope(int scope, void *x, int n, char *op, int type,
			       ARMCI_Group *group)
{
	group_gop("armci_msg_group_gop_scope", scope, x, n, op, type, group);
}

/* All get the result, which is more than is asked for. */
void armci_msg_reduce(void *x, int n, char *op, int type)
{
	gop("armci_msg_reduce", SCOPE_ALL, x, n, op, type);
}

void armci_msg_reduce_scope(int scope, void *x, int n, char *op, int type)
{
	gop("armci_msg_reduce_scope", scope, x, n, op, type);
}

/* The functions that a type has of its own: over the world, a group, the caller's node. */
#define GOP(name, type, constant)                                                          \
	void armci_msg_##name(type *x, int n, char *op)                                    \
	{                                                                                  \
		gop("armci_msg_" #name, SCOPE_ALL, x, n, op, constant);                    \
	}                                                                                  \
	void armci_msg_group_##name(type *x, int n, char *op, ARMCI_Group *group)          \
	{                                                                                  \
		group_gop("armci_msg_group_" #name, SCOPE_ALL, x, n, op, constant, group); \
	}                                                                                  \
	void armci_msg_clus_##name(type *x, int n, char *op)                               \
	{                                                                                  \
		gop("armci_msg_clus_" #name, SCOPE_NODE, x, n, op, constant);              \
	}

GOP(igop, int, ARMCI_INT)
GOP(lgop, long, ARMCI_LONG)
GOP(llgop, long long, ARMCI_LONG_LONG)
GOP(fgop, float, ARMCI_FLOAT)
GOP(dgop, double, ARMCI_DOUBLE)

/* ---- Selection ---- */

/* What each offers. */
struct candidate {
	int64_t contributes;
	union {
		int i;
		long l;
		long long ll;
		float f;
		double d;
	} value;
};

static bool is_less(enum coll_type type, const struct candidate *a, const struct candidate *b)
{
	switch (type) {
	case COLL_INT: return a->value.i < b->value.i;
	case COLL_LONG: return a->value.l < b->value.l;
	case COLL_LLONG: return a->value.ll < b->value.ll;
	case COLL_FLOAT: return a->value.f < b->value.f;
	default: return a->value.d < b->value.d;
	}
}

/* Group rank of the winner, -1 if nobody contributes. The lowest of equals. */
static int winner_of(const struct candidate *all, int count, enum coll_type type, bool least)
{
	int best = -1;

	for (int i = 0; i < count; i++) {
		if (!all[i].contributes)
			continue;
		if (best < 0 || (least ? is_less(type, &all[i], &all[best])
				       : is_less(type, &all[best], &all[i])))
			best = i;
	}
	return best;
}

static void select_one(const struct reduction *reduction, int contribute,
		       struct coll_group *group)
{
	enum coll_op op = op_parse(reduction);
	enum coll_type type = type_parse(reduction);
	struct candidate mine = {.contributes = contribute != 0};

	check_vector(reduction);
	if (op != COLL_MIN && op != COLL_MAX)
		fail(REDUCTION_FORMAT ": a selection is by \"min\" or \"max\"",
		     REDUCTION_VALUES(reduction));
	if (group == NULL || reduction->n == 0)
		return;
	if ((size_t)reduction->n < combine_size(type))
		fail(REDUCTION_FORMAT ": %d bytes hold no value of %zu",
		     REDUCTION_VALUES(reduction), reduction->n, combine_size(type));
	struct candidate *all = malloc((size_t)group->size * sizeof *all);
	if (all == NULL)
		fail(REDUCTION_FORMAT ": there is no memory for the values of %d ranks",
		     REDUCTION_VALUES(reduction), group->size);
	stats_count(STAT_COLLECTIVE, job.rank, (uint64_t)reduction->n);
	memcpy(&mine.value, reduction->x, combine_size(type));
	coll_allgather(group, &mine, sizeof mine, all);
	int winner = winner_of(all, group->size, type, op == COLL_MIN);
	free(all);
	if (winner >= 0)
		coll_broadcast(group, reduction->x, (size_t)reduction->n, winner);
}

static void sel(const char *call, int scope, void *x, int n, const char *op, int type,
		int contribute)
{
	struct reduction reduction = {call, x, n, op, type};

	entry_begin("%s(%d bytes, \"%s\")", call, n, op);
	select_one(&reduction, contribute, scope_group(call, scope, coll_world));
	entry_end();
}

void armci_msg_sel(void *x, int n, char *op, int type, int contribute)
{
	sel("armci_msg_sel", SCOPE_ALL, x, n, op, type, contribute);
}

void armci_msg_sel_scope(int scope, void *x, int n, char *op, int type, int contribute)
{
	sel("armci_msg_sel_scope", scope, x, n, op, type, contribute);
}

/* ---- Addresses ---- */

static_assert(sizeof(void *) == sizeof(long), "pointers are added up as longs");

void armci_exchange_address(void *ptr_ar[], int n)
{
	gop("armci_exchange_address", SCOPE_ALL, ptr_ar, n, "+", ARMCI_LONG);
}

void armci_exchange_address_grp(void *ptr_arr[], int n, ARMCI_Group *group)
{
	group_gop("armci_exchange_address_grp", SCOPE_ALL, ptr_arr, n, "+", ARMCI_LONG, group);
}
