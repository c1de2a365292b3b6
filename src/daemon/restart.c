/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operation "restart": bring a checkpoint back to life, as a table of phases.
 *
 * Nothing that still runs is touched before the checkpoint has been verified: its indices when
 * the cluster is dead anyway (every byte is then checked while it is read), every byte when
 * living VMs are to be thrown away.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/parallel.h"
#include "daemon/checkpoint.h"
#include "daemon/fabric.h"
#include "daemon/guest.h"
#include "daemon/image.h"
#include "daemon/launch.h"
#include "daemon/manifest.h"
#include "daemon/ops.h"
#include "daemon/restart.h"
#include "daemon/serve.h"
#include "daemon/template.h"

enum { AGENT_MS = 60000, PART_NAME_MAX = 32 };

struct restart {
	const char *id;
	bool force;
	bool isolated; /* a proof: see daemon/restart.h */
	struct cluster *cluster;
	struct progress *progress;
	struct manifest_restore *from;
	int rams[SPEC_VMS_MAX], states[SPEC_VMS_MAX], disks[SPEC_VMS_MAX];
	atomic_uint_fast64_t read_bytes;
	uint64_t to_read_bytes;
};

static void restart_read(uint64_t bytes, void *arg)
{
	struct restart *restart = arg;
	uint64_t done = atomic_fetch_add(&restart->read_bytes, bytes) + bytes;

	progress_send(restart->progress, restart->cluster->phase, done, restart->to_read_bytes,
		      "bytes", NULL);
}

/* A quarantined checkpoint is looked at anew, whole: it may have been mended. */
static bool restart_quarantined(const struct restart *restart)
{
	struct store_entry *entries;
	bool damaged = false;
	size_t count;

	if (store_list(the_daemon.store, NULL, &entries, &count, NULL) < 0)
		return true;
	for (size_t i = 0; i < count; i++)
		damaged |= entries[i].damaged && !strcmp(entries[i].id, restart->id);
	free(entries);
	return damaged;
}

/* Where nothing is lost by a checkpoint that turns out to be damaged, its data are checked
 * while they are read; its manifest has been. */
static int restart_verify(struct restart *restart, struct err *err)
{
	const struct store_work work = {.progress = restart_read, .progress_arg = restart};

	if (cluster_alive(restart->cluster) == 0 && !restart_quarantined(restart))
		return 0;
	return store_verify(the_daemon.store, restart->id, false, &work, err);
}

static int restart_stop(struct restart *restart, struct err *err)
{
	struct cluster *cluster = restart->cluster;
	int rc;

	cluster_end_processes(cluster);
	cluster->dir_exists = true;
	rc = cluster_set_spec(cluster, &restart->from->spec, err);
	if (rc == 0)
		rc = launch_check_memory(&cluster->spec, err);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&the_daemon.lock);
	cluster->machine = restart->from->machine;
	snprintf(cluster->why, sizeof(cluster->why), "as in checkpoint %s", restart->id);
	json_decref(cluster->run);
	cluster->run = restart->from->run ? json_incref(restart->from->run) : NULL;
	for (unsigned int i = 0; i < cluster->spec.vms; i++) {
		cluster->nodes[i].pid = 0;
		launch_new_genid(&cluster->nodes[i].config);
	}
	pthread_mutex_unlock(&the_daemon.lock);
	return cluster_save(cluster, err);
}

/* The machine of a checkpoint must be had here, exactly. */
static int restart_machine(struct restart *restart, struct err *err)
{
	const struct vm_config *first = &restart->cluster->nodes[0].config;
	const struct vm_machine *want = &restart->from->machine;
	struct vm_machine have;
	char why[512];
	int rc = vm_machine_probe(want->accel, first->kernel, first->initrd, &have, why,
				  sizeof(why), err);

	if (rc < 0)
		return err_prefix(err, "checkpoint %s was taken under %s", restart->id,
				  want->accel);
	if (strcmp(have.qemu_version, want->qemu_version) != 0)
		log_warn("ckpt=%s was taken by QEMU %s and is restarted by QEMU %s",
			 restart->id, want->qemu_version, have.qemu_version);
	return 0;
}

static int restart_image(struct restart *restart, struct err *err)
{
	const struct manifest_restore *from = restart->from;
	char dir[IO_PATH_MAX];
	int rc = 0;

	if (image_is(from->image_dir, &from->image))
		snprintf(dir, sizeof(dir), "%s", from->image_dir);
	else
		rc = image_get(&from->image, restart->progress, dir, sizeof(dir), err);
	return rc < 0 ? rc : cluster_set_image(restart->cluster, dir, err);
}

/* A disk layer, in a directory that has nothing else: an empty file to be filled, or, of a
 * large disk, a fresh layer over the one that is served. */
static int disk_create(struct restart *restart, unsigned int index, int *ret_fd,
		       struct err *err)
{
	struct node *node = &restart->cluster->nodes[index];
	const struct stream_ref *disk = &restart->from->vms[index].disk;
	const struct vm_config *config = &node->config;
	char path[IO_PATH_MAX];
	int rc = io_remove_all(config->dir, err);

	node->config.served.socket[0] = '\0';
	if (rc == 0)
		rc = io_mkdir_all(config->dir, 0700, err);
	if (rc == 0 && serve_wanted(disk)) {
		rc = serve_start(restart->cluster, restart->id, err);
		if (rc == 0)
			serve_node(node, disk);
		return rc < 0 ? rc : vm_disk_create(config, err);
	}
	if (rc == 0)
		rc = io_path(path, sizeof(path), err, "%s/disk.qcow2", config->dir);
	if (rc < 0)
		return rc;
	*ret_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return *ret_fd < 0 ? err_sys(err, errno, "cannot create %s", path) : 0;
}

/* What is filled from the store: three streams of each VM. */
static int restart_prepare(struct restart *restart, struct err *err)
{
	int rc = restart_image(restart, err);

	if (rc == 0)
		rc = restart_machine(restart, err);
	for (unsigned int i = 0; i < restart->cluster->spec.vms && rc == 0; i++) {
		restart->rams[i] = template_ram_fd(restart->cluster->spec.memory_bytes, err);
		restart->states[i] = memfd_create("stasis-state", MFD_CLOEXEC);
		if (restart->rams[i] < 0 || restart->states[i] < 0)
			rc = err_sys(err, ENOMEM, "cannot create memory for vm%u", i);
		if (rc == 0)
			rc = disk_create(restart, i, &restart->disks[i], err);
	}
	return rc;
}

static int rebase_one(size_t index, void *arg, struct err *err)
{
	const struct restart *restart = arg;

	if (restart->disks[index] < 0) /* served */
		return 0;
	return vm_disk_rebase(&restart->cluster->nodes[index].config, err);
}

/* Fill files from the store: of each VM those whose descriptors are given. */
static int restart_fill(struct restart *restart, const char *what, const int *fds,
			size_t ref_offset, struct err *err)
{
	const struct store_work work = {.progress = restart_read, .progress_arg = restart};
	unsigned int vms = restart->cluster->spec.vms;
	struct store_target targets[SPEC_VMS_MAX];
	char names[SPEC_VMS_MAX][PART_NAME_MAX];
	size_t count = 0;

	for (unsigned int i = 0; i < vms; i++) {
		const char *vm = (const char *)&restart->from->vms[i];

		if (fds[i] < 0)
			continue;
		snprintf(names[i], sizeof(names[i]), "vm%u.%s", i, what);
		targets[count++] = (struct store_target){
			.name = names[i],
			.ref = *(const struct stream_ref *)(vm + ref_offset),
			.fd = fds[i],
		};
	}
	return store_fill(the_daemon.store, targets, count, &work, err);
}

static int restart_disks(struct restart *restart, struct err *err)
{
	int rc = restart_prepare(restart, err);

	restart->to_read_bytes = 0;
	atomic_store(&restart->read_bytes, 0);
	for (unsigned int i = 0; i < restart->cluster->spec.vms; i++)
		restart->to_read_bytes +=
			restart->from->vms[i].ram.data_bytes +
			restart->from->vms[i].state.data_bytes +
			(restart->disks[i] < 0 ? 0 : restart->from->vms[i].disk.data_bytes);
	if (rc == 0)
		rc = restart_fill(restart, "disk", restart->disks,
				  offsetof(struct manifest_vm, disk), err);
	if (rc == 0)
		rc = restart_fill(restart, "state", restart->states,
				  offsetof(struct manifest_vm, state), err);
	return rc < 0 ? rc
		      : parallel_each(restart->cluster->spec.vms, rebase_one, restart, err);
}

static int track_one(size_t index, void *arg, struct err *err)
{
	const struct restart *restart = arg;

	if (restart->disks[index] < 0) /* served: it is not the checkpoint's file */
		return 0;
	return vm_disk_track(restart->cluster->nodes[index].vm, restart->id, err);
}

static int launch_vms(struct restart *restart, struct err *err)
{
	int rc = launch_network(restart->cluster, err);

	if (rc == 0)
		rc = launch_all(restart->cluster, restart->rams, err);
	/* The disks are as the checkpoint has them until the VMs run. */
	if (rc == 0)
		rc = parallel_each(restart->cluster->spec.vms, track_one, restart, err);
	return rc < 0 ? rc : cluster_save(restart->cluster, err);
}

static int fill_ram(struct restart *restart, struct err *err)
{
	int rc = restart_fill(restart, "ram", restart->rams, offsetof(struct manifest_vm, ram),
			      err);

	return rc < 0 ? rc : fault_hit(FAULT_RESTART_RAM, err);
}

static int launch_half(size_t index, void *arg, struct err *err)
{
	return index == 0 ? launch_vms(arg, err) : fill_ram(arg, err);
}

/* QEMU looks at RAM only when its state is loaded: it starts while RAM is filled. */
static int restart_launch(struct restart *restart, struct err *err)
{
	return parallel_each(2, launch_half, restart, err);
}

static int restart_state(struct restart *restart, struct err *err)
{
	return launch_load_states(restart->cluster, restart->states, err);
}

static int restart_resume(struct restart *restart, struct err *err)
{
	return launch_resume(restart->cluster, err);
}

static int restart_reopen(struct restart *restart, struct err *err)
{
	int rc = guest_set_clocks(restart->cluster, AGENT_MS, err);

	return rc < 0 ? rc : fabric_reopen(restart->cluster, restart->id, AGENT_MS, err);
}

static const struct restart_phase {
	const char *name;
	int (*run)(struct restart *restart, struct err *err);
	enum fault_point after;
} restart_phases[] = {
	{"verify", restart_verify, FAULT_RESTART_VERIFY},
	{"stop", restart_stop, FAULT_RESTART_STOP},
	{"disk", restart_disks, FAULT_RESTART_DISK},
	{"launch", restart_launch, FAULT_RESTART_LAUNCH},
	{"state", restart_state, FAULT_RESTART_STATE},
	{"resume", restart_resume, FAULT_RESTART_RESUME},
	{"reopen", restart_reopen, FAULT_RESTART_REOPEN},
};

/* Damage was met: quarantine the checkpoint and say which one is good. */
static int restart_damaged(const char *id, struct err *err)
{
	struct err fault = ERR_INIT;

	if (store_verify(the_daemon.store, id, false, NULL, &fault) == -EBADMSG && err)
		*err = fault;
	return -EBADMSG;
}

static int restart_run(struct restart *restart, json_t *ret_phases, struct err *err)
{
	size_t count = sizeof(restart_phases) / sizeof(restart_phases[0]);
	int rc = fault_hit(FAULT_RESTART_BEGIN, err);

	for (size_t i = 0; i < count && rc == 0; i++) {
		const struct restart_phase *phase = &restart_phases[i];
		int64_t begin_ns = clock_mono_ns();

		if (restart->isolated &&
		    (phase->run == restart_verify || phase->run == restart_reopen))
			continue;
		cluster_phase(restart->cluster, phase->name);
		progress_send(restart->progress, phase->name, i, count, "steps", NULL);
		rc = phase->run(restart, err);
		if (rc == -EBADMSG && phase->run != restart_verify)
			rc = restart_damaged(restart->id, err);
		if (rc == 0)
			rc = fault_hit(phase->after, err);
		if (rc < 0)
			err_prefix(err, "%s", phase->name);
		json_array_append_new(ret_phases,
				      json_pack("{s:s,s:I}", "name", phase->name, "duration_ns",
						(json_int_t)(clock_mono_ns() - begin_ns)));
	}
	return rc;
}

/* Living VMs are thrown away only when the user says so. */
static int restart_allowed(struct restart *restart, struct err *err)
{
	struct cluster *cluster = restart->cluster;
	unsigned int alive = cluster_alive(cluster);

	if (restart->force || alive == 0 || alive < cluster->spec.vms)
		return 0;
	return err_set(
		err, EEXIST,
		"cluster %s runs: a restart would throw away what it has done since the checkpoint; use "
		"--force if that is meant",
		cluster->spec.name);
}

static void fds_close(const int *fds)
{
	for (unsigned int i = 0; i < SPEC_VMS_MAX; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* The phases, while the store keeps what they read. */
static int restart_leased(struct restart *restart, json_t *ret_phases, struct err *err)
{
	struct store_lease *lease;
	int rc = store_lease_begin(the_daemon.store, restart->id, &lease, err);

	if (rc < 0)
		return rc;
	for (unsigned int i = 0; i < SPEC_VMS_MAX; i++)
		restart->rams[i] = restart->states[i] = restart->disks[i] = -1;
	rc = restart_run(restart, ret_phases, err);
	fds_close(restart->rams);
	fds_close(restart->states);
	fds_close(restart->disks);
	store_lease_end(lease);
	return rc;
}

int restart_isolated(const char *id, struct manifest_restore *from, struct cluster *cluster,
		     struct progress *progress, struct err *err)
{
	struct restart restart = {
		.id = id,
		.isolated = true,
		.from = from,
		.cluster = cluster,
		.progress = progress,
	};
	json_t *phases = json_array();
	int rc = restart_leased(&restart, phases, err);

	json_decref(phases);
	return rc;
}

static int restart_cluster(struct restart *restart, json_t *reply, struct err *err)
{
	struct cluster *cluster = restart->cluster;
	int64_t begin_ns = clock_mono_ns();
	json_t *phases = json_array();
	char message[sizeof(cluster->message)];
	bool begun = false, was = cluster->dir_exists;
	int rc = restart_allowed(restart, err);

	if (rc == 0)
		rc = restart_leased(restart, phases, err);
	begun = cluster->dir_exists && json_array_size(phases) > 1;
	if (rc == 0) {
		snprintf(message, sizeof(message), "restarted from %s in %.1f s", restart->id,
			 (double)(clock_mono_ns() - begin_ns) / (double)NS_PER_S);
		pthread_mutex_lock(&the_daemon.lock);
		snprintf(cluster->last_checkpoint, sizeof(cluster->last_checkpoint), "%s",
			 restart->id);
		pthread_mutex_unlock(&the_daemon.lock);
		if (serve_follow(cluster, err) < 0)
			log_error("cluster=%s %s", cluster->spec.name, err->msg);
		cluster_end(cluster, message);
		rc = cluster_save(cluster, err);
		if (rc == 0)
			rc = fault_hit(FAULT_RESTART_DONE, err);
		json_object_set_new(reply, "checkpoint", json_string(restart->id));
		json_object_set_new(reply, "phases", json_incref(phases));
		json_object_set_new(reply, "cluster", cluster_status(cluster));
		json_object_set_new(
			reply, "seconds",
			json_real((double)(clock_mono_ns() - begin_ns) / (double)NS_PER_S));
	} else if (begun) {
		cluster_end_processes(cluster);
		snprintf(message, sizeof(message), "restart from %s failed: %.300s",
			 restart->id, err->msg);
		cluster_end(cluster, message);
		cluster_save(cluster, NULL);
	} else if (was) {
		cluster_end(cluster, err->msg);
	} else {
		cluster_remove(cluster, NULL);
	}
	json_decref(phases);
	return rc;
}

/* Which checkpoint is meant: an id, or a cluster's newest good one. */
static int restart_which(const json_t *request, char ret_id[STORE_ID_MAX], struct err *err)
{
	const char *id = NULL, *name = NULL;
	struct cluster *only;
	int rc = rpc_opt_str(request, "checkpoint", &id, err);

	if (rc == 0)
		rc = rpc_opt_str(request, "cluster", &name, err);
	if (rc < 0)
		return rc;
	if (id)
		return io_path(ret_id, STORE_ID_MAX, err, "%s", id);
	if (name)
		return store_newest(the_daemon.store, name, ret_id, err);
	rc = cluster_get(NULL, &only, err);
	if (rc < 0)
		return rc;
	rc = store_newest(the_daemon.store, only->spec.name, ret_id, err);
	cluster_put(only);
	return rc;
}

int op_restart(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
	       struct progress *progress, struct err *err)
{
	struct restart restart = {.progress = progress};
	char id[STORE_ID_MAX];
	json_t *manifest = NULL;
	int rc = restart_which(request->json, id, err);

	(void)ret_blob;
	restart.id = id;
	restart.from = calloc(1, sizeof(*restart.from));
	if (!restart.from)
		return err_sys(err, ENOMEM, "restart");
	if (rc == 0)
		rc = rpc_opt_bool(request->json, "force", &restart.force, err);
	if (rc == 0)
		rc = store_manifest(the_daemon.store, id, &manifest, err);
	if (rc == -EBADMSG)
		rc = restart_damaged(id, err);
	if (rc == 0)
		rc = manifest_restore(manifest, restart.from, err);
	json_decref(manifest);
	if (rc == 0)
		rc = cluster_get_or_add(&restart.from->spec, &restart.cluster, err);
	if (rc == 0) {
		rc = cluster_begin(restart.cluster, "restart", err);
		if (rc == 0)
			rc = restart_cluster(&restart, reply, err);
		cluster_put(restart.cluster);
	}
	json_decref(restart.from->run);
	free(restart.from);
	return rc;
}
