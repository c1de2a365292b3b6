/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A snapshot in the background: QEMU saves the state of a stopped VM's devices, protects its
 * RAM (userfaultfd), lets the VM run and writes RAM out; a page that the VM wants to write goes
 * first, and the VM waits for that.
 *
 * Design notes
 *
 * QEMU's way to this is a migration with a capability, in one go: it reads a byte of each page,
 * so that all of RAM is mapped, writes the head of its stream, stops the VM, protects, lets the
 * VM run. The first takes long, and belongs in front of the pause; the rest must not happen
 * before all VMs of a cluster stand still. So the stream is a pipe that is full from the
 * beginning, with room for one page: QEMU, about to write the head, waits at it as at a gate
 * until that page is read.
 *
 * Such a migration is never cancelled, and its stream is read to the end, whatever has become
 * of the checkpoint. QEMU 7.2 hangs otherwise: when its thread gives up, RAM stays protected
 * until the main loop comes round to it, which may itself be waiting for a page.
 *
 * The capability excludes x-ignore-shared, which a VM that was restored still has. That counts
 * only where a state is loaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "vm/qemu/machine.h"

#define STREAM_FD_NAME "stasis-background"
#define STREAM_URI     "fd:" STREAM_FD_NAME

enum {
	PIPE_PAGE_BYTES = 4096, /* a pipe of one page, which is the gate */
	PIPE_BYTES = 64 << 10,  /* behind the gate, until all VMs run */
	RUNNING_MS = 60000,     /* from the open gate until the VM runs */
	COMPLETED_MS = 60000,   /* from the end of the stream until QEMU says so */
	BACKGROUND_STATUS_MAX = 32,
};

static int set_capability(struct vm *vm, bool on, struct err *err)
{
	return vm_command(vm, "migrate-set-capabilities",
			  json_pack("{s:[{s:s, s:b}, {s:s, s:b}, {s:s, s:b}]}", "capabilities",
				    "capability", "x-ignore-shared", "state", 0, "capability",
				    "background-snapshot", "state", (int)on, "capability",
				    "events", "state", 1),
			  NULL, err);
}

static int refused(const struct vm *vm, int rc, struct err *err)
{
	if (rc < 0)
		err_prefix(
			err,
			"VM %s cannot be captured in the background (set [cluster] capture = "
			"compare)",
			vm->config.name);
	return rc;
}

int vm_background_check(struct vm *vm, struct err *err)
{
	return refused(vm, set_capability(vm, true, err), err);
}

/* A pipe at its gate. */
static int gate_make(int *ret_read, int *ret_write, struct err *err)
{
	char page[PIPE_PAGE_BYTES] = {0};
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot make a pipe");
	if (fcntl(ends[1], F_SETPIPE_SZ, PIPE_PAGE_BYTES) != PIPE_PAGE_BYTES ||
	    write(ends[1], page, sizeof(page)) != sizeof(page)) {
		close(ends[0]);
		close(ends[1]);
		return err_set(err, EIO, "cannot make a pipe of one page");
	}
	*ret_read = ends[0];
	*ret_write = ends[1];
	return 0;
}

int vm_background_begin(struct vm *vm, int state_fd, int *ret_stream, struct err *err)
{
	CLEANUP_CLOSE int stream = -1;
	CLEANUP_CLOSE int end = -1;
	int rc = state_begin(vm, state_fd, err);

	if (rc == 0)
		rc = gate_make(&stream, &end, err);
	if (rc == 0)
		rc = qmp_pass_fd(vm->qmp, STREAM_FD_NAME, end, deadline_in_ms(VM_COMMAND_MS),
				 err);
	if (rc < 0)
		return vm_explain(vm, rc, err);
	qmp_drop_events(vm->qmp);
	rc = vm_command(vm, "migrate", json_pack("{s:s}", "uri", STREAM_URI), NULL, err);
	if (rc < 0)
		return refused(vm, rc, err);
	*ret_stream = TAKE_FD(stream);
	return 0;
}

int vm_background_open(const struct vm *vm, int stream, struct err *err)
{
	char page[PIPE_PAGE_BYTES];
	ssize_t got;

	/* Room for pages that the VM waits for, little of it: see ckpt_background.c. */
	(void)fcntl(stream, F_SETPIPE_SZ, PIPE_BYTES);
	do
		got = read(stream, page, sizeof(page));
	while (got < 0 && errno == EINTR);
	return got == sizeof(page)
		       ? 0
		       : err_set(err, EIO, "the gate of VM %s is broken", vm->config.name);
}

static bool runs_or_failed(const char *name, const json_t *data, void *arg)
{
	return !strcmp(name, "RESUME") || migration_ended(name, data, arg);
}

int vm_background_wait_running(struct vm *vm, struct err *err)
{
	json_t *event;
	bool runs;
	int rc = qmp_wait_event(vm->qmp, runs_or_failed, NULL, deadline_in_ms(RUNNING_MS),
				&event, err);

	if (rc < 0)
		return vm_explain(vm, rc, err);
	runs = !strcmp(json_string_value(json_object_get(event, "event")), "RESUME");
	json_decref(event);
	return runs ? 0 : vm_migration_failure(vm, "begin the background snapshot", err);
}

int vm_background_finish(struct vm *vm, struct err *err)
{
	int rc = vm_migration_wait(vm, deadline_in_ms(COMPLETED_MS),
				   "complete the background snapshot", err);

	return rc < 0 ? rc : set_capability(vm, false, err);
}

static bool under_way(const char *status)
{
	return !strcmp(status, "setup") || !strcmp(status, "active") ||
	       !strcmp(status, "cancelling");
}

int vm_background_settle(struct vm *vm, struct err *err)
{
	char status[BACKGROUND_STATUS_MAX];
	json_t *event;
	int rc;

	/* The end of a migration that is found under way is an event still to come. */
	qmp_drop_events(vm->qmp);
	rc = vm_migration_status(vm, status, sizeof(status), err);
	if (rc == 0 && under_way(status)) {
		rc = qmp_wait_event(vm->qmp, migration_ended, NULL,
				    deadline_in_ms(COMPLETED_MS), &event, err);
		if (rc < 0)
			return vm_explain(vm, rc, err);
		json_decref(event);
	}
	return rc < 0 ? rc : set_capability(vm, false, err);
}
