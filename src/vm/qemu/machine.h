/* SPDX-License-Identifier: BSD-3-Clause */
/* A VM as the parts of the QEMU implementation share it. */
#ifndef STASIS_VM_QEMU_MACHINE_H
#define STASIS_VM_QEMU_MACHINE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "vm/qmp/qmp.h"
#include "vm/vm.h"

enum {
	VM_COMMAND_MS =
		30000, /* commands that QEMU answers at once, on a host that may be very busy */
};

struct vm {
	struct vm_config config;
	struct qmp *qmp;
	pid_t pid;
	uint64_t start_time;
	int pidfd;
	int ram_fd;
	int state_fd;      /* where the state is saved next, or -1 */
	json_int_t fd_set; /* the same file, as QEMU knows it */
};

/* qmp_execute() within VM_COMMAND_MS; when QEMU has ended, the sentence says so and cites its
 * log. */
int vm_command(struct vm *vm, const char *command, json_t *args, json_t **ret_value,
	       struct err *err);

/* vm_command() to several VMs: all are sent before the first is waited for, and all are waited
 * for. `args` makes each VM's arguments; NULL: there are none. The values go to ret_values
 * unless that is NULL; after a failure there are none. */
typedef json_t *(*vm_args_fn)(const struct vm *vm);
int vm_command_all(struct vm *const *vms, size_t count, const char *command, vm_args_fn args,
		   json_t **ret_values, struct err *err);

/* Give the threads of the guest's processors less priority than QEMU's own. */
int vm_lower_cpus(struct vm *vm, struct err *err);

/* After a failed call: if QEMU has ended, put that and the end of its log into the sentence.
 * Returns -err->code. */
int vm_explain(const struct vm *vm, int rc, struct err *err);

/* How far QEMU's migration is, as query-migrate has it ("none" if there was none). */
int vm_migration_status(struct vm *vm, char *ret_status, size_t size, struct err *err);
/* Until the migration under way has ended. -EIO, and QEMU's reason, if it has not completed:
 * "QEMU could not WHAT". Events must have been asked for, and old ones dropped before it began.
 */
int vm_migration_wait(struct vm *vm, int64_t deadline_ns, const char *what, struct err *err);
/* For qmp_wait_event(): the migration has ended, well or not. */
bool migration_ended(const char *name, const json_t *data, void *arg);
/* Why it did not complete, from query-migrate. Returns -EIO. */
int vm_migration_failure(struct vm *vm, const char *what, struct err *err);

/* Release RAM from a background snapshot that nobody reads any more: whether there was one. */
bool background_rescue(const struct vm *vm);

/* A device state's file begins with the stream up to the first device's section. */
int state_begin(const struct vm *vm, int state_fd, struct err *err);

/* QEMU's run state as query-status has it: "running", "paused", "postmigrate", "inmigrate", …
 */
int vm_run_state(struct vm *vm, char *ret_state, size_t size, struct err *err);

/* Path of a file of the VM's directory, or of its run directory. */
int vm_dir_path(const struct vm_config *config, const char *name, char *ret_path, size_t size,
		struct err *err);
int vm_run_path(const struct vm_config *config, const char *name, char *ret_path, size_t size,
		struct err *err);

#endif
