/* SPDX-License-Identifier: BSD-3-Clause */
/* Handles of non-blocking operations: made, waited for, tested. */
#include <armci.h>
#include <armcix.h>

#include "armci/api/entry.h"
#include "armci/api/handle.h"
#include "armci/api/profile.h"
#include "armci/core/fail.h"
#include "armci/core/job.h"

void ARMCI_INIT_HANDLE(armci_hdl_t *hdl)
{
	*hdl = (armci_hdl_t){0};
}

void ARMCI_SET_AGGREGATE_HANDLE(armci_hdl_t *handle)
{
	*handle = (armci_hdl_t){.aggregate = 1};
}

void ARMCI_UNSET_AGGREGATE_HANDLE(armci_hdl_t *handle)
{
	handle->aggregate = 0;
}

int PARMCI_Wait(armci_hdl_t *hdl)
{
	entry_begin("ARMCI_Wait(handle %p)", (void *)hdl);
	struct remote_handle *slot = handle_find(hdl);
	if (slot)
		remote_wait(slot);
	handle_end(hdl);
	entry_end();
	return 0;
}

int PARMCI_Test(armci_hdl_t *hdl)
{
	entry_begin("ARMCI_Test(handle %p)", (void *)hdl);
	struct remote_handle *slot = handle_find(hdl);
	bool done = !slot || remote_test(slot);
	if (done)
		handle_end(hdl);
	entry_end();
	return !done;
}

int PARMCI_WaitProc(int proc)
{
	entry_begin("ARMCI_WaitProc(rank %d)", proc);
	if (proc < 0 || proc >= job.size)
		fail("ARMCI_WaitProc(rank %d): there is no such rank: the job has ranks 0 to %d",
		     proc, job.size - 1);
	remote_wait_node(job.node_of[proc]);
	entry_end();
	return 0;
}

int PARMCI_WaitAll(void)
{
	entry_begin("ARMCI_WaitAll()");
	remote_wait_all();
	entry_end();
	return 0;
}

void ARMCIX_Progress(void)
{
	entry_begin("ARMCIX_Progress()");
	remote_progress();
	entry_end();
}

ARMCI_ALIAS(int, Wait, (armci_hdl_t * hdl));
ARMCI_ALIAS(int, Test, (armci_hdl_t * hdl));
ARMCI_ALIAS(int, WaitProc, (int proc));
ARMCI_ALIAS(int, WaitAll, (void));
