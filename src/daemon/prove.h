/* SPDX-License-Identifier: BSD-3-Clause */
/* The proof of a checkpoint: it is started beside its cluster, asked, and removed. */
#ifndef STASIS_DAEMON_PROVE_H
#define STASIS_DAEMON_PROVE_H

#include "base/err.h"
#include "daemon/daemon.h"

/* Start the (verified) checkpoint under another name, in a network of its own, without the
 * host's devices and without its run; ask all agents; remove it again. *ret_vms: how many VMs
 * answered. */
int prove_checkpoint(const char *id, struct progress *progress, unsigned int *ret_vms,
		     struct err *err);

#endif
