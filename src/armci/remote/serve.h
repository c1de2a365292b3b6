/* SPDX-License-Identifier: BSD-3-Clause */
/* The service thread: answers other nodes' requests on this node's shared memory, and sleeps
 * when there are none. */
#ifndef STASIS_ARMCI_REMOTE_SERVE_H
#define STASIS_ARMCI_REMOTE_SERVE_H

#include "base/err.h"

int serve_start(struct err *err);
void serve_stop(void);

#endif
