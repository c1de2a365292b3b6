/* SPDX-License-Identifier: BSD-3-Clause */
/* A cluster's record, cluster.json: what a new daemon must know to adopt what a killed one
 * left. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/cluster.h"
#include "daemon/members.h"

enum { RECORD_FORMAT = 1, RECORD_MAX_BYTES = 4 << 20 };

static json_t *record_encode(struct cluster *cluster)
{
	json_t *nodes = json_array(), *record;

	pthread_mutex_lock(&the_daemon.lock);
	for (unsigned int i = 0; i < cluster->spec.vms; i++) {
		const struct node *node = &cluster->nodes[i];

		json_array_append_new(nodes,
				      json_pack("{s:i,s:I,s:s,s:s,s:s}", "pid", (int)node->pid,
						"start_time", (json_int_t)node->start_time,
						"genid", node->config.genid, "served_socket",
						node->config.served.socket, "served_export",
						node->config.served.export_name));
	}
	record = json_pack("{s:i,s:o,s:s,s:s,s:o,s:s,s:i,s:I,s:o,s:O?,s:s,s:I}", "format",
			   RECORD_FORMAT, "spec", spec_to_json(&cluster->spec), "op",
			   cluster->op, "image_dir", cluster->image_dir, "machine",
			   members_machine_to_json(&cluster->machine), "why", cluster->why,
			   "net_pid", (int)cluster->net_pid, "net_start_time",
			   (json_int_t)cluster->net_start_time, "nodes", nodes, "run",
			   cluster->run, "last_checkpoint", cluster->last_checkpoint,
			   "last_checkpoint_ns", (json_int_t)cluster->last_checkpoint_ns);
	pthread_mutex_unlock(&the_daemon.lock);
	return record;
}

/* Writers do not overtake each other, so that the last one has written what is now. */
static pthread_mutex_t saving = PTHREAD_MUTEX_INITIALIZER;

static int record_write(struct cluster *cluster, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	char path[IO_PATH_MAX];
	json_t *record;
	int rc = io_mkdir_all(cluster->dir, 0700, err);

	if (rc == 0)
		rc = io_path(path, sizeof(path), err, "%s/cluster.json", cluster->dir);
	if (rc < 0)
		return rc;
	record = record_encode(cluster);
	text = record ? json_dumps(record, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
	json_decref(record);
	if (!text)
		return err_sys(err, ENOMEM, "cannot write %s", path);
	return io_replace_file(path, text, strlen(text), 0600, err);
}

int cluster_save(struct cluster *cluster, struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&saving);
	if (!cluster->forgotten)
		rc = record_write(cluster, err);
	pthread_mutex_unlock(&saving);
	return rc;
}

void cluster_forget(struct cluster *cluster)
{
	pthread_mutex_lock(&saving);
	cluster->forgotten = true;
	pthread_mutex_unlock(&saving);
}

static int nodes_decode(struct cluster *cluster, const json_t *nodes, struct err *err)
{
	int rc = 0;

	if (json_array_size(nodes) != cluster->spec.vms)
		return err_set(err, EPROTO, "it names %zu VMs, not %u", json_array_size(nodes),
			       cluster->spec.vms);
	for (unsigned int i = 0; i < cluster->spec.vms && rc == 0; i++) {
		struct node *node = &cluster->nodes[i];
		const json_t *json = json_array_get(nodes, i);
		int64_t pid = 0, start_time = 0;

		rc = rpc_get_int(json, "pid", 0, INT32_MAX, &pid, err);
		if (rc == 0)
			rc = rpc_get_int(json, "start_time", 0, INT64_MAX, &start_time, err);
		if (rc == 0)
			rc = members_get_text(json, "genid", node->config.genid,
					      sizeof(node->config.genid), err);
		if (rc == 0)
			rc = members_get_text(json, "served_socket", node->config.served.socket,
					      sizeof(node->config.served.socket), err);
		if (rc == 0)
			rc = members_get_text(json, "served_export",
					      node->config.served.export_name,
					      sizeof(node->config.served.export_name), err);
		node->pid = (pid_t)pid;
		node->start_time = (uint64_t)start_time;
	}
	return rc;
}

static int record_decode(struct cluster *cluster, const json_t *record, char *ret_op,
			 struct err *err)
{
	struct spec spec;
	int64_t format, net_pid = 0, net_start = 0;
	char image_dir[IO_PATH_MAX];
	const json_t *run = json_object_get(record, "run");
	int rc = rpc_get_int(record, "format", RECORD_FORMAT, RECORD_FORMAT, &format, err);

	if (rc == 0)
		rc = spec_from_json(json_object_get(record, "spec"), &spec, err);
	if (rc == 0)
		rc = cluster_set_spec(cluster, &spec, err);
	if (rc == 0)
		rc = members_get_text(record, "op", ret_op, CLUSTER_OP_MAX, err);
	if (rc == 0)
		rc = members_get_text(record, "image_dir", image_dir, sizeof(image_dir), err);
	if (rc == 0)
		rc = members_machine_from_json(json_object_get(record, "machine"),
					       &cluster->machine, err);
	if (rc == 0)
		rc = members_get_text(record, "why", cluster->why, sizeof(cluster->why), err);
	if (rc == 0)
		rc = rpc_get_int(record, "net_pid", 0, INT32_MAX, &net_pid, err);
	if (rc == 0)
		rc = rpc_get_int(record, "net_start_time", 0, INT64_MAX, &net_start, err);
	if (rc == 0)
		rc = nodes_decode(cluster, json_object_get(record, "nodes"), err);
	if (rc == 0)
		rc = members_get_text(record, "last_checkpoint", cluster->last_checkpoint,
				      sizeof(cluster->last_checkpoint), err);
	if (rc == 0)
		rc = rpc_get_int(record, "last_checkpoint_ns", 0, INT64_MAX,
				 &cluster->last_checkpoint_ns, err);
	if (rc < 0)
		return rc;
	cluster->net_pid = (pid_t)net_pid;
	cluster->net_start_time = (uint64_t)net_start;
	cluster->run = json_is_object(run) ? json_deep_copy(run) : NULL;
	snprintf(cluster->image_dir, sizeof(cluster->image_dir), "%s", image_dir);
	return 0;
}

int cluster_load(struct cluster *cluster, char ret_op[CLUSTER_OP_MAX], struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	char path[IO_PATH_MAX];
	json_error_t problem;
	json_t *record;
	size_t len;
	int rc = io_path(path, sizeof(path), err, "%s/cluster.json", cluster->dir);

	if (rc == 0)
		rc = io_read_file(path, RECORD_MAX_BYTES, &text, &len, err);
	if (rc < 0)
		return rc;
	record = json_loadb(text, len, JSON_REJECT_DUPLICATES, &problem);
	if (!record)
		return err_set(err, EPROTO, "%s: %s at line %d", path, problem.text,
			       problem.line);
	rc = record_decode(cluster, record, ret_op, err);
	json_decref(record);
	if (rc < 0)
		err_prefix(err, "%s", path);
	return rc;
}
