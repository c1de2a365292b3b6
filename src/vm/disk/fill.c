/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filling a disk from the layer that its restart was served.
 *
 * Design notes
 *
 *   filling   base ← served ← disk, job "fill"   block-stream copies what disk has not
 *   failed    base ← served ← disk               the server was away: begun again
 *   copied    base ← served ← disk, job pending  all is in disk, but not yet durable
 *   filled    base ← disk,  served by itself      QEMU has written base's name into disk
 *   idle      base ← disk                        after blockdev-del
 *
 * As in disk.c, where a VM is on that road is read from QEMU. The job dismisses itself:
 * QEMU 7.2 crashes on query-named-block-nodes while an ended stream job waits to be dismissed.
 * But it waits to be finalized: the layer's file must not name the base before it is whole and
 * durable, tables of qcow2 included, whatever dies then. What has been copied is written
 * meanwhile, and by us, since QEMU would keep the guest waiting.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "vm/disk/disk.h"
#include "vm/qemu/args.h"
#include "vm/qemu/machine.h"

#define FILL_JOB "fill"

static int job_read(struct vm *vm, struct disk_fill *fill, bool *ret_pending, struct err *err)
{
	json_t *jobs, *job;
	size_t i;
	int rc = vm_command(vm, "query-block-jobs", json_object(), &jobs, err);

	if (rc < 0)
		return rc;
	json_array_foreach(jobs, i, job)
	{
		const char *id = json_string_value(json_object_get(job, "device"));
		const char *status = json_string_value(json_object_get(job, "status"));
		json_t *done = json_object_get(job, "offset"),
		       *total = json_object_get(job, "len");

		if (!id || strcmp(id, FILL_JOB) != 0)
			continue;
		fill->going_on = true;
		*ret_pending = status && !strcmp(status, "pending");
		fill->done_bytes = (uint64_t)json_integer_value(done);
		fill->total_bytes = (uint64_t)json_integer_value(total);
	}
	json_decref(jobs);
	return 0;
}

/* Begin to write what the file has in memory; with `wait`, until it is written. */
static int file_sync(const struct vm *vm, bool wait, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	char path[IO_PATH_MAX];
	int rc = vm_dir_path(&vm->config, DISK_ACTIVE, path, sizeof(path), err);

	if (rc < 0)
		return rc;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", path);
	rc = wait ? fdatasync(fd) : sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	return rc < 0 && wait ? err_sys(err, errno, "cannot write %s", path) : 0;
}

/* All is copied: first make it durable, then let it count. */
static int job_finalize(struct vm *vm, struct err *err)
{
	int rc = file_sync(vm, true, err);

	if (rc == 0)
		rc = vm_command(
			vm, "human-monitor-command",
			json_pack("{s:s}", "command-line", "qemu-io " QEMU_NODE_DISK " flush"),
			NULL, err);
	return rc < 0 ? rc
		      : vm_command(vm, "job-finalize", json_pack("{s:s}", "id", FILL_JOB), NULL,
				   err);
}

static int state_read(struct vm *vm, struct disk_fill *fill, struct disk_view *view,
		      struct err *err)
{
	char state[32];
	bool pending = false;
	int rc;

	*fill = (struct disk_fill){0};
	rc = vm_run_state(vm, state, sizeof(state), err);
	if (rc == 0 && !strcmp(state, "inmigrate"))
		rc = err_set(err, EBUSY, "VM %s still waits for its state", vm->config.name);
	if (rc == 0) /* before the chain, so that both are of its end */
		rc = job_read(vm, fill, &pending, err);
	if (rc == 0 && fill->going_on)
		rc = pending ? job_finalize(vm, err) : file_sync(vm, false, err);
	if (rc == 0)
		rc = disk_view_read(vm, view, err);
	if (rc < 0)
		return rc;
	fill->vm_stopped = !strcmp(state, "io-error");
	fill->ended = !view->served_active && !fill->going_on;
	if (!fill->going_on)
		fill->total_bytes = view->bytes;
	if (fill->ended)
		fill->done_bytes = view->bytes;
	return 0;
}

int vm_disk_fill_state(struct vm *vm, struct disk_fill *ret_fill, struct err *err)
{
	struct disk_view view;
	int rc = state_read(vm, ret_fill, &view, err);

	if (rc == 0 && ret_fill->ended && view.served_exists)
		rc = vm_command(vm, "blockdev-del",
				json_pack("{s:s}", "node-name", QEMU_NODE_SERVED), NULL, err);
	return rc;
}

int vm_disk_fill_begin(struct vm *vm, uint64_t bytes_per_s, struct err *err)
{
	struct disk_fill fill;
	int rc = vm_disk_fill_state(vm, &fill, err);

	if (rc == 0 && !fill.ended && !fill.going_on)
		rc = vm_command(vm, "block-stream",
				json_pack("{s:s, s:s, s:s, s:I, s:s, s:b}", "job-id", FILL_JOB,
					  "device", QEMU_NODE_DISK, "base-node", QEMU_NODE_BASE,
					  "speed", (json_int_t)bytes_per_s, "on-error",
					  "report", "auto-finalize", 0),
				NULL, err);
	return rc == 0 && fill.vm_stopped ? vm_resume(vm, err) : rc;
}

int vm_disk_fill_wait(struct vm *vm, int64_t deadline_ns, struct err *err)
{
	bool begun = false, failed = false;

	for (;;) {
		struct disk_fill fill;
		int rc = vm_disk_fill_state(vm, &fill, err);

		if (rc < 0 || fill.ended)
			return rc;
		if (deadline_left_ms(deadline_ns) == 0)
			return err_set(
				err, ETIMEDOUT,
				"the disk of VM %s is still being filled from its checkpoint, %llu "
				"of %llu MiB are done%s; try again later",
				vm->config.name, (unsigned long long)(fill.done_bytes >> 20),
				(unsigned long long)(fill.total_bytes >> 20),
				failed ? ", and its data could not be read" : "");
		failed |= begun && !fill.going_on;
		begun |= fill.going_on;
		if (!fill.going_on)
			rc = vm_disk_fill_begin(vm, 0, err);
		if (rc == 0)
			rc = disk_job_wait(vm, deadline_ns, err);
		if (rc < 0)
			return rc;
	}
}
