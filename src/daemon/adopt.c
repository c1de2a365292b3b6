/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adoption: at start, take over the clusters that earlier daemons left.
 *
 * What the record says was under way decides: an unfinished "up", "down" or "verify" leaves
 * nothing worth keeping; an unfinished "restart" leaves a dead cluster, whose checkpoint still
 * stands; an unfinished "checkpoint" is rolled back by healing, and the agents are told so, as
 * soon as the loop runs that talks with them.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/parallel.h"
#include "daemon/cluster.h"
#include "daemon/fabric.h"
#include "daemon/loop.h"
#include "daemon/serve.h"
#include "vm/net/net.h"

enum { HEAL_MS = 120000, ABORT_MS = 15000 };

static int heal_resume(size_t index, void *arg, struct err *err)
{
	struct node *node = &((struct cluster *)arg)->nodes[index];
	bool running = false;
	int rc;

	if (!node->vm || !vm_alive(node->vm))
		return 0;
	rc = vm_background_settle(node->vm, err);
	if (rc == 0)
		rc = vm_running(node->vm, &running, err);
	if (rc == 0 && !running)
		rc = vm_resume(node->vm, err);
	if (rc == 0) {
		pthread_mutex_lock(&the_daemon.lock);
		node->paused = false;
		pthread_mutex_unlock(&the_daemon.lock);
	}
	return rc;
}

static int heal_disk(size_t index, void *arg, struct err *err)
{
	struct node *node = &((struct cluster *)arg)->nodes[index];
	int rc;

	if (!node->vm || !vm_alive(node->vm))
		return 0;
	rc = vm_save_forget(node->vm, err);
	return rc < 0 ? rc : vm_disk_heal(node->vm, deadline_in_ms(HEAL_MS), err);
}

int cluster_heal(struct cluster *cluster, struct err *err)
{
	struct err disk_err = ERR_INIT;
	int rc = parallel_each(cluster->spec.vms, heal_resume, cluster, err);
	int rc_disk = parallel_each(cluster->spec.vms, heal_disk, cluster, &disk_err);

	if (rc == 0 && rc_disk < 0) {
		if (err)
			*err = disk_err;
		return rc_disk;
	}
	return rc;
}

static int adopt_node(size_t index, void *arg, struct err *err)
{
	struct node *node = &((struct cluster *)arg)->nodes[index];
	struct vm *vm;
	int rc;

	if (!node->pid)
		return 0;
	rc = vm_adopt(&node->config, node->pid, node->start_time, &vm, err);
	if (rc == 0)
		node_started(node, vm);
	else
		log_info("cluster=%s vm=%s %s", node->cluster->spec.name, node->config.name,
			 err->msg);
	return 0;
}

static void adopt_end(struct cluster *cluster, const char *message)
{
	struct err err = ERR_INIT;

	cluster_end(cluster, message);
	if (cluster_save(cluster, &err) < 0)
		log_error("cluster=%s %s", cluster->spec.name, err.msg);
}

/*
 * On a thread: tell the agents that the checkpoint is given up. Until then the record keeps its
 * word that one was under way, so that a daemon which is killed even now leaves this to the
 * next one.
 */
static void adopt_abort(void *arg)
{
	struct cluster *cluster = arg;
	struct err err = ERR_INIT;

	if (fabric_abort(cluster, "adopted", ABORT_MS, &err) < 0)
		log_warn("cluster=%s %s", cluster->spec.name, err.msg);
	adopt_end(cluster, NULL);
	cluster_put(cluster);
}

static void adopt_running(struct cluster *cluster, const char *op)
{
	struct err err = ERR_INIT;
	unsigned int alive;
	char message[512];

	if (cluster_set_image(cluster, cluster->image_dir, &err) < 0)
		log_warn("cluster=%s %s", cluster->spec.name, err.msg);
	if (cluster->net_pid && net_check(cluster->net_pid, cluster->net_start_time, NULL) < 0)
		cluster->net_pid = 0;
	cluster_configure_nodes(cluster);
	parallel_each(cluster->spec.vms, adopt_node, cluster, &err);
	alive = cluster_alive(cluster);
	if (alive > 0 && serve_resume(cluster, &err) < 0)
		log_error("cluster=%s %s", cluster->spec.name, err.msg);
	if (alive == 0)
		cluster_end_processes(cluster);
	else if (cluster_heal(cluster, &err) < 0)
		log_error("cluster=%s cannot be healed: %s", cluster->spec.name, err.msg);
	snprintf(message, sizeof(message), "adopted with %u of %u VMs alive%s%s", alive,
		 cluster->spec.vms, op[0] ? ", after an unfinished " : "", op);
	if (alive == 0 || !op[0]) {
		adopt_end(cluster, message);
		return;
	}
	pthread_mutex_lock(&the_daemon.lock);
	snprintf(cluster->message, sizeof(cluster->message), "%s", message);
	cluster->refs++;
	pthread_mutex_unlock(&the_daemon.lock);
	log_info("cluster=%s %s", cluster->spec.name, message);
	if (loop_thread(adopt_abort, cluster, &err) < 0) {
		log_error("cluster=%s %s", cluster->spec.name, err.msg);
		adopt_end(cluster, NULL);
		cluster_put(cluster);
	}
}

static void adopt_cluster(const char *name)
{
	char op[CLUSTER_OP_MAX] = "";
	struct err err = ERR_INIT;
	struct cluster *cluster;
	struct spec spec;
	int rc;

	if (spec_init(&spec, name, &err) < 0 || cluster_get_or_add(&spec, &cluster, &err) < 0) {
		log_warn("a cluster's directory is left alone: %s", err.msg);
		return;
	}
	if (cluster_begin(cluster, CLUSTER_OP_ADOPT, &err) < 0)
		goto out;
	cluster->dir_exists = true;
	rc = cluster_load(cluster, op, &err);
	if (rc == -ENOENT) {
		cluster_remove(cluster, &err);
	} else if (rc < 0) {
		log_error("cluster=%s %s", name, err.msg);
		cluster_end(cluster,
			    "its record cannot be read (see the log); stasis down removes it, "
			    "stasis restart goes back to a checkpoint");
	} else if (!strcmp(op, "up") || !strcmp(op, "down") || !strcmp(op, CLUSTER_OP_VERIFY)) {
		log_info("cluster=%s is removed: a daemon ended while it did \"%s\"", name, op);
		cluster_remove(cluster, &err);
	} else if (!strcmp(op, "restart")) {
		cluster_end_processes(cluster);
		cluster_end(cluster,
			    "a restart was cut short when its daemon ended; restart again");
		cluster_save(cluster, &err);
	} else {
		adopt_running(cluster, op);
	}
out:
	cluster_put(cluster);
}

int cluster_adopt_all(struct err *err)
{
	CLEANUP_CLOSEDIR DIR *dir = NULL;
	char path[IO_PATH_MAX];
	const struct dirent *entry;
	int rc = io_path(path, sizeof(path), err, "%s/clusters", the_daemon.state_dir);

	if (rc == 0)
		rc = io_mkdir_all(path, 0700, err);
	if (rc < 0)
		return rc;
	dir = opendir(path);
	if (!dir)
		return err_sys(err, errno, "cannot read %s", path);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			adopt_cluster(entry->d_name);
	return 0;
}
