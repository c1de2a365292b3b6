/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device state of a VM without its RAM: QEMU's migration stream to and from a descriptor.
 *
 * Capability x-ignore-shared leaves out RAM that is a shared file, so that the stream holds the
 * devices and the small memories of the firmware. QEMU writes it straight into the memfd. A
 * saved VM is in state "postmigrate", in which QEMU has given its disks away; "cont" takes them
 * back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "vm/qemu/machine.h"

#define STATE_FD_NAME "stasis-state"
#define STATE_URI     "fd:" STATE_FD_NAME

enum {
	STATE_MS = 60000,
	SETTLE_POLL_NS = 200000, /* the run state follows the completion within microseconds */
};

/* The same file at offset 0, with an offset of its own. */
static int state_reopen(int state_fd, int flags, int *ret_fd, struct err *err)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", state_fd);
	*ret_fd = open(path, flags | O_CLOEXEC);
	return *ret_fd < 0 ? err_sys(err, errno, "cannot open the device state's file") : 0;
}

static int state_prepare(struct vm *vm, int fd, struct err *err)
{
	json_t *capabilities =
		json_pack("{s:[{s:s, s:b}, {s:s, s:b}]}", "capabilities", "capability",
			  "x-ignore-shared", "state", 1, "capability", "events", "state", 1);
	int rc = vm_command(vm, "migrate-set-capabilities", capabilities, NULL, err);

	if (rc < 0)
		return rc;
	qmp_drop_events(vm->qmp);
	return qmp_pass_fd(vm->qmp, STATE_FD_NAME, fd, deadline_in_ms(VM_COMMAND_MS), err);
}

static bool migration_over(const char *name, const json_t *data, void *arg)
{
	const char *status = json_string_value(json_object_get(data, "status"));

	(void)arg;
	return !strcmp(name, "MIGRATION") && status &&
	       (!strcmp(status, "completed") || !strcmp(status, "failed") ||
		!strcmp(status, "cancelled"));
}

/* Why the migration did not complete, from query-migrate. */
static int migration_failure(struct vm *vm, const char *what, struct err *err)
{
	const char *desc;
	json_t *value;
	int rc = vm_command(vm, "query-migrate", json_object(), &value, err);

	if (rc < 0)
		return rc;
	desc = json_string_value(json_object_get(value, "error-desc"));
	rc = err_set(err, EIO, "QEMU could not %s the device state of VM %s: %s", what,
		     vm->config.name, desc ? desc : "no reason given");
	json_decref(value);
	return rc;
}

static int migration_wait(struct vm *vm, const char *what, struct err *err)
{
	json_t *event;
	const char *status;
	bool completed;
	int rc = qmp_wait_event(vm->qmp, migration_over, NULL, deadline_in_ms(STATE_MS), &event,
				err);

	if (rc < 0)
		return vm_explain(vm, rc, err);
	status = json_string_value(json_object_get(json_object_get(event, "data"), "status"));
	completed = status && !strcmp(status, "completed");
	json_decref(event);
	return completed ? 0 : migration_failure(vm, what, err);
}

/* The event comes a moment before the run state in which "cont" is allowed. */
static int settle(struct vm *vm, struct err *err)
{
	int64_t deadline_ns = deadline_in_ms(STATE_MS);
	struct timespec pause = {.tv_nsec = SETTLE_POLL_NS};

	for (;;) {
		char state[32];
		int rc = vm_run_state(vm, state, sizeof(state), err);

		if (rc < 0 || !strcmp(state, "postmigrate"))
			return rc;
		if (deadline_left_ms(deadline_ns) == 0)
			return err_set(err, ETIMEDOUT, "QEMU of VM %s stays in state \"%s\"",
				       vm->config.name, state);
		nanosleep(&pause, NULL);
	}
}

int vm_save_state(struct vm *vm, int state_fd, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	bool running;
	int rc = vm_running(vm, &running, err);

	if (rc == 0 && running)
		rc = err_set(err, EBUSY, "VM %s must be paused before its state is saved",
			     vm->config.name);
	if (rc == 0)
		rc = state_reopen(state_fd, O_RDWR | O_TRUNC, &fd, err);
	if (rc == 0)
		rc = state_prepare(vm, fd, err);
	if (rc == 0)
		rc = vm_command(vm, "migrate", json_pack("{s:s}", "uri", STATE_URI), NULL, err);
	if (rc < 0)
		return rc;
	rc = migration_wait(vm, "save", err);
	if (rc == -ETIMEDOUT)
		(void)vm_command(vm, "migrate_cancel", json_object(), NULL, NULL);
	return rc < 0 ? rc : settle(vm, err);
}

int vm_load_state(struct vm *vm, int state_fd, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	int rc = state_reopen(state_fd, O_RDONLY, &fd, err);

	if (rc == 0)
		rc = state_prepare(vm, fd, err);
	if (rc == 0)
		rc = vm_command(vm, "migrate-incoming", json_pack("{s:s}", "uri", STATE_URI),
				NULL, err);
	return rc < 0 ? rc : migration_wait(vm, "load", err);
}
