/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One coordinated checkpoint of a cluster, as a table of phases for each strategy of capture.
 *
 * Each phase works on all VMs at once and ends when the last VM has done it: that is the
 * barrier which keeps a VM from running on before all are captured. Whatever fails, the way
 * back is one and the same: let the VMs run, heal their disk chains, tell the agents, drop what
 * was written. Nothing is written to a disk between "pause" and "resume", unless staging memory
 * is short.
 *
 * Design note: what may change a stopped VM, and so which order the phases of the pause need
 *
 * A stopped VM's RAM changes only by the emulation of devices. QEMU has completed all block I/O
 * when "stop" returns; its network cards and its source of random numbers leave RAM alone while
 * the VM is stopped; saving device state reads RAM and does not write it; nothing plugged by
 * the host is left since "release". One thing remains: bytes for a virtio-serial port go into
 * the guest's buffers even then. So the links to the agents are held from before "pause" until
 * after "resume". What had been sent just before is in RAM when the disks have been switched,
 * since QEMU's main loop serves sockets and monitor in turn.
 *
 * So RAM could be captured while device state is saved. It isn't: both are bound by the host's
 * processors, and what would be won is at most the 2 ms that one VM's devices take, while a
 * fault between the two would be in no phase. Disks go first because blockdev-snapshot is the
 * last that touches the block layer.
 *
 * In the background RAM is captured after the pause, as it was within it: each VM's is
 * protected before that VM runs again. One that runs sooner cannot reach another that still
 * stands: what it sends waits in the other's tap.
 */
#include "daemon/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/idle.h"
#include "base/log.h"
#include "base/parallel.h"
#include "daemon/ckpt.h"
#include "daemon/fabric.h"
#include "daemon/image.h"
#include "daemon/retention.h"
#include "daemon/staging.h"

enum {
	IDLE_WINDOW_MS = 100,
	AGENT_MS = 15000,
	DRAIN_MS = 30000,
	MERGE_MS = 300000,
	FILL_MS = 900000
};

/* Disk left beyond the checkpoint. */
#define STORE_RESERVE_BYTES (16ULL << 20)

/* Around the time in which VMs are stopped: nothing is sent to their agents meanwhile. */
static void nodes_paused(struct cluster *cluster, bool paused)
{
	pthread_mutex_lock(&the_daemon.lock);
	for (unsigned int i = 0; i < cluster->spec.vms; i++) {
		struct node *node = &cluster->nodes[i];

		node->paused = paused;
		if (!node->link)
			continue;
		if (paused)
			link_hold(node->link);
		else
			link_let_go(node->link);
	}
	pthread_mutex_unlock(&the_daemon.lock);
}

int ckpt_each(struct ckpt *ckpt, parallel_fn fn, struct err *err)
{
	return parallel_each(ckpt->cluster->spec.vms, fn, ckpt, err);
}

/* prepare: everybody is alive and healthy, and there is room. */

static int prepare_one(size_t index, void *arg, struct err *err)
{
	struct node *node = ckpt_node(arg, index);
	int rc;

	if (!node->vm || !vm_alive(node->vm))
		return err_set(err, ESRCH, "%s does not run; restart the cluster first",
			       node->config.name);
	/* After a restart its disk may not have come whole yet. */
	rc = vm_disk_fill_wait(node->vm, deadline_in_ms(FILL_MS), err);
	if (rc < 0)
		return rc;
	return vm_disk_heal(node->vm, deadline_in_ms(MERGE_MS), err);
}

/* A VM's first checkpoint may need all that it has; what later ones need is not known before,
 * and they end with the same error when the store is full. */
static int prepare_room(struct ckpt *ckpt, struct err *err)
{
	uint64_t ram = 0, disk = 0, need = STORE_RESERVE_BYTES, store_free;
	struct stat st;
	int rc = 0;

	for (unsigned int i = 0; i < ckpt->cluster->spec.vms && rc == 0; i++) {
		struct node *node = ckpt_node(ckpt, i);
		char path[IO_PATH_MAX];
		uint64_t bytes = 0;

		rc = ram_populated_bytes(vm_ram_fd(node->vm), &bytes, err);
		ram += bytes;
		if (rc == 0)
			rc = vm_disk_frozen_path(node->vm, path, sizeof(path), err);
		if (rc < 0 || stat(path, &st) < 0)
			st.st_blocks = 0;
		disk += (uint64_t)st.st_blocks * 512;
		if (!node->trace)
			need += bytes + (uint64_t)st.st_blocks * 512;
	}
	if (rc == 0)
		rc = store_free_bytes(the_daemon.store, &store_free, err);
	if (rc < 0)
		return rc;
	if (store_free < need)
		return err_set(
			err, ENOSPC,
			"the store %s has %llu MiB free, a checkpoint of %s may need %llu MiB; remove old "
			"ones (stasis rm) or set STASIS_STORE_DIR",
			store_where(the_daemon.store), (unsigned long long)(store_free >> 20),
			ckpt->cluster->spec.name, (unsigned long long)(need >> 20));
	ckpt->to_store_bytes =
		ckpt->cluster->spec.vms * ckpt->cluster->spec.memory_bytes + disk;
	return ckpt->strategy->reserve(ckpt, ram, err);
}

static int ckpt_prepare(struct ckpt *ckpt, struct err *err)
{
	int rc = ckpt_each(ckpt, prepare_one, err);

	if (rc == 0)
		rc = fabric_settle(ckpt->cluster, ckpt->id, AGENT_MS, err);
	if (rc == 0)
		rc = prepare_room(ckpt, err);
	if (rc == 0)
		rc = image_put(ckpt->cluster->image_dir, ckpt->txn, &ckpt->doc.image, err);
	store_txn_cost(ckpt->txn, &ckpt->image_cost);
	ckpt->idle_cpus = idle_cpus(IDLE_WINDOW_MS);
	/* The guest image may have taken much of the room, the first time. */
	return rc < 0 ? rc : prepare_room(ckpt, err);
}

/* overlay: what the pause needs is made before it. */

static int overlay_one(size_t index, void *arg, struct err *err)
{
	struct ckpt *ckpt = arg;
	int rc = vm_disk_prepare(ckpt_node(ckpt, index)->vm, err);

	if (rc < 0)
		return rc;
	ckpt->vms[index].state_fd = memfd_create("stasis-state", MFD_CLOEXEC);
	return ckpt->vms[index].state_fd < 0
		       ? err_sys(err, errno, "cannot create memory for device state")
		       : 0;
}

static int ckpt_overlay(struct ckpt *ckpt, struct err *err)
{
	return ckpt_each(ckpt, overlay_one, err);
}

int ckpt_captures_create(struct ckpt *ckpt, struct err *err)
{
	int rc = 0;

	for (unsigned int i = 0; i < ckpt->cluster->spec.vms && rc == 0; i++)
		rc = ram_capture_create(vm_ram_fd(ckpt_node(ckpt, i)->vm),
					ckpt->cluster->spec.memory_bytes,
					ckpt_node(ckpt, i)->trace, &ckpt->vms[i].capture, err);
	return rc;
}

static int ckpt_drain(struct ckpt *ckpt, struct err *err)
{
	ckpt->suspended = true;
	return fabric_drain(ckpt->cluster, ckpt->id, DRAIN_MS, err);
}

int ckpt_release(struct ckpt *ckpt, struct err *err)
{
	return fabric_release(ckpt->cluster, ckpt->id, DRAIN_MS, &ckpt->doc.fabric, err);
}

/* The commands of the pause go to all VMs before the first answer is waited for, from one
 * thread: each would wait for its turn among guests that run. */

static int ckpt_pause(struct ckpt *ckpt, struct err *err)
{
	struct vm *vms[SPEC_VMS_MAX];

	cluster_vms(ckpt->cluster, vms);
	nodes_paused(ckpt->cluster, true);
	ckpt->doc.pause_ns = clock_mono_ns();
	return vm_pause_all(vms, ckpt->cluster->spec.vms, err);
}

static int ckpt_disk(struct ckpt *ckpt, struct err *err)
{
	struct vm *vms[SPEC_VMS_MAX];

	cluster_vms(ckpt->cluster, vms);
	return vm_disk_switch_all(vms, ckpt->cluster->spec.vms, err);
}

int ckpt_pause_end(struct ckpt *ckpt, int rc)
{
	ckpt->doc.pause_ns = clock_mono_ns() - ckpt->doc.pause_ns;
	nodes_paused(ckpt->cluster, false);
	return rc;
}

int ckpt_reopen(struct ckpt *ckpt, struct err *err)
{
	int rc = fabric_reopen(ckpt->cluster, ckpt->id, DRAIN_MS, err);

	ckpt->suspended = rc < 0;
	return rc;
}

static void cost_of_vms(struct ckpt *ckpt)
{
	const struct store_cost *image = &ckpt->image_cost;
	struct store_cost *cost = &ckpt->doc.cost;

	store_txn_cost(ckpt->txn, cost);
	cost->logical_bytes -= image->logical_bytes;
	cost->data_bytes -= image->data_bytes;
	cost->taken_bytes -= image->taken_bytes;
	cost->new_bytes -= image->new_bytes;
	cost->stored_bytes -= image->stored_bytes;
	cost->hash_ns -= image->hash_ns;
	cost->compress_ns -= image->compress_ns;
	cost->write_ns -= image->write_ns;
}

static int ckpt_commit(struct ckpt *ckpt, struct err *err)
{
	json_t *manifest;
	int rc;

	ckpt->doc.tag = ckpt->tag;
	ckpt->doc.pause_includes_write = ckpt->direct;
	ckpt->doc.total_ns = clock_mono_ns() - ckpt->begin_ns;
	cost_of_vms(ckpt);
	manifest = manifest_make(ckpt->cluster, &ckpt->doc);
	if (!manifest)
		return err_sys(err, ENOMEM, "cannot make the manifest of %s", ckpt->id);
	rc = store_commit(TAKE_PTR(ckpt->txn), manifest, err);
	json_decref(manifest);
	if (rc < 0)
		return rc;
	ckpt->committed = true;
	ckpt_keep_traces(ckpt);
	pthread_mutex_lock(&the_daemon.lock);
	snprintf(ckpt->cluster->last_checkpoint, sizeof(ckpt->cluster->last_checkpoint), "%s",
		 ckpt->id);
	ckpt->cluster->last_checkpoint_ns = clock_real_ns();
	pthread_mutex_unlock(&the_daemon.lock);
	return 0;
}

/* Before the layers are merged, QEMU begins to track what changes relative to this checkpoint.
 */
static int merge_one(size_t index, void *arg, struct err *err)
{
	const struct ckpt *ckpt = arg;
	struct vm *vm = ckpt_node(ckpt, index)->vm;
	int rc = fault_hit(FAULT_CKPT_MERGE, err);

	if (rc == 0)
		rc = vm_disk_track(vm, ckpt->id, err);
	if (rc == 0)
		rc = vm_save_forget(vm, err);
	return rc < 0 ? rc : vm_disk_merge(vm, deadline_in_ms(MERGE_MS), err);
}

static int ckpt_merge(struct ckpt *ckpt, struct err *err)
{
	return ckpt_each(ckpt, merge_one, err);
}

static const struct ckpt_phase compare_phases[] = {
	{"prepare", ckpt_prepare, FAULT_CKPT_PREPARE},
	{"overlay", ckpt_overlay, FAULT_CKPT_OVERLAY},
	{"precopy", compare_precopy, FAULT_CKPT_PRECOPY},
	{"drain", ckpt_drain, FAULT_CKPT_DRAIN},
	{"release", ckpt_release, FAULT_CKPT_RELEASE},
	{"pause", ckpt_pause, FAULT_CKPT_PAUSE},
	{"disk", ckpt_disk, FAULT_CKPT_DISK},
	{"state", compare_state, FAULT_CKPT_STATE},
	{"ram", compare_ram, FAULT_CKPT_RAM},
	{"resume", compare_resume, FAULT_CKPT_RESUME},
	{"reopen", ckpt_reopen, FAULT_CKPT_REOPEN},
	{"store", ckpt_put_all, FAULT_CKPT_COMMIT},
	{"commit", ckpt_commit, FAULT_CKPT_COMMITTED},
	{"merge", ckpt_merge, FAULT_CKPT_DONE},
};

static const struct ckpt_phase background_phases[] = {
	{"prepare", ckpt_prepare, FAULT_CKPT_PREPARE},
	{"overlay", ckpt_overlay, FAULT_CKPT_OVERLAY},
	{"precopy", background_precopy, FAULT_CKPT_PRECOPY},
	{"drain", ckpt_drain, FAULT_CKPT_DRAIN},
	{"release", background_release, FAULT_CKPT_RELEASE},
	{"pause", ckpt_pause, FAULT_CKPT_PAUSE},
	{"disk", ckpt_disk, FAULT_CKPT_DISK},
	{"state", background_state, FAULT_CKPT_STATE},
	{"resume", background_resume, FAULT_CKPT_RESUME},
	{"reopen", background_reopen, FAULT_CKPT_REOPEN},
	{"ram", background_ram, FAULT_CKPT_RAM},
	{"store", ckpt_put_all, FAULT_CKPT_COMMIT},
	{"commit", ckpt_commit, FAULT_CKPT_COMMITTED},
	{"merge", ckpt_merge, FAULT_CKPT_DONE},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

_Static_assert(COUNT(compare_phases) <= MANIFEST_PHASES &&
		       COUNT(background_phases) <= MANIFEST_PHASES,
	       "room for all phases");

static const struct ckpt_strategy strategies[] = {
	{
		.name = "compare",
		.phases = compare_phases,
		.phase_count = COUNT(compare_phases),
		.reserve = compare_reserve,
	},
	{
		.name = "background",
		.phases = background_phases,
		.phase_count = COUNT(background_phases),
		.reserve = background_reserve,
		.undo = background_undo,
	},
};

/* The cluster's description was checked to name one of them. */
static const struct ckpt_strategy *strategy_find(const char *name)
{
	const struct ckpt_strategy *strategy = strategies;

	while (strcmp(strategy->name, name) != 0)
		strategy++;
	return strategy;
}

static int ckpt_run(struct ckpt *ckpt, struct err *err)
{
	size_t count = ckpt->strategy->phase_count;
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++) {
		const struct ckpt_phase *phase = &ckpt->strategy->phases[i];
		struct manifest_phase *record = &ckpt->doc.phases[i];

		cluster_phase(ckpt->cluster, phase->name);
		progress_send(ckpt->progress, phase->name, i, count, "steps", NULL);
		record->name = phase->name;
		record->start_ns = clock_mono_ns() - ckpt->begin_ns;
		ckpt->doc.phase_count = i + 1;
		rc = phase->run(ckpt, err);
		if (rc == 0)
			rc = fault_hit(phase->after, err);
		record->duration_ns = clock_mono_ns() - ckpt->begin_ns - record->start_ns;
		if (rc < 0)
			err_prefix(err, "%s", phase->name);
		log_debug("ckpt=%s %s took %.1f ms", ckpt->id, phase->name,
			  (double)record->duration_ns / (double)NS_PER_MS);
	}
	return rc;
}

/* After a failure: the VMs run on, on their normal disk chains, with their gates open. */
static void ckpt_undo(struct ckpt *ckpt)
{
	struct err err = ERR_INIT;

	if (ckpt->strategy->undo)
		ckpt->strategy->undo(ckpt);
	if (cluster_heal(ckpt->cluster, &err) < 0)
		log_error("ckpt=%s the cluster cannot be healed: %s", ckpt->id, err.msg);
	nodes_paused(ckpt->cluster, false);
	if (ckpt->suspended && fabric_abort(ckpt->cluster, ckpt->id, AGENT_MS, &err) < 0)
		log_warn("ckpt=%s %s", ckpt->id, err.msg);
	store_abort(ckpt->txn);
	ckpt->txn = NULL;
}

static void ckpt_free(struct ckpt *ckpt)
{
	staging_give_back(ckpt->staging_bytes);
	for (unsigned int i = 0; i < ckpt->cluster->spec.vms; i++) {
		ram_capture_destroy(ckpt->vms[i].capture);
		if (ckpt->vms[i].state_fd >= 0)
			close(ckpt->vms[i].state_fd);
	}
	free(ckpt->vms);
	free(ckpt->doc.vms);
	json_decref(ckpt->doc.fabric);
}

static int ckpt_begin(struct ckpt *ckpt, struct err *err)
{
	unsigned int vms = ckpt->cluster->spec.vms;

	ckpt->vms = calloc(vms, sizeof(*ckpt->vms));
	ckpt->doc.vms = calloc(vms, sizeof(*ckpt->doc.vms));
	if (!ckpt->vms || !ckpt->doc.vms) {
		free(ckpt->vms);
		free(ckpt->doc.vms);
		return err_sys(err, ENOMEM, "checkpoint");
	}
	for (unsigned int i = 0; i < vms; i++)
		ckpt->vms[i].state_fd = -1;
	return 0;
}

static int ckpt_take(struct ckpt *ckpt, struct err *err)
{
	char message[sizeof(ckpt->cluster->message)];
	int rc = ckpt_begin(ckpt, err);

	if (rc < 0) {
		cluster_end(ckpt->cluster, err->msg);
		return rc;
	}
	rc = store_begin(the_daemon.store, ckpt->cluster->spec.name, ckpt->id, &ckpt->txn, err);
	if (rc == 0) {
		rc = cluster_save(ckpt->cluster, err);
		if (rc == 0)
			rc = ckpt_run(ckpt, err);
		if (rc < 0)
			ckpt_undo(ckpt);
	}
	if (rc < 0 && ckpt->committed) {
		log_warn("ckpt=%s complete, but afterwards: %s", ckpt->id, err->msg);
		rc = 0;
	}
	if (rc == 0)
		snprintf(message, sizeof(message),
			 "checkpoint %s taken, VMs stopped for %.1f ms%s", ckpt->id,
			 (double)ckpt->doc.pause_ns / (double)NS_PER_MS,
			 ckpt->direct ? ", the write of RAM included" : "");
	else
		snprintf(message, sizeof(message), "checkpoint failed: %.400s", err->msg);
	ckpt_free(ckpt);
	cluster_end(ckpt->cluster, message);
	cluster_save(ckpt->cluster, NULL);
	if (rc == 0)
		retention_apply(ckpt->cluster);
	return rc;
}

int checkpoint_take(struct cluster *cluster, const char *tag, struct progress *progress,
		    char ret_id[STORE_ID_MAX], struct err *err)
{
	struct ckpt ckpt = {
		.strategy = strategy_find(cluster->spec.capture),
		.cluster = cluster,
		.progress = progress,
		.tag = tag,
		.begin_ns = clock_mono_ns(),
	};
	struct err own = ERR_INIT;
	int rc = cluster_begin(cluster, "checkpoint", err);

	if (rc < 0)
		return rc;
	ckpt.doc.created_ns = clock_real_ns();
	rc = ckpt_take(&ckpt, &own);
	if (rc < 0) {
		if (err)
			*err = own;
		return rc;
	}
	snprintf(ret_id, STORE_ID_MAX, "%s", ckpt.id);
	return 0;
}

int checkpoint_describe(const char *id, json_t **ret_description, struct err *err)
{
	struct store_entry *entries = NULL;
	size_t count = 0;
	json_t *manifest;
	int rc = store_manifest(the_daemon.store, id, &manifest, err);

	if (rc == 0)
		rc = store_list(the_daemon.store, NULL, &entries, &count, err);
	if (rc < 0)
		return rc;
	*ret_description = json_pack("{s:o}", "manifest", manifest);
	for (size_t i = 0; i < count; i++) {
		if (strcmp(entries[i].id, id) != 0)
			continue;
		json_object_set_new(*ret_description, "logical_bytes",
				    json_integer((json_int_t)entries[i].logical_bytes));
		json_object_set_new(*ret_description, "bytes",
				    json_integer((json_int_t)entries[i].bytes));
		json_object_set_new(*ret_description, "damaged",
				    json_boolean(entries[i].damaged));
	}
	free(entries);
	return 0;
}
