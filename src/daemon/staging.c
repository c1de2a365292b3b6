/* SPDX-License-Identifier: BSD-3-Clause */
/* Staging: memory in which the RAM of a cluster's VMs is captured. Its budget, and its passes.
 */
#include "daemon/staging.h"

#include "base/budget.h"
#include "base/log.h"
#include "base/parallel.h"
#include "daemon/daemon.h"

/* Memory left to the host. */
#define STAGING_RESERVE_BYTES (128ULL << 20)

/*
 * The pre-copy: how many steps its threads stand below the daemon's priority (guests'
 * processors: VM_CPU_NICE); how often RAM is gone through at most; the part of it that is
 * little.
 */
enum { PRECOPY_NICE = 4, PRECOPY_PASSES_MAX = 3, PRECOPY_LITTLE = 64 };

int staging_reserve(const char *id, uint64_t bytes, uint64_t *io_taken_bytes, bool *ret_direct,
		    struct err *err)
{
	uint64_t memory, left;
	int rc = io_memory_available(&memory, err);

	if (rc < 0)
		return rc;
	memory -= memory < STAGING_RESERVE_BYTES ? memory : STAGING_RESERVE_BYTES;
	staging_give_back(*io_taken_bytes);
	*ret_direct = !budget_take(&the_daemon.staging, bytes, memory, &left);
	*io_taken_bytes = *ret_direct ? 0 : bytes;
	if (*ret_direct)
		log_warn(
			"ckpt=%s staging needs %llu MiB, %llu MiB are left for it: RAM is written "
			"while the VMs are stopped",
			id, (unsigned long long)(bytes >> 20),
			(unsigned long long)(left >> 20));
	return 0;
}

void staging_give_back(uint64_t bytes)
{
	budget_give(&the_daemon.staging, bytes);
}

static int pass(const char *id, struct ram_capture *const *captures, size_t count,
		size_t threads, int nice, struct ram_pass *ret_pass, struct err *err)
{
	int rc = ram_captures_pass(captures, count, threads, nice, ret_pass, err);

	if (rc == 0)
		log_debug("ckpt=%s %zu threads read %llu KiB of RAM, copied %llu KiB", id,
			  threads, (unsigned long long)(ret_pass->read_bytes >> 10),
			  (unsigned long long)(ret_pass->copied_bytes >> 10));
	return rc;
}

int staging_precopy(const char *id, struct ram_capture *const *captures, size_t count,
		    size_t threads, struct err *err)
{
	uint64_t before = UINT64_MAX;

	for (int i = 0; i < PRECOPY_PASSES_MAX; i++) {
		struct ram_pass done;
		int rc = pass(id, captures, count, threads, PRECOPY_NICE, &done, err);

		if (rc < 0)
			return rc;
		if (done.copied_bytes < done.read_bytes / PRECOPY_LITTLE ||
		    done.copied_bytes > before / 2)
			break;
		before = done.copied_bytes;
	}
	return 0;
}

int staging_finish(const char *id, struct ram_capture *const *captures, size_t count,
		   struct err *err)
{
	struct ram_pass done;

	return pass(id, captures, count, parallel_cpus(), 0, &done, err);
}
