/* SPDX-License-Identifier: BSD-3-Clause */
/* Read-modify-write: fetch-and-add and swap of an int or a long. */
#include <armci.h>
#include <string.h>

#include "armci/api/gate.h"
#include "armci/api/near.h"
#include "armci/api/profile.h"
#include "armci/api/segments.h"
#include "armci/remote/remote.h"
#include "armci/shm/local.h"

/* ARMCI-MPI's constants and the original's. */
static bool parse(int op, enum remote_rmw *ret_op)
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

static int64_t go_near(enum remote_rmw op, void *far, int64_t value)
{
	switch (op) {
	case REMOTE_ADD_INT: return local_fetch_add_int(far, (int32_t)value);
	case REMOTE_ADD_LONG: return local_fetch_add_long(far, value);
	case REMOTE_SWAP_INT: return local_swap_int(far, (int32_t)value);
	case REMOTE_SWAP_LONG: break;
	}
	return local_swap_long(far, value);
}

/* What a swap stores, or an addition adds. */
static int64_t operand(enum remote_rmw op, const void *ploc, int value)
{
	int32_t word;
	int64_t longer;
	switch (op) {
	case REMOTE_SWAP_INT: memcpy(&word, ploc, sizeof word); return word;
	case REMOTE_SWAP_LONG: memcpy(&longer, ploc, sizeof longer); return longer;
	default: return value;
	}
}

static void give_back(void *ploc, int64_t old, size_t bytes)
{
	int32_t word = (int32_t)old;
	memcpy(ploc, bytes == sizeof word ? (void *)&word : (void *)&old, bytes);
}

int PARMCI_Rmw(int op, void *ploc, void *prem, int value, int proc)
{
	enum remote_rmw rmw;
	struct call call = {"ARMCI_Rmw", STAT_RMW, ploc, prem, 0, proc};
	if (!parse(op, &rmw))
		call_fail(&call, "%d is no operation of ARMCI_Rmw", op);
	bool is_long = rmw == REMOTE_ADD_LONG || rmw == REMOTE_SWAP_LONG;
	size_t bytes = is_long ? sizeof(int64_t) : sizeof(int32_t);
	char *near = near_address(proc, prem, bytes);
	int64_t operand_value = operand(rmw, ploc, value);
	if (near && (uintptr_t)near % bytes == 0) {
		give_back(ploc, go_near(rmw, near, operand_value), bytes);
		return 0;
	}
	gate_enter("ARMCI_Rmw");
	call.bytes = (int64_t)bytes;
	call_check_rank(&call);
	if ((uintptr_t)prem % bytes)
		call_fail(&call, "the address is not aligned to %zu bytes", bytes);
	struct place place = segment_find(&call, prem, 0, (ptrdiff_t)bytes);
	stats_count(STAT_RMW, proc, bytes);
	int64_t old = place.near ? go_near(rmw, place.near, operand_value)
				 : remote_rmw(place.node, rmw, place.far, operand_value);
	give_back(ploc, old, bytes);
	gate_leave();
	return 0;
}

ARMCI_ALIAS(int, Rmw, (int op, void *ploc, void *prem, int value, int proc));
