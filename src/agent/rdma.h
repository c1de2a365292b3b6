/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's Soft-RoCE device: made, taken away for a checkpoint, and made anew. */
#ifndef STASIS_AGENT_RDMA_H
#define STASIS_AGENT_RDMA_H

#include <stddef.h>

#include "base/err.h"

/* Make a Soft-RoCE device on the network device, unless there is one. Its name is rxe and a
 * number that was not used before in this guest. */
int rdma_attach(const char *netdev, struct err *err);

/* -EBUSY, with its name, if a process has an InfiniBand device open: one that uses verbs
 * outside libarmci. A device must not be taken away then, nor a guest captured. */
int rdma_check_unused(struct err *err);

/* What the kernel has of each InfiniBand device ("rdma resource show"), cut to `size`; empty
 * without devices. */
void rdma_resources(char *ret_text, size_t size);

/*
 * Take the device away, if rdma_attach() made one; rdma_restore() then makes another, which is
 * ready when it returns. Both do nothing otherwise, and may be repeated. A site's executables
 * /etc/stasis/fabric-detach and fabric-attach are run in their places: the one when no process
 * has the device open, the other returns when there is one whose port is active.
 */
int rdma_detach(struct err *err);
int rdma_restore(struct err *err);

#endif
