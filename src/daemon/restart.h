/* SPDX-License-Identifier: BSD-3-Clause */
/* Bringing a checkpoint back to life. */
#ifndef STASIS_DAEMON_RESTART_H
#define STASIS_DAEMON_RESTART_H

#include "base/err.h"
#include "daemon/cluster.h"
#include "daemon/manifest.h"

/*
 * Start checkpoint `id` in `cluster`, which has no processes and whose operation is held, as
 * `from` describes it: its spec has the cluster's own name, its run is NULL. The phases of a
 * restart but the first and the last: the caller has verified the checkpoint, and the fabric
 * stays as it was captured. Whatever the result, the caller removes the cluster.
 */
int restart_isolated(const char *id, struct manifest_restore *from, struct cluster *cluster,
		     struct progress *progress, struct err *err);

#endif
