/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The disk of a running VM: a new layer at a checkpoint, and its merge back afterwards.
 *
 * Design notes
 *
 * Nodes of QEMU's block graph and the road of a checkpoint:
 *
 *   idle      base ← disk                       next.qcow2 does not exist
 *   prepared  base ← disk,  next by itself       blockdev-add with "backing": null
 *   switched  base ← disk ← next                 blockdev-snapshot; disk is read-only
 *   merging   base ← disk ← next, job "merge"     block-commit of the active layer
 *   merged    base ← disk,  next by itself       after block-job-complete
 *
 * Where a VM is on that road is read from QEMU itself, never remembered: which node the device
 * uses, whether the node "next" exists, whether the job runs. Each step leads to the following
 * state, so healing is to walk on until idle. A killed daemon leaves nothing else behind.
 * While a disk is filled (disk/fill.c) there is one more layer, and no checkpoint.
 */
#include "vm/disk/disk.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "vm/qemu/args.h"
#include "vm/qemu/machine.h"

#define MERGE_JOB "merge"

enum { JOB_POLL_MS = 50 };

static bool device_is_disk(const json_t *device)
{
	const char *path = json_string_value(json_object_get(device, "qdev"));

	return path && strstr(path, QEMU_BLK_DEVICE);
}

/* From query-block: the node in use, the virtual size, the chain's length. */
static int view_device(struct vm *vm, struct disk_view *view, struct err *err)
{
	json_t *devices, *device, *inserted = NULL;
	const char *node;
	size_t i;
	int rc = vm_command(vm, "query-block", json_object(), &devices, err);

	if (rc < 0)
		return rc;
	json_array_foreach(devices, i, device) if (device_is_disk(device)) inserted =
		json_object_get(device, "inserted");
	node = json_string_value(json_object_get(inserted, "node-name"));
	if (node) {
		json_t *image = json_object_get(inserted, "image");
		json_t *depth = json_object_get(inserted, "backing_file_depth");

		view->next_active = !strcmp(node, QEMU_NODE_NEXT);
		view->bytes =
			(uint64_t)json_integer_value(json_object_get(image, "virtual-size"));
		view->layers = (unsigned int)json_integer_value(depth) + 1;
	} else {
		rc = err_set(err, EIO, "QEMU of VM %s does not know its disk", vm->config.name);
	}
	json_decref(devices);
	return rc;
}

int disk_view_read(struct vm *vm, struct disk_view *ret_view, struct err *err)
{
	json_t *nodes, *node;
	size_t i;
	int rc;

	*ret_view = (struct disk_view){0};
	rc = view_device(vm, ret_view, err);
	if (rc == 0)
		rc = vm_command(vm, "query-named-block-nodes", json_pack("{s:b}", "flat", 1),
				&nodes, err);
	if (rc < 0)
		return rc;
	json_array_foreach(nodes, i, node)
	{
		const char *name = json_string_value(json_object_get(node, "node-name"));

		if (name && !strcmp(name, QEMU_NODE_NEXT))
			ret_view->next_exists = true;
		if (name && !strcmp(name, QEMU_NODE_SERVED))
			ret_view->served_exists = true;
	}
	json_decref(nodes);
	ret_view->served_active = ret_view->layers > 2 + (unsigned int)ret_view->next_active;
	return 0;
}

static bool job_event(const char *name, const json_t *data, void *arg)
{
	(void)data;
	(void)arg;
	return !strcmp(name, "BLOCK_JOB_READY") || !strcmp(name, "BLOCK_JOB_COMPLETED") ||
	       !strcmp(name, "BLOCK_JOB_CANCELLED") || !strcmp(name, "BLOCK_JOB_PENDING") ||
	       !strcmp(name, "JOB_STATUS_CHANGE");
}

/* 1 while the job exists, 0 when it doesn't; a ready one is told to complete. */
static int job_push(struct vm *vm, struct err *err)
{
	json_t *jobs, *job;
	bool exists = false, ready = false;
	size_t i;
	int rc = vm_command(vm, "query-block-jobs", json_object(), &jobs, err);

	if (rc < 0)
		return rc;
	json_array_foreach(jobs, i, job)
	{
		const char *id = json_string_value(json_object_get(job, "device"));
		const char *status = json_string_value(json_object_get(job, "status"));

		if (!id || strcmp(id, MERGE_JOB) != 0)
			continue;
		exists = true;
		ready = status && !strcmp(status, "ready");
	}
	json_decref(jobs);
	if (ready) {
		struct err refused = ERR_INIT;

		/* It may have been told already, by us or by a daemon before us. */
		rc = vm_command(vm, "block-job-complete",
				json_pack("{s:s}", "device", MERGE_JOB), NULL, &refused);
		if (rc == -ECONNRESET && err)
			*err = refused;
		if (rc == -ECONNRESET)
			return rc;
	}
	return exists;
}

int disk_job_wait(struct vm *vm, int64_t deadline_ns, struct err *err)
{
	int64_t poll_ns = deadline_in_ms(JOB_POLL_MS);
	json_t *event;
	int rc = qmp_wait_event(vm->qmp, job_event, NULL,
				poll_ns < deadline_ns ? poll_ns : deadline_ns, &event, NULL);

	if (rc == 0)
		json_decref(event);
	else if (rc != -ETIMEDOUT)
		return vm_explain(
			vm, err_set(err, -rc, "QEMU of VM %s hung up", vm->config.name), err);
	return 0;
}

static int job_finish(struct vm *vm, int64_t deadline_ns, struct err *err)
{
	for (;;) {
		int rc = job_push(vm, err);

		if (rc <= 0)
			return rc;
		if (deadline_left_ms(deadline_ns) == 0)
			return err_set(
				err, ETIMEDOUT,
				"the disk layers of VM %s were not merged in time; the merge "
				"goes on",
				vm->config.name);
		rc = disk_job_wait(vm, deadline_ns, err);
		if (rc < 0)
			return rc;
	}
}

/* Switched: commit next into disk and let the device use disk again. */
static int merge_active(struct vm *vm, int64_t deadline_ns, struct err *err)
{
	struct disk_view view;
	int rc;

	qmp_drop_events(vm->qmp);
	rc = vm_command(vm, "block-commit",
			json_pack("{s:s, s:s, s:s}", "job-id", MERGE_JOB, "device",
				  QEMU_NODE_NEXT, "base-node", QEMU_NODE_DISK),
			NULL, err);
	if (rc == 0)
		rc = job_finish(vm, deadline_ns, err);
	if (rc == 0)
		rc = disk_view_read(vm, &view, err);
	if (rc == 0 && view.next_active)
		rc = err_set(
			err, EIO,
			"QEMU could not merge the disk layers of VM %s (is the file system of %s "
			"full?)",
			vm->config.name, vm->config.dir);
	return rc;
}

/* Prepared or merged: forget the node and its file. */
static int next_forget(struct vm *vm, bool exists, struct err *err)
{
	int rc = 0;

	if (exists)
		rc = vm_command(vm, "blockdev-del",
				json_pack("{s:s}", "node-name", QEMU_NODE_NEXT), NULL, err);
	return rc < 0 ? rc : disk_next_remove(&vm->config, err);
}

/* A VM whose state an older Stasis saved does not own its disks: it gets them back by going on.
 */
static int disks_reclaim(struct vm *vm, struct err *err)
{
	char state[32];
	int rc = vm_run_state(vm, state, sizeof(state), err);

	if (rc < 0)
		return rc;
	if (!strcmp(state, "inmigrate"))
		return err_set(err, EBUSY, "VM %s still waits for its state", vm->config.name);
	return strcmp(state, "postmigrate") ? 0 : vm_resume(vm, err);
}

int vm_disk_prepare(struct vm *vm, struct err *err)
{
	struct disk_view view;
	char path[IO_PATH_MAX];
	int rc = disk_view_read(vm, &view, err);

	if (rc < 0)
		return rc;
	if (view.next_exists)
		return err_set(err, EBUSY, "the disk of VM %s is in a checkpoint already",
			       vm->config.name);
	if (view.served_active)
		return err_set(err, EBUSY,
			       "the disk of VM %s is still being filled from its checkpoint",
			       vm->config.name);
	rc = disk_next_create(&vm->config, view.bytes, err);
	if (rc == 0)
		rc = vm_dir_path(&vm->config, DISK_NEXT, path, sizeof(path), err);
	if (rc < 0)
		return rc;
	return vm_command(vm, "blockdev-add",
			  json_pack("{s:s, s:s, s:s, s:n, s:{s:s, s:s, s:s}}", "driver",
				    "qcow2", "node-name", QEMU_NODE_NEXT, "discard", "unmap",
				    "backing", "file", "driver", "file", "discard", "unmap",
				    "filename", path),
			  NULL, err);
}

static json_t *switch_args(const struct vm *vm)
{
	(void)vm;
	return json_pack("{s:s, s:s}", "node", QEMU_NODE_DISK, "overlay", QEMU_NODE_NEXT);
}

int vm_disk_switch_all(struct vm *const *vms, size_t count, struct err *err)
{
	return vm_command_all(vms, count, "blockdev-snapshot", switch_args, NULL, err);
}

int vm_disk_merge(struct vm *vm, int64_t deadline_ns, struct err *err)
{
	struct disk_view view;
	int rc = disk_view_read(vm, &view, err);

	if (rc == 0 && !view.next_active)
		rc = err_set(err, EINVAL, "the disk of VM %s has no layer to merge",
			     vm->config.name);
	return rc < 0 ? rc : vm_disk_heal(vm, deadline_ns, err);
}

int vm_disk_heal(struct vm *vm, int64_t deadline_ns, struct err *err)
{
	struct disk_view view;
	int rc = disks_reclaim(vm, err);

	if (rc == 0)
		rc = disk_server_stop(vm, err);
	/* A merge that a daemon before us began ends first: what is seen then stands still. */
	if (rc == 0)
		rc = job_finish(vm, deadline_ns, err);
	if (rc == 0)
		rc = disk_view_read(vm, &view, err);
	if (rc == 0 && view.next_active)
		rc = merge_active(vm, deadline_ns, err);
	if (rc == 0)
		rc = next_forget(vm, view.next_exists, err);
	return rc == 0 && view.served_exists ? vm_disk_fill_begin(vm, 0, err) : rc;
}

int vm_disk_frozen_path(const struct vm *vm, char *ret_path, size_t size, struct err *err)
{
	return vm_dir_path(&vm->config, DISK_ACTIVE, ret_path, size, err);
}

int vm_disk_chain_length(struct vm *vm, unsigned int *ret_layers, struct err *err)
{
	struct disk_view view;
	int rc = disk_view_read(vm, &view, err);

	if (rc == 0)
		*ret_layers = view.layers;
	return rc;
}
