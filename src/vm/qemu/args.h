/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of a VM's QEMU. */
#ifndef STASIS_VM_QEMU_ARGS_H
#define STASIS_VM_QEMU_ARGS_H

#include <stdbool.h>

#include "base/err.h"
#include "vm/vm.h"

/* Descriptors that a QEMU finds open: the tap's number is that of stasis-netns. */
enum { QEMU_FD_RAM = 3, QEMU_FD_TAP = 4, QEMU_FD_QMP = 5 };

/* Names by which QMP commands find things. */
#define QEMU_BLK_DEVICE   "blk0"
#define QEMU_NODE_BASE    "base"
#define QEMU_NODE_SERVED  "served"
#define QEMU_NODE_DISK    "disk"
#define QEMU_NODE_FILE    "disk-file" /* below QEMU_NODE_DISK */
#define QEMU_NODE_NEXT    "next"
#define QEMU_PLUG_BUS     "rp1"

#define QEMU_LOG          "qemu.log"
#define QEMU_SOCK_QMP     "qmp.sock"
#define QEMU_SOCK_DEBUG   "debug.sock"
#define QEMU_SOCK_AGENT   "agent.sock"
#define QEMU_SOCK_CONSOLE "console.sock"
#define QEMU_SOCK_NBD     "nbd.sock" /* for moments only */

/* The QEMU and qemu-img in use: $STASIS_QEMU, $STASIS_QEMU_IMG or their usual names. */
const char *qemu_program(void);
const char *qemu_img_program(void);

/*
 * argv of the VM, NULL-terminated, from the program's name on; with a network the words of
 * stasis-netns (found at `netns_program`) stand in front. Free with qemu_args_free().
 */
int qemu_args_build(const struct vm_config *config, bool incoming, const char *netns_program,
		    char ***ret_argv, struct err *err);
void qemu_args_free(char **argv);

#endif
