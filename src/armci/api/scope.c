/* SPDX-License-Identifier: BSD-3-Clause */
/* Scopes of collectives, and trees over them. */
#include <armci.h>

#include "armci/api/scope.h"

#include "armci/api/entry.h"
#include "armci/core/fail.h"
#include "armci/core/job.h"

/* The original's and ComEx's constants. */
enum { ORIGINAL_ALL = 333, ORIGINAL_NODE = 337, ORIGINAL_MASTERS = 339 };

static enum armci_scope_e scope_parse(const char *call, int scope)
{
	switch (scope) {
	case SCOPE_ALL:
	case ORIGINAL_ALL: return SCOPE_ALL;
	case SCOPE_NODE:
	case ORIGINAL_NODE: return SCOPE_NODE;
	case SCOPE_MASTERS:
	case ORIGINAL_MASTERS: return SCOPE_MASTERS;
	default:
		fail("%s(scope %d): there is no such scope (SCOPE_ALL, SCOPE_NODE, SCOPE_MASTERS)",
		     call, scope);
	}
}

struct coll_group *scope_group(const char *call, int scope, struct coll_group *group)
{
	struct err err = ERR_INIT;
	struct coll_group *part = group;
	int rc = 0;

	switch (scope_parse(call, scope)) {
	case SCOPE_ALL: break;
	case SCOPE_NODE: rc = coll_group_node(group, &part, &err); break;
	case SCOPE_MASTERS: rc = coll_group_masters(group, &part, &err); break;
	}
	if (rc < 0)
		fail("%s: %s", call, err.msg);
	return part;
}

/* The rank of the world at `place` in the tree of a scope, -1 beyond its end. */
static int rank_at(enum armci_scope_e scope, int place)
{
	switch (scope) {
	case SCOPE_NODE: return place < job.node_size ? job_member(job.node, place) : -1;
	case SCOPE_MASTERS: return place < job.node_count ? job_member(place, 0) : -1;
	default: return place < job.size ? place : -1;
	}
}

void armci_msg_bintree(int scope, int *Root, int *Up, int *Left, int *Right)
{
	entry_begin("armci_msg_bintree(scope %d)", scope);
	enum armci_scope_e parsed = scope_parse("armci_msg_bintree", scope);
	int place = parsed == SCOPE_ALL ? job.rank : job.node_rank;
	*Root = rank_at(parsed, 0);
	*Up = *Left = *Right = -1;
	if (parsed == SCOPE_MASTERS)
		place = job.node_rank == 0 ? job.node : -1;
	if (place > 0)
		*Up = rank_at(parsed, (place - 1) / 2);
	if (place >= 0) {
		*Left = rank_at(parsed, 2 * place + 1);
		*Right = rank_at(parsed, 2 * place + 2);
	}
	entry_end();
}
