/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon asks of the agents of a whole cluster: identity, clock, files. */
#ifndef STASIS_DAEMON_GUEST_H
#define STASIS_DAEMON_GUEST_H

#include "base/err.h"
#include "daemon/cluster.h"

/* All VMs at once: names, addresses, clocks, random pools, the Soft-RoCE device if the spec
 * wants one. */
int guest_configure_all(struct cluster *cluster, int timeout_ms, struct err *err);

/* All VMs at once: clocks and random pools, after a restart. */
int guest_set_clocks(struct cluster *cluster, int timeout_ms, struct err *err);

/* All VMs at once: the files and directories of the spec, with the directories they are in. */
int guest_put_files(struct cluster *cluster, struct err *err);

#endif
