/* SPDX-License-Identifier: BSD-3-Clause */
/* Disk layers that are served out of the store to VMs which run already. */
#ifndef STASIS_DAEMON_SERVE_H
#define STASIS_DAEMON_SERVE_H

#include "base/err.h"
#include "daemon/cluster.h"

/* Whether a restart serves this disk instead of waiting for it. */
bool serve_wanted(const struct stream_ref *disk);

/* Start the cluster's server of layers of `checkpoint`, unless it answers. Operation held. */
int serve_start(struct cluster *cluster, const char *checkpoint, struct err *err);

/* Let the node's VM, which is not started yet, run on this layer. */
void serve_node(struct node *node, const struct stream_ref *disk);

/* VMs that are served run: copy what they lack in the background, then end the server.
 * Operation held; nothing happens if there are none. */
int serve_follow(struct cluster *cluster, struct err *err);
/* The same for a cluster that is adopted, whose server may have died. */
int serve_resume(struct cluster *cluster, struct err *err);

#endif
