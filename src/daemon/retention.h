/* SPDX-License-Identifier: BSD-3-Clause */
/* Which checkpoints stay by themselves, and the collection of what others leave. */
#ifndef STASIS_DAEMON_RETENTION_H
#define STASIS_DAEMON_RETENTION_H

#include "daemon/cluster.h"

/* After a commit: remove the cluster's checkpoints beyond its [checkpoint] keep. A failure is
 * logged: the new checkpoint stands. The caller holds a reference, not the daemon's lock. */
void retention_apply(struct cluster *cluster);

/* Checkpoints have been removed: free what they took, in the background. Any thread; does not
 * wait. */
void retention_collect(void);

#endif
