/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations that begin and end a cluster: "cluster.up" and "cluster.down". */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/parallel.h"
#include "daemon/cluster.h"
#include "daemon/fabric.h"
#include "daemon/guest.h"
#include "daemon/image.h"
#include "daemon/launch.h"
#include "daemon/ops.h"
#include "daemon/template.h"
#include "vm/net/net.h"

enum { CONFIGURE_MS = 120000 };

/* What a VM's process takes besides its guest's RAM. */
#define VM_OVERHEAD_BYTES (96ULL << 20)
/* What the host keeps for everything else. */
#define HOST_RESERVE_BYTES (256ULL << 20)

int launch_check_memory(const struct spec *spec, struct err *err)
{
	uint64_t available, each, need;
	int rc = io_memory_available(&available, err);

	if (rc < 0)
		return rc;
	each = spec->memory_bytes + VM_OVERHEAD_BYTES;
	need = spec->vms * each + HOST_RESERVE_BYTES;
	if (need <= available)
		return 0;
	return err_set(
		err, ENOMEM,
		"%u VMs of %llu MiB need %llu MiB, this host has %llu MiB free: it can hold %llu such "
		"VMs; lower \"vms\" or \"memory\"",
		spec->vms, (unsigned long long)(spec->memory_bytes >> 20),
		(unsigned long long)(need >> 20), (unsigned long long)(available >> 20),
		(unsigned long long)(available > HOST_RESERVE_BYTES
					     ? (available - HOST_RESERVE_BYTES) / each
					     : 0));
}

void launch_new_genid(struct vm_config *config)
{
	unsigned char b[16];

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		abort();
	snprintf(config->genid, sizeof(config->genid),
		 "%02x%02x%02x%02x-%02x%02x-4%x%02x-8%x%02x-%02x%02x%02x%02x%02x%02x", b[0],
		 b[1], b[2], b[3], b[4], b[5], b[6] & 0xfu, b[7], b[8] & 0xfu, b[9], b[10],
		 b[11], b[12], b[13], b[14], b[15]);
}

int launch_network(struct cluster *cluster, struct err *err)
{
	uint64_t start_time = 0;
	pid_t pid = 0;
	int rc = io_mkdir_all(cluster->run_dir, 0700, err);

	if (rc == 0)
		rc = net_create(cluster->run_dir, cluster->spec.mtu, &pid, &start_time, err);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&the_daemon.lock);
	cluster->net_pid = pid;
	cluster->net_start_time = start_time;
	pthread_mutex_unlock(&the_daemon.lock);
	cluster_configure_nodes(cluster);
	return 0;
}

struct launch_work {
	struct cluster *cluster;
	const int *rams, *states;
};

static int launch_one(size_t index, void *arg, struct err *err)
{
	const struct launch_work *work = arg;
	struct node *node = &work->cluster->nodes[index];
	struct vm *vm;
	int rc = io_mkdir_all(node->config.run_dir, 0700, err);

	if (rc == 0)
		rc = vm_launch(&node->config, work->rams[index], true, &vm, err);
	if (rc == 0)
		node_started(node, vm);
	return rc;
}

int launch_all(struct cluster *cluster, const int *rams, struct err *err)
{
	struct launch_work work = {.cluster = cluster, .rams = rams};

	return parallel_each(cluster->spec.vms, launch_one, &work, err);
}

static int load_one(size_t index, void *arg, struct err *err)
{
	const struct launch_work *work = arg;

	return vm_load_state(work->cluster->nodes[index].vm, work->states[index], err);
}

int launch_load_states(struct cluster *cluster, const int *states, struct err *err)
{
	struct launch_work work = {.cluster = cluster, .states = states};

	return parallel_each(cluster->spec.vms, load_one, &work, err);
}

int launch_resume(struct cluster *cluster, struct err *err)
{
	struct vm *vms[SPEC_VMS_MAX];

	cluster_vms(cluster, vms);
	return vm_resume_all(vms, cluster->spec.vms, err);
}

/* Clone the template into all nodes and start them. */
static int up_clone(struct cluster *cluster, const struct template *template, struct err *err)
{
	const struct vm_config *configs[SPEC_VMS_MAX];
	int rams[SPEC_VMS_MAX], states[SPEC_VMS_MAX], state;
	unsigned int vms = cluster->spec.vms;
	int rc;

	for (unsigned int i = 0; i < vms; i++) {
		launch_new_genid(&cluster->nodes[i].config);
		configs[i] = &cluster->nodes[i].config;
	}
	rc = template_clone(template, configs, vms, rams, &state, err);
	if (rc < 0)
		return rc;
	/* Each load reads its own descriptor from its start: the file offset would be shared.
	 */
	rc = launch_all(cluster, rams, err);
	for (unsigned int i = 0; i < vms; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/self/fd/%d", state);
		states[i] = open(path, O_RDONLY | O_CLOEXEC);
		close(rams[i]);
	}
	if (rc == 0)
		rc = launch_load_states(cluster, states, err);
	for (unsigned int i = 0; i < vms; i++)
		if (states[i] >= 0)
			close(states[i]);
	close(state);
	if (rc == 0)
		rc = cluster_save(cluster, err);
	return rc < 0 ? rc : launch_resume(cluster, err);
}

static int up_prepare(struct cluster *cluster, struct progress *progress,
		      struct template *ret_template, struct err *err)
{
	char image_dir[IO_PATH_MAX];
	const struct vm_config *first = &cluster->nodes[0].config;
	struct vm_machine machine;
	char why[sizeof(cluster->why)];
	int rc = launch_check_memory(&cluster->spec, err);

	if (rc == 0)
		rc = image_build(&cluster->spec, progress, image_dir, sizeof(image_dir), err);
	if (rc == 0)
		rc = cluster_set_image(cluster, image_dir, err);
	if (rc == 0)
		rc = vm_machine_probe(cluster->spec.accel, first->kernel, first->initrd,
				      &machine, why, sizeof(why), err);
	if (rc < 0)
		return rc;
	progress_send(progress, "machine", 0, 0, "steps", why);
	pthread_mutex_lock(&the_daemon.lock);
	cluster->machine = machine;
	snprintf(cluster->why, sizeof(cluster->why), "%s", why);
	pthread_mutex_unlock(&the_daemon.lock);
	cluster_configure_nodes(cluster);
	cluster_phase(cluster, "template");
	return template_get(first, progress, ret_template, err);
}

static int up_start(struct cluster *cluster, struct progress *progress, struct err *err)
{
	struct template template;
	unsigned int vms = cluster->spec.vms;
	int rc = up_prepare(cluster, progress, &template, err);

	if (rc == 0)
		rc = cluster_save(cluster, err);
	if (rc == 0)
		rc = launch_network(cluster, err);
	if (rc == 0) {
		cluster_phase(cluster, "clone");
		progress_send(progress, "clone", 0, vms, "vms", "cloning the template");
		rc = up_clone(cluster, &template, err);
	}
	if (rc == 0) {
		cluster_phase(cluster, "configure");
		progress_send(progress, "configure", 0, vms, "vms",
			      "giving the VMs their names and addresses");
		rc = guest_configure_all(cluster, CONFIGURE_MS, err);
	}
	if (rc == 0)
		rc = guest_put_files(cluster, err);
	if (rc == 0 && cluster->spec.device[0])
		rc = fabric_reopen(cluster, "up", CONFIGURE_MS, err);
	return rc;
}

/* A cluster of this name is there already: is it what is asked for? */
static int up_existing(struct cluster *cluster, const struct spec *spec, struct err *err)
{
	json_t *have = spec_to_json(&cluster->spec), *want = spec_to_json(spec);
	bool same = json_equal(have, want);
	unsigned int alive = cluster_alive(cluster);

	json_decref(have);
	json_decref(want);
	if (alive < cluster->spec.vms)
		return err_set(
			err, EEXIST,
			"cluster %s exists with %u of its %u VMs alive: go back to a checkpoint (stasis "
			"restart %s) or end it (stasis down %s)",
			spec->name, alive, cluster->spec.vms, spec->name, spec->name);
	if (!same)
		return err_set(
			err, EEXIST,
			"cluster %s runs with another description: end it first (stasis down %s)",
			spec->name, spec->name);
	return 0;
}

int op_cluster_up(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		  struct progress *progress, struct err *err)
{
	int64_t begin_ns = clock_mono_ns();
	struct cluster *cluster;
	char message[64];
	struct spec spec;
	int rc = spec_from_json(json_object_get(request->json, "spec"), &spec, err);

	(void)ret_blob;
	if (rc == 0)
		rc = cluster_get_or_add(&spec, &cluster, err);
	if (rc < 0)
		return rc;
	rc = cluster_begin(cluster, "up", err);
	if (rc < 0)
		goto out;
	if (cluster->dir_exists) {
		rc = up_existing(cluster, &spec, err);
		cluster_end(cluster, NULL);
		goto out;
	}
	cluster->dir_exists = true;
	rc = cluster_set_spec(cluster, &spec, err);
	if (rc == 0)
		rc = up_start(cluster, progress, err);
	if (rc < 0) {
		cluster_remove(cluster, NULL);
		goto out;
	}
	snprintf(message, sizeof(message), "started in %.1f s",
		 (double)(clock_mono_ns() - begin_ns) / (double)NS_PER_S);
	cluster_end(cluster, message);
	rc = cluster_save(cluster, err);
out:
	if (rc == 0) {
		json_object_set_new(reply, "cluster", cluster_status(cluster));
		json_object_set_new(reply, "why", json_string(cluster->why));
		json_object_set_new(
			reply, "seconds",
			json_real((double)(clock_mono_ns() - begin_ns) / (double)NS_PER_S));
	}
	cluster_put(cluster);
	return rc;
}

int op_cluster_down(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		    struct progress *progress, struct err *err)
{
	const char *name = NULL;
	struct cluster *cluster;
	int rc = rpc_opt_str(request->json, "cluster", &name, err);

	(void)ret_blob;
	(void)progress;
	if (rc == 0)
		rc = cluster_get(name, &cluster, err);
	if (rc < 0)
		return rc;
	rc = cluster_begin(cluster, "down", err);
	if (rc == 0) {
		struct err unsaved = ERR_INIT;

		/* A full disk, say, must not keep a cluster from going. */
		if (cluster_save(cluster, &unsaved) < 0)
			log_warn("cluster=%s %s", cluster->spec.name, unsaved.msg);
		rc = cluster_remove(cluster, err);
		json_object_set_new(reply, "cluster", json_string(cluster->spec.name));
		log_info("cluster=%s taken down", cluster->spec.name);
	}
	cluster_put(cluster);
	return rc;
}
