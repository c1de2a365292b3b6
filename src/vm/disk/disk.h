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

/* What QEMU says about the disk. */
struct disk_view {
	bool next_exists;   /* the node */
	bool next_active;   /* the device uses it */
	bool served_exists; /* the node */
	bool served_active; /* the chain has it */
	uint64_t bytes;     /* virtual size */
	unsigned int layers;
};

int disk_view_read(struct vm *vm, struct disk_view *ret_view, struct err *err);

/* Wait for news of a block job until the deadline, for a moment at most. */
int disk_job_wait(struct vm *vm, int64_t deadline_ns, struct err *err);

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
