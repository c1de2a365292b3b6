/* SPDX-License-Identifier: BSD-3-Clause */
/* armci_notify: a fence, then the sender's own count is written to the receiver's table. */
#include <armci.h>

#include "armci/api/notify.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "armci/api/entry.h"
#include "armci/api/profile.h"
#include "armci/api/shared.h"
#include "armci/api/stats.h"
#include "armci/core/fail.h"
#include "armci/core/job.h"
#include "armci/core/wait.h"
#include "armci/remote/remote.h"
#include "armci/shm/arena.h"
#include "armci/shm/local.h"

static struct shared table; /* [job.size] counts at each rank, by sender */
static int *sent, *waited;  /* [job.size] */

int notify_open(struct err *err)
{
	sent = calloc((size_t)job.size, sizeof *sent);
	waited = calloc((size_t)job.size, sizeof *waited);
	if (!sent || !waited)
		return err_set(err, ENOMEM, "out of memory for notifications");
	return shared_create(&table, coll_world, job.size, sizeof(int), err);
}

void notify_close(void)
{
	shared_destroy(&table, coll_world);
	free(sent);
	free(waited);
}

static void check_rank(const char *call, int proc)
{
	if (proc < 0 || proc >= job.size)
		fail("%s(rank %d): there is no such rank: the job has ranks 0 to %d", call,
		     proc, job.size - 1);
}

int parmci_notify(int proc)
{
	entry_begin("armci_notify(rank %d)", proc);
	check_rank("armci_notify", proc);
	stats_count(STAT_NOTIFY, proc, 0);
	int count = ++sent[proc];
	uint64_t at = table.parts[proc].offset + (uint64_t)job.rank * sizeof(int);
	if (job_is_near(proc)) {
		__atomic_store_n((int *)(void *)arena_at(at), count, __ATOMIC_RELEASE);
	} else {
		struct xfer xfer = xfer_block(sizeof count);
		remote_fence(job.node_of[proc]);
		remote_put(job.node_of[proc], at, &count, &xfer, NULL);
	}
	entry_end();
	return count;
}

int parmci_notify_wait(int proc, int *pval)
{
	entry_begin("armci_notify_wait(rank %d)", proc);
	check_rank("armci_notify_wait", proc);
	const int *arrived = (const int *)table.mine + proc;
	int want = ++waited[proc], have;
	struct wait_state state = {0};
	int64_t since_ns = wait_now_ns();
	while ((have = __atomic_load_n(arrived, __ATOMIC_ACQUIRE)) - want < 0) {
		remote_watch(proc, since_ns);
		if (wait_pause(&state))
			nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
	}
	*pval = want;
	entry_end();
	return have;
}

ARMCI_ALIAS_SMALL(int, notify, (int proc));
ARMCI_ALIAS_SMALL(int, notify_wait, (int proc, int *pval));
