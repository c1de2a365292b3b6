/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on other nodes. The far side is always (node, offset in that node's arena). */
#ifndef STASIS_ARMCI_REMOTE_REMOTE_H
#define STASIS_ARMCI_REMOTE_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "armci/core/acc.h"
#include "armci/core/xfer.h"
#include "base/err.h"

/*
 * Each process connects, on demand, to one server process per partner node and reaches the
 * whole node through it, so that connections grow with nodes, not with ranks. One thread at a
 * time calls these (the API's lock); each is an operation in the sense of core/gate.h. Every
 * fault of a partner ends the job with a sentence.
 */

/* Collective over the job; opens nothing (and starts no service thread) when the job has one
 * node. */
int remote_open(struct err *err);
/* All operations are complete everywhere (the caller has had a fence and a barrier): wait for
 * the last answers, and for all ranks to have theirs. */
void remote_quiesce(void);
/* After remote_quiesce() and suspend_close(). */
void remote_close(void);
bool remote_is_open(void);

/*
 * A handle of non-blocking operations: `pending` counts what must still complete locally.
 * Blocking operations pass NULL and return when locally complete: source reusable, or data
 * there.
 */
struct remote_handle {
	int32_t pending; /* the thread that drains counts down, too: see remote_pending() */
};

/* How many there are, without any progress being made. */
static inline int32_t remote_pending(const struct remote_handle *handle)
{
	return __atomic_load_n(&handle->pending, __ATOMIC_RELAXED);
}

void remote_put(int node, uint64_t far, const void *near, const struct xfer *xfer,
		struct remote_handle *handle);
void remote_get(int node, uint64_t far, void *near, const struct xfer *xfer,
		struct remote_handle *handle);
/* The source is packed (and may be reused) when it returns. */
void remote_acc(int node, enum acc_type type, const void *scale, uint64_t far, const void *near,
		const struct xfer *xfer);

/* One segment of a vector transfer. */
struct remote_segment {
	uint64_t far;
	void *near;
};
/* `bytes` each. As the strided ones, with handle NULL. */
void remote_put_vector(int node, const struct remote_segment *segments, size_t count,
		       size_t bytes);
void remote_get_vector(int node, const struct remote_segment *segments, size_t count,
		       size_t bytes);
void remote_acc_vector(int node, enum acc_type type, const void *scale,
		       const struct remote_segment *segments, size_t count, size_t bytes);

enum remote_rmw { REMOTE_ADD_INT, REMOTE_ADD_LONG, REMOTE_SWAP_INT, REMOTE_SWAP_LONG };
/* The old value; for the int operations its low 32 bits. */
int64_t remote_rmw(int node, enum remote_rmw op, uint64_t far, int64_t value);

/* Wait until the handle's operations are locally complete; all of one node's; all. */
void remote_wait(struct remote_handle *handle);
bool remote_test(struct remote_handle *handle);
void remote_wait_node(int node);
void remote_wait_all(void);

/* All operations on the node are complete there, visible to its CPUs. */
void remote_fence(int node);
void remote_fence_all(void);

/* Mutex `far` is the offset of a struct shm_mutex on that node. lock: -EDEADLK if this rank
 * holds it; unlock: -EPERM if this rank does not hold it. */
int remote_lock(int node, uint64_t far);
/* Take it only if nobody has it or waits for it. */
bool remote_trylock(int node, uint64_t far);
int remote_unlock(int node, uint64_t far);

/* Is [far, far + bytes) in one global block there now? Asks the node. */
bool remote_check(int node, uint64_t far, size_t bytes);

/* Hand one mailbox part to a rank of another node (coll/mbox.h); returns when it was taken
 * there. */
void remote_message(int to, const void *part, size_t bytes);

/* For a loop of another part that has waited for `rank` since that time: progress once, and
 * after a long time a look whether the rank's node still answers. */
void remote_watch(int rank, int64_t since_ns);

/* Run the library's own progress once without blocking (a waiting loop of another part calls
 * it). */
void remote_progress(void);

/* For statistics and armci_info: which transport, connections open, bytes out and in. */
struct remote_stats {
	char transport[256];
	int links;
	uint64_t put_bytes, get_bytes, acc_bytes, requests, reads, writes;
};
void remote_stats(struct remote_stats *ret_stats);

#endif
