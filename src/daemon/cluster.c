/* SPDX-License-Identifier: BSD-3-Clause */
/* Clusters: the list, references, the right to work on one, and what is told about it. */
#include "daemon/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/log.h"

/* Signalled when an operation on a cluster ends. */
static pthread_cond_t cluster_ended = PTHREAD_COND_INITIALIZER;

static struct cluster *cluster_find(const char *name)
{
	for (struct cluster *cluster = the_daemon.clusters; cluster; cluster = cluster->next)
		if (!strcmp(cluster->spec.name, name))
			return cluster;
	return NULL;
}

bool cluster_is_users(const struct cluster *cluster)
{
	return strcmp(cluster->op, CLUSTER_OP_VERIFY) != 0;
}

/* The first one from `cluster` on that is a user's, or NULL. */
static struct cluster *cluster_users(struct cluster *cluster)
{
	while (cluster && !cluster_is_users(cluster))
		cluster = cluster->next;
	return cluster;
}

int cluster_get(const char *name, struct cluster **ret_cluster, struct err *err)
{
	struct cluster *cluster;
	int rc = 0;

	pthread_mutex_lock(&the_daemon.lock);
	cluster = name ? cluster_find(name) : cluster_users(the_daemon.clusters);
	if (cluster && (name || !cluster_users(cluster->next))) {
		cluster->refs++;
		*ret_cluster = cluster;
	} else if (name) {
		rc = err_set(err, ENOENT, "no cluster is named \"%s\" (see: stasis status)",
			     name);
	} else if (!cluster) {
		rc = err_set(err, ENOENT, "there is no cluster (start one: stasis up -c FILE)");
	} else {
		rc = err_set(err, EINVAL,
			     "there are several clusters: name one (see: stasis status)");
	}
	pthread_mutex_unlock(&the_daemon.lock);
	return rc;
}

/* A cluster with empty nodes and one reference, the list's. */
static struct cluster *cluster_new(const struct spec *spec)
{
	struct cluster *cluster = calloc(1, sizeof(*cluster));

	if (!cluster)
		return NULL;
	cluster->nodes = calloc(SPEC_VMS_MAX, sizeof(*cluster->nodes));
	if (!cluster->nodes) {
		free(cluster);
		return NULL;
	}
	cluster->spec = *spec;
	cluster->refs = 1;
	for (unsigned int i = 0; i < SPEC_VMS_MAX; i++) {
		cluster->nodes[i].cluster = cluster;
		cluster->nodes[i].index = i;
	}
	return cluster;
}

int cluster_get_or_add(const struct spec *spec, struct cluster **ret_cluster, struct err *err)
{
	struct cluster *cluster;
	int rc = 0;

	pthread_mutex_lock(&the_daemon.lock);
	cluster = cluster_find(spec->name);
	if (!cluster) {
		cluster = cluster_new(spec);
		if (!cluster) {
			rc = err_sys(err, ENOMEM, "cluster %s", spec->name);
			goto out;
		}
		rc = io_path(cluster->dir, sizeof(cluster->dir), err, "%s/clusters/%s",
			     the_daemon.state_dir, spec->name);
		if (rc == 0)
			rc = io_path(cluster->run_dir, sizeof(cluster->run_dir), err, "%s/c/%s",
				     the_daemon.run_dir, spec->name);
		if (rc < 0) {
			free(cluster->nodes);
			free(cluster);
			goto out;
		}
		cluster->next = the_daemon.clusters;
		the_daemon.clusters = cluster;
	}
	cluster->refs++;
	*ret_cluster = cluster;
out:
	pthread_mutex_unlock(&the_daemon.lock);
	return rc;
}

void cluster_put(struct cluster *cluster)
{
	bool last;

	if (!cluster)
		return;
	pthread_mutex_lock(&the_daemon.lock);
	last = --cluster->refs == 0;
	pthread_mutex_unlock(&the_daemon.lock);
	if (!last)
		return;
	json_decref(cluster->run);
	for (unsigned int i = 0; i < SPEC_VMS_MAX; i++)
		ram_trace_destroy(cluster->nodes[i].trace);
	free(cluster->nodes);
	free(cluster);
}

/* Whether what is under way is nobody's operation, so that a user cannot be told to await it.
 */
static bool cluster_must_await(const struct cluster *cluster, const char *op)
{
	if (cluster->removed)
		return false;
	if (!strcmp(cluster->op, CLUSTER_OP_ADOPT) || !strcmp(cluster->op, CLUSTER_OP_FILL))
		return true;
	return cluster->unattended && !strcmp(cluster->op, "checkpoint") &&
	       strcmp(op, "checkpoint") != 0;
}

int cluster_begin(struct cluster *cluster, const char *op, struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&the_daemon.lock);
	while (cluster_must_await(cluster, op))
		pthread_cond_wait(&cluster_ended, &the_daemon.lock);
	if (cluster->removed)
		rc = err_set(err, ENOENT, "cluster %s has been taken down", cluster->spec.name);
	else if (cluster->op[0])
		rc = err_set(err, EBUSY,
			     "cluster %s is busy: %s is under way; try again when it has ended",
			     cluster->spec.name, cluster->op);
	else
		snprintf(cluster->op, sizeof(cluster->op), "%s", op);
	pthread_mutex_unlock(&the_daemon.lock);
	return rc;
}

void cluster_end(struct cluster *cluster, const char *message)
{
	pthread_mutex_lock(&the_daemon.lock);
	cluster->op[0] = '\0';
	cluster->phase[0] = '\0';
	if (message)
		snprintf(cluster->message, sizeof(cluster->message), "%s", message);
	pthread_cond_broadcast(&cluster_ended);
	pthread_mutex_unlock(&the_daemon.lock);
	if (message)
		log_info("cluster=%s %s", cluster->spec.name, message);
}

bool cluster_any_busy(void)
{
	bool busy = false;

	pthread_mutex_lock(&the_daemon.lock);
	for (struct cluster *cluster = the_daemon.clusters; cluster; cluster = cluster->next)
		busy |= cluster->op[0] != '\0';
	pthread_mutex_unlock(&the_daemon.lock);
	return busy;
}

void cluster_phase(struct cluster *cluster, const char *phase)
{
	pthread_mutex_lock(&the_daemon.lock);
	snprintf(cluster->phase, sizeof(cluster->phase), "%s", phase);
	pthread_mutex_unlock(&the_daemon.lock);
}

static int node_set_paths(struct node *node, struct err *err)
{
	struct cluster *cluster = node->cluster;
	struct vm_config *config = &node->config;
	unsigned int prefix;
	int rc;

	*config = (struct vm_config){0};
	snprintf(config->name, sizeof(config->name), "vm%u", node->index);
	snprintf(config->tap, sizeof(config->tap), "tap%u", node->index);
	rc = io_path(config->dir, sizeof(config->dir), err, "%s/%s", cluster->dir,
		     config->name);
	if (rc == 0)
		rc = io_path(config->run_dir, sizeof(config->run_dir), err, "%s/%s",
			     cluster->run_dir, config->name);
	if (rc < 0)
		return rc;
	if (strlen(config->run_dir) + sizeof("/console.sock") >
	    sizeof(((struct sockaddr_un *)0)->sun_path))
		return err_set(
			err, ENAMETOOLONG,
			"%s is too long for sockets: set STASIS_RUN_DIR to a shorter directory",
			config->run_dir);
	config->memory_bytes = cluster->spec.memory_bytes;
	config->cpus = cluster->spec.cpus;
	config->host_mtu = cluster->spec.mtu;
	return spec_address(&cluster->spec, node->index, node->address, &prefix, err);
}

int cluster_set_spec(struct cluster *cluster, const struct spec *spec, struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&the_daemon.lock);
	cluster->spec = *spec;
	for (unsigned int i = 0; i < spec->vms && rc == 0; i++)
		rc = node_set_paths(&cluster->nodes[i], err);
	pthread_mutex_unlock(&the_daemon.lock);
	return rc;
}

void cluster_configure_nodes(struct cluster *cluster)
{
	pthread_mutex_lock(&the_daemon.lock);
	for (unsigned int i = 0; i < cluster->spec.vms; i++) {
		cluster->nodes[i].config.machine = cluster->machine;
		cluster->nodes[i].config.net_pid = cluster->net_pid;
	}
	pthread_mutex_unlock(&the_daemon.lock);
}

/* The process itself is asked: its end may not have come round to the loop yet. Daemon lock
 * held. */
static bool node_alive(const struct node *node)
{
	return node->vm && !node->dead && vm_alive(node->vm);
}

unsigned int cluster_alive(struct cluster *cluster)
{
	unsigned int alive = 0;

	pthread_mutex_lock(&the_daemon.lock);
	for (unsigned int i = 0; i < cluster->spec.vms; i++)
		alive += node_alive(&cluster->nodes[i]);
	pthread_mutex_unlock(&the_daemon.lock);
	return alive;
}

void cluster_vms(const struct cluster *cluster, struct vm *ret_vms[SPEC_VMS_MAX])
{
	for (unsigned int i = 0; i < cluster->spec.vms; i++)
		ret_vms[i] = cluster->nodes[i].vm;
}

static const char *cluster_state(const struct cluster *cluster, unsigned int alive)
{
	static const struct {
		const char *op, *state;
	} busy[] = {{"up", "starting"},
		    {"checkpoint", "checkpointing"},
		    {"restart", "restarting"},
		    {"down", "stopping"},
		    {CLUSTER_OP_VERIFY, "verifying"}};

	for (size_t i = 0; i < sizeof(busy) / sizeof(busy[0]); i++)
		if (!strcmp(cluster->op, busy[i].op))
			return busy[i].state;
	if (alive == cluster->spec.vms)
		return "running";
	return alive ? "degraded" : "dead";
}

static json_t *node_status(const struct node *node)
{
	const struct vm_config *config = &node->config;
	bool alive = node_alive(node);
	uint64_t rss = 0, ram = 0;
	char console[IO_PATH_MAX + 16], debug[IO_PATH_MAX + 16];

	if (alive)
		vm_usage(node->vm, &rss, &ram, NULL);
	snprintf(console, sizeof(console), "%s/console.sock", config->run_dir);
	snprintf(debug, sizeof(debug), "%s/debug.sock", config->run_dir);
	return json_pack("{s:s,s:s,s:i,s:s,s:I,s:I,s:I,s:b,s:s,s:s}", "name", config->name,
			 "state",
			 !alive         ? "dead"
			 : node->paused ? "paused"
					: "running",
			 "pid", alive ? (int)node->pid : 0, "address", node->address,
			 "memory_bytes", (json_int_t)config->memory_bytes, "resident_bytes",
			 (json_int_t)rss, "ram_bytes", (json_int_t)ram, "agent",
			 alive && node->link && link_is_up(node->link), "console", console,
			 "debug_qmp", debug);
}

json_t *cluster_status(struct cluster *cluster)
{
	json_t *vms = json_array(), *status;
	unsigned int alive = 0;

	pthread_mutex_lock(&the_daemon.lock);
	for (unsigned int i = 0; i < cluster->spec.vms; i++) {
		alive += node_alive(&cluster->nodes[i]);
		json_array_append_new(vms, node_status(&cluster->nodes[i]));
	}
	status = json_pack("{s:s,s:s,s:o,s:s,s:s,s:o,s:O?,s:s?,s:I,s:s?,s:s}", "name",
			   cluster->spec.name, "state", cluster_state(cluster, alive), "vms",
			   vms, "accel", cluster->machine.accel, "why", cluster->why, "spec",
			   spec_to_json(&cluster->spec), "run", cluster->run, "last_checkpoint",
			   cluster->last_checkpoint[0] ? cluster->last_checkpoint : NULL,
			   "last_checkpoint_ns", (json_int_t)cluster->last_checkpoint_ns,
			   "phase", cluster->phase[0] ? cluster->phase : NULL, "message",
			   cluster->message);
	pthread_mutex_unlock(&the_daemon.lock);
	return status;
}

int cluster_node(struct cluster *cluster, const char *vm, struct node **ret_node,
		 struct err *err)
{
	int rc = -ENOENT;

	pthread_mutex_lock(&the_daemon.lock);
	for (unsigned int i = 0; i < cluster->spec.vms && rc < 0; i++) {
		if (!strcmp(cluster->nodes[i].config.name, vm)) {
			*ret_node = &cluster->nodes[i];
			rc = 0;
		}
	}
	if (rc < 0)
		err_set(err, ENOENT, "cluster %s has no VM \"%s\": it has vm0 to vm%u",
			cluster->spec.name, vm, cluster->spec.vms - 1);
	pthread_mutex_unlock(&the_daemon.lock);
	return rc;
}

int node_call(struct node *node, json_t *request, const void *blob, size_t blob_len,
	      int timeout_ms, struct rpc_msg *ret_reply, struct err *err)
{
	struct link *link;
	int rc;

	pthread_mutex_lock(&the_daemon.lock);
	link = node->dead ? NULL : node->link;
	if (link)
		link_ref(link);
	pthread_mutex_unlock(&the_daemon.lock);
	if (!link)
		return err_set(err, ECONNRESET, "%s of cluster %s does not run",
			       node->config.name, node->cluster->spec.name);
	rc = link_call(link, request, blob, blob_len, deadline_in_ms(timeout_ms), ret_reply,
		       err);
	link_unref(link);
	return rc;
}

int node_ask(struct node *node, json_t *request, int timeout_ms, json_t **ret_reply,
	     struct err *err)
{
	struct rpc_msg reply;
	int rc = node_call(node, request, NULL, 0, timeout_ms, &reply, err);

	json_decref(request);
	if (rc < 0)
		return rc;
	if (ret_reply)
		*ret_reply = json_incref(reply.json);
	rpc_msg_clear(&reply);
	return 0;
}
