/* SPDX-License-Identifier: BSD-3-Clause */
/* Suspend and resume: the process's part in a checkpoint, on the agent's orders. */
#ifndef STASIS_ARMCI_SUSPEND_SUSPEND_H
#define STASIS_ARMCI_SUSPEND_SUSPEND_H

#include "base/err.h"

/*
 * Collective, the last thing of initialisation. Connects to the agent's socket (setting
 * CONTROL) and starts the thread that takes its orders; without an agent nothing happens, then
 * or later. The application takes no part: its thread finds the gate (core/gate.h) closed at
 * its next operation between nodes, if it has one.
 */
int suspend_open(struct err *err);

/* Tells the agent that this process needs no more orders; waits if it is just being suspended.
 * Afterwards nobody but the caller uses the transport. */
void suspend_close(void);

#endif
