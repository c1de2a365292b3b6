/* SPDX-License-Identifier: BSD-3-Clause */
/* A cluster's private network: a namespace with a bridge and one tap per VM, kept by a holder
 * process. */
#ifndef STASIS_VM_NET_NET_H
#define STASIS_VM_NET_NET_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * The holder is the small program `stasis-netns` (hold): it unshares a network namespace (for
 * an ordinary user: a user namespace first), makes bridge br0 with the given MTU, and sleeps
 * until it is killed; the namespace ends with its last process. It outlives its daemon. VMs are
 * started in the namespace by `stasis-netns exec PID TAP -- qemu …`, which joins it, makes the
 * persistent-free tap, puts it on br0, and hands it to QEMU as a descriptor.
 */
int net_create(const char *cluster, unsigned int mtu, pid_t *ret_pid, uint64_t *ret_start_time,
	       struct err *err);
/* 0 when that holder still lives, else -ESRCH. */
int net_check(pid_t pid, uint64_t start_time, struct err *err);
void net_destroy(pid_t pid, uint64_t start_time);

#endif
