/* SPDX-License-Identifier: BSD-3-Clause */
/* The fabric of a cluster's processes, taken down before a capture and set up again after it.
 */
#ifndef STASIS_DAEMON_FABRIC_H
#define STASIS_DAEMON_FABRIC_H

#include "base/err.h"
#include "daemon/cluster.h"

/* Every process closes its gate and completes its operations; an error names the VM, the rank
 * and what it was doing. */
int fabric_drain(struct cluster *cluster, const char *ckpt, int deadline_ms, struct err *err);

/* Every process frees all that it has of the fabric; then the device of each VM is unplugged.
 * ret_report gets a new array: of each VM
 * `vm`, `processes`, and `resources`, what its kernel still had of InfiniBand devices then. */
int fabric_release(struct cluster *cluster, const char *ckpt, int deadline_ms,
		   json_t **ret_report, struct err *err);

/*
 * The way back, from wherever the guests are: devices are plugged, every process opens its
 * device again, tells where others find it (its card), learns the cards of all, and opens its
 * gate. Cards go up from each guest once and down to each guest once.
 */
int fabric_reopen(struct cluster *cluster, const char *ckpt, int deadline_ms, struct err *err);

/* Every agent answers; if a guest is not open, since an earlier way back has failed, try it
 * again. */
int fabric_settle(struct cluster *cluster, const char *ckpt, int deadline_ms, struct err *err);

/* Give up: as fabric_reopen(), or, when no guest had got further than draining, just the gates.
 */
int fabric_abort(struct cluster *cluster, const char *ckpt, int deadline_ms, struct err *err);

#endif
