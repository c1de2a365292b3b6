/* SPDX-License-Identifier: BSD-3-Clause */
/* Steps that starting and restarting a cluster have in common. The operation is held. */
#ifndef STASIS_DAEMON_LAUNCH_H
#define STASIS_DAEMON_LAUNCH_H

#include "base/err.h"
#include "daemon/cluster.h"

/* -ENOMEM, with the figures, when this host cannot hold the spec's VMs now. */
int launch_check_memory(const struct spec *spec, struct err *err);

/* A vmgenid GUID of its own, so that the guest's random pool is seeded anew. */
void launch_new_genid(struct vm_config *config);

/* The cluster's network namespace and bridge. */
int launch_network(struct cluster *cluster, struct err *err);

/* Start all processes (their disks and RAM are filled), stopped in front of their state; load
 * it; let all run. */
int launch_all(struct cluster *cluster, const int *rams, struct err *err);
int launch_load_states(struct cluster *cluster, const int *states, struct err *err);
int launch_resume(struct cluster *cluster, struct err *err);

#endif
