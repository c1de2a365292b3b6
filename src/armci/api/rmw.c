/* SPDX-License-Identifier: BSD-3-Clause */
/* Read-modify-write: fetch-and-add and swap of an int or a long. */
#include <armci.h>
#include <string.h>

#include "armci/api/entry.h"
#include "armci/api/near.h"
#include "armci/api/profile.h"
#include "armci/api/segments.h"
#include "armci/remote/remote.h"
#include "armci/shm/local.h"

/* ARMCI-MPI's constants and the original's. */
static inline bool parse(int op, enum remote_rmw *ret_op)
{
	switch (op) {
	case ARMCI_FETCH_AND_ADD:
	case 12: *ret_op = REMOTE_ADD_INT; return true;
	case ARMCI_FETCH_AND_ADD_LONG:
	case 13: *ret_op = REMOTE_ADD_LONG; return true;
	case ARMCI_SWAP:
	case 10: *ret_op = REMOTE_SWAP_INT; return true;
	case ARMCI_SWAP_LONG:
	case 11: *ret_op = REMOTE_SWAP_LONG; return true;
	default: return false;
	}
}

static bool is_long(enum remote_rmw op)
{
	return op == REMOTE_ADD_LONG || op == REMOTE_SWAP_LONG;
}

static int32_t int_at(const void *ploc)
{
	int32_t word;
	memcpy(&word, ploc, sizeof word);
	return word;
}

static int64_t long_at(const void *ploc)
{
	int64_t word;
	memcpy(&word, ploc, sizeof word);
	return word;
}

/* The old value goes to *ploc; a swap's new value comes from there. */
static void give_back(enum remote_rmw op, void *ploc, int64_t old)
{
	int32_t word = (int32_t)old;
	if (is_long(op))
		memcpy(ploc, &old, sizeof old);
	else
		memcpy(ploc, &word, sizeof word);
}

static inline void go_near(enum remote_rmw op, void *far, void *ploc, int value)
{
	int64_t old = 0;
	switch (op) {
	case REMOTE_ADD_INT: old = local_fetch_add_int(far, value); break;
	case REMOTE_ADD_LONG: old = local_fetch_add_long(far, value); break;
	case REMOTE_SWAP_INT: old = local_swap_int(far, int_at(ploc)); break;
	case REMOTE_SWAP_LONG: old = local_swap_long(far, long_at(ploc)); break;
	}
	give_back(op, ploc, old);
}

static void go_far(enum remote_rmw op, const struct place *place, void *ploc, int value)
{
	int64_t operand = value;
	if (op == REMOTE_SWAP_INT)
		operand = int_at(ploc);
	else if (op == REMOTE_SWAP_LONG)
		operand = long_at(ploc);
	give_back(op, ploc, remote_rmw(place->node, op, place->far, operand));
}

/* Not near, or not right. */
NEAR_SLOW static int slow(int op, void *ploc, void *prem, int value, int proc)
{
	enum remote_rmw rmw;
	struct call call = {"ARMCI_Rmw", STAT_RMW, ploc, prem, 0, proc};
	entry_begin("ARMCI_Rmw(operation %d, %p, value %d, rank %d)", op, prem, value, proc);
	if (!parse(op, &rmw))
		call_fail(&call, "%d is no operation of ARMCI_Rmw", op);
	size_t bytes = is_long(rmw) ? sizeof(int64_t) : sizeof(int32_t);
	call.bytes = (int64_t)bytes;
	call_check_rank(&call);
	if ((uintptr_t)prem & (bytes - 1))
		call_fail(&call, "the address is not aligned to %zu bytes", bytes);
	struct place place = segment_find(&call, prem, 0, (ptrdiff_t)bytes);
	stats_count(STAT_RMW, proc, bytes);
	if (place.near)
		go_near(rmw, place.near, ploc, value);
	else
		go_far(rmw, &place, ploc, value);
	entry_end();
	return 0;
}

int PARMCI_Rmw(int op, void *ploc, void *prem, int value, int proc)
{
	enum remote_rmw rmw;
	if (parse(op, &rmw)) {
		size_t bytes = is_long(rmw) ? sizeof(int64_t) : sizeof(int32_t);
		char *near = near_address(proc, prem, bytes);
		if (near && ((uintptr_t)near & (bytes - 1)) == 0) {
			go_near(rmw, near, ploc, value);
			return 0;
		}
	}
	return slow(op, ploc, prem, value, proc);
}

ARMCI_ALIAS(int, Rmw, (int op, void *ploc, void *prem, int value, int proc));
