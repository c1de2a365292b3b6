/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device state of a VM without its RAM: into a descriptor, and back.
 *
 * Design notes
 *
 * The state is loaded as an incoming migration with the capability x-ignore-shared, which
 * leaves out RAM that is a shared file. It could be saved as a migration, too, but that costs
 * more of the pause than all the rest: QEMU makes a thread, bitmaps for all of RAM, a
 * description of everything, and gives its disks away; "cont" opens them again, in several
 * steps through worker threads, and each step waits for its turn behind processors of guests
 * that run already (0.3 s with eight VMs on two cores). xen-save-devices-state, in spite of its
 * name of use everywhere, writes the same sections at once and leaves the VM paused.
 *
 * Two things of the migration stream are not in what it writes, and are added here: the section
 * "configuration" behind the head (machine and capabilities, which the loading QEMU compares
 * with its own), and an empty description at the end, without which the loading one complains.
 * Left out, too, are the firmware's read-only memories; a QEMU makes them anew at its start.
 *
 * QEMU writes through a descriptor of its own into the memfd, from the offset at which the head
 * that it writes fills the end of the room for ours.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "vm/qemu/machine.h"

#define STATE_FD_NAME "stasis-state"
#define STATE_URI     "fd:" STATE_FD_NAME

/* Of QEMU's migration stream, version 3. */
#define STREAM_HEAD          "QEVM\0\0\0\3"
#define STREAM_CONFIGURATION "\x07"
#define STREAM_CAPABILITIES          \
	"\x05\x1a"                   \
	"configuration/capabilities" \
	"\0\0\0\1" /* version */     \
	"\0\0\0\1" /* how many */    \
	"\x0f"                       \
	"x-ignore-shared"
#define STREAM_DESCRIPTION "\x06\0\0\0\2{}"

enum { STATE_MS = 60000, STREAM_HEAD_BYTES = 8 };

struct prefix {
	char bytes[128];
	size_t size;
};

static void prefix_add(struct prefix *prefix, const void *bytes, size_t size)
{
	memcpy(prefix->bytes + prefix->size, bytes, size);
	prefix->size += size;
}

/* The stream up to the first device. */
static struct prefix prefix_make(const struct vm_machine *machine)
{
	struct prefix prefix = {.size = 0};
	size_t len = strlen(machine->machine);
	uint32_t length = htobe32((uint32_t)len);

	prefix_add(&prefix, STREAM_HEAD, STREAM_HEAD_BYTES);
	prefix_add(&prefix, STREAM_CONFIGURATION, 1);
	prefix_add(&prefix, &length, sizeof(length));
	prefix_add(&prefix, machine->machine, len);
	prefix_add(&prefix, STREAM_CAPABILITIES, sizeof(STREAM_CAPABILITIES) - 1);
	return prefix;
}

/* The same file with an offset of its own. */
static int state_reopen(int state_fd, int flags, int *ret_fd, struct err *err)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", state_fd);
	*ret_fd = open(path, flags | O_CLOEXEC);
	return *ret_fd < 0 ? err_sys(err, errno, "cannot open the device state's file") : 0;
}

int vm_save_forget(struct vm *vm, struct err *err)
{
	json_t *sets, *set;
	size_t i;
	int rc = vm_command(vm, "query-fdsets", json_object(), &sets, err);

	if (vm->state_fd >= 0)
		close(vm->state_fd);
	vm->state_fd = -1;
	if (rc < 0)
		return rc;
	json_array_foreach(sets, i, set)
	{
		json_int_t id = json_integer_value(json_object_get(set, "fdset-id"));

		if (rc == 0)
			rc = vm_command(vm, "remove-fd", json_pack("{s:I}", "fdset-id", id),
					NULL, err);
	}
	json_decref(sets);
	return rc;
}

int state_begin(const struct vm *vm, int state_fd, struct err *err)
{
	struct prefix prefix = prefix_make(&vm->config.machine);

	return io_pwrite_all(state_fd, prefix.bytes, prefix.size, 0, err);
}

int vm_save_prepare(struct vm *vm, int state_fd, struct err *err)
{
	size_t offset = prefix_make(&vm->config.machine).size - STREAM_HEAD_BYTES;
	CLEANUP_CLOSE int fd = -1;
	json_t *set;
	int rc = vm_save_forget(vm, err);

	if (rc == 0)
		rc = state_reopen(state_fd, O_WRONLY | O_TRUNC, &fd, err);
	if (rc == 0 && lseek(fd, (off_t)offset, SEEK_SET) < 0)
		rc = err_sys(err, errno, "cannot prepare the device state's file");
	if (rc == 0)
		rc = qmp_execute_fd(vm->qmp, "add-fd", json_object(), fd,
				    deadline_in_ms(VM_COMMAND_MS), &set, err);
	if (rc < 0)
		return vm_explain(vm, rc, err);
	vm->fd_set = json_integer_value(json_object_get(set, "fdset-id"));
	json_decref(set);
	vm->state_fd = fcntl(state_fd, F_DUPFD_CLOEXEC, 0);
	return vm->state_fd < 0 ? err_sys(err, errno, "the device state's file") : 0;
}

/* What QEMU wrote becomes a migration stream. */
static int stream_complete(const struct vm *vm, struct err *err)
{
	struct prefix prefix = prefix_make(&vm->config.machine);
	char head[STREAM_HEAD_BYTES];
	struct stat st;
	int rc = io_pread_all(vm->state_fd, head, sizeof(head),
			      (off_t)(prefix.size - sizeof(head)), err);

	if (rc == 0 && memcmp(head, STREAM_HEAD, sizeof(head)) != 0)
		rc = err_set(err, EPROTO,
			     "QEMU writes device state in a form that is not known");
	if (rc == 0)
		rc = io_pwrite_all(vm->state_fd, prefix.bytes, prefix.size, 0, err);
	if (rc == 0 && fstat(vm->state_fd, &st) < 0)
		rc = err_sys(err, errno, "device state");
	if (rc == 0)
		rc = io_pwrite_all(vm->state_fd, STREAM_DESCRIPTION,
				   sizeof(STREAM_DESCRIPTION) - 1, st.st_size, err);
	if (rc < 0)
		err_prefix(err, "VM %s", vm->config.name);
	return rc;
}

static json_t *save_args(const struct vm *vm)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/fdset/%lld", (long long)vm->fd_set);
	return json_pack("{s:s, s:b}", "filename", path, "live", 0);
}

/* QEMU would stop a running one for the save, and let it go on. */
static int save_check(struct vm *const *vms, size_t count, struct err *err)
{
	json_t **values = calloc(count, sizeof(json_t *));
	int rc;

	if (!values)
		return err_sys(err, ENOMEM, "states of %zu VMs", count);
	rc = vm_command_all(vms, count, "query-status", NULL, values, err);
	if (rc == 0)
		for (size_t i = 0; i < count; i++) {
			if (json_is_true(json_object_get(values[i], "running")))
				rc = err_set(err, EBUSY,
					     "VM %s must be paused before its state is saved",
					     vms[i]->config.name);
			json_decref(values[i]);
		}
	free(values);
	return rc;
}

int vm_save_all(struct vm *const *vms, size_t count, struct err *err)
{
	int rc = save_check(vms, count, err);

	if (rc == 0)
		rc = vm_command_all(vms, count, "xen-save-devices-state", save_args, NULL, err);
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = stream_complete(vms[i], err);
	return rc;
}

static int load_prepare(struct vm *vm, int fd, struct err *err)
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

int vm_load_state(struct vm *vm, int state_fd, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	int rc = state_reopen(state_fd, O_RDONLY, &fd, err);

	if (rc == 0)
		rc = load_prepare(vm, fd, err);
	if (rc == 0)
		rc = vm_command(vm, "migrate-incoming", json_pack("{s:s}", "uri", STATE_URI),
				NULL, err);
	return rc < 0 ? rc
		      : vm_migration_wait(vm, deadline_in_ms(STATE_MS), "load the device state",
					  err);
}
