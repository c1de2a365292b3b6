/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of a VM's disk, as the launch of a VM sees them; the rest is in vm.h. */
#ifndef STASIS_VM_DISK_DISK_H
#define STASIS_VM_DISK_DISK_H

#include <stdbool.h>

#include "base/err.h"
#include "vm/vm.h"

#define DISK_ACTIVE "disk.qcow2"
#define DISK_NEXT   "next.qcow2"

enum { DISK_CLUSTER_BYTES = 65536 }; /* of the layers' qcow2 format */

/*
 * Before a launch: the active layer must exist, and there must be no next layer. A restored
 * disk comes without one, so that one left over from the VM before it is removed; for a plain
 * start it would hold the newest data: -EEXIST.
 */
int disk_check(const struct vm_config *config, bool incoming, struct err *err);

/*
 * Whether the active layer's file, of `bytes` bytes, has so much room behind its data that no
 * write will extend it: vm_disk_create() and vm_disk_rebase() see to that, on a file system
 * that can hold a file of twice the disk's size.
 */
int disk_reserved(const struct vm_config *config, uint64_t bytes, bool *ret_reserved,
		  struct err *err);

/* End QEMU's NBD server, and with it the exports, if there is one. */
int disk_server_stop(struct vm *vm, struct err *err);

/* A fresh, empty next layer of that virtual size over the active one, which may be open in
 * QEMU. */
int disk_next_create(const struct vm_config *config, uint64_t bytes, struct err *err);
/* Remove the next layer, if there is one. */
int disk_next_remove(const struct vm_config *config, struct err *err);

#endif
