/* SPDX-License-Identifier: BSD-3-Clause */
/* The service thread: answers other nodes' requests on this node's shared memory, and sleeps
 * when there are none. */
#ifndef STASIS_ARMCI_REMOTE_SERVE_H
#define STASIS_ARMCI_REMOTE_SERVE_H

#include <stdbool.h>

#include "base/err.h"

/* Start the thread. What was adopted before is delivered now. */
int serve_start(struct err *err);
/* End it. */
void serve_stop(void);
/* Forget what was not delivered. */
void serve_close(void);

/*
 * Suspension: while this is on, no client waits here for what only the application can bring
 * about. A lock that is not free is answered with -EAGAIN and the ticket, with which the client
 * asks again later and keeps its place; a mailbox part that finds no room is taken over, and
 * delivered when there is some, even after a new start.
 */
void serve_drain(bool on);

#endif
