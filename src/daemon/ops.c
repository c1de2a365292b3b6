/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of operations, and those that are only a call or two. */
#include "daemon/ops.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/checkpoint.h"
#include "daemon/cluster.h"
#include "daemon/loop.h"

enum { AGENT_CALL_MS = 600000 };

static const struct {
	const char *name;
	daemon_op_fn fn;
} ops[] = {
	{"hello", op_hello},
	{"cluster.up", op_cluster_up},
	{"cluster.down", op_cluster_down},
	{"cluster.status", op_cluster_status},
	{"agent", op_agent},
	{"run.start", op_run_start},
	{"run.end", op_run_end},
	{"checkpoint", op_checkpoint},
	{"restart", op_restart},
	{"ckpt.list", op_ckpt_list},
	{"ckpt.show", op_ckpt_show},
	{"ckpt.verify", op_ckpt_verify},
	{"ckpt.rm", op_ckpt_rm},
	{"ckpt.export", op_ckpt_export},
	{"ckpt.import", op_ckpt_import},
	{"store.prune", op_store_prune},
	{"store.gc", op_store_gc},
	{"store.stats", op_store_stats},
	{"catalog.rebuild", op_catalog_rebuild},
	{"shutdown", op_shutdown},
};

daemon_op_fn daemon_op_find(const char *name)
{
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (!strcmp(ops[i].name, name))
			return ops[i].fn;
	return NULL;
}

int op_hello(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
	     struct progress *progress, struct err *err)
{
	int64_t version;
	int rc = rpc_get_int(request->json, "version", RPC_VERSION, RPC_VERSION, &version, err);

	(void)ret_blob;
	(void)progress;
	if (rc < 0)
		return rc;
	json_object_set_new(reply, "version", json_integer(RPC_VERSION));
	json_object_set_new(reply, "stasis_version", json_string(STASIS_VERSION));
	json_object_set_new(reply, "pid", json_integer(getpid()));
	json_object_set_new(reply, "run_dir", json_string(the_daemon.run_dir));
	json_object_set_new(reply, "state_dir", json_string(the_daemon.state_dir));
	json_object_set_new(reply, "store_dir", json_string(the_daemon.store_dir));
	return 0;
}

int op_cluster_status(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		      struct progress *progress, struct err *err)
{
	struct cluster *found[256];
	const char *name = NULL;
	json_t *clusters = json_array();
	size_t count = 0;
	int rc = rpc_opt_str(request->json, "cluster", &name, err);

	(void)ret_blob;
	(void)progress;
	if (rc == 0 && name) {
		rc = cluster_get(name, &found[0], err);
		count = rc == 0;
	} else if (rc == 0) {
		pthread_mutex_lock(&the_daemon.lock);
		for (struct cluster *cluster = the_daemon.clusters;
		     cluster && count < sizeof(found) / sizeof(found[0]);
		     cluster = cluster->next) {
			if (!cluster_is_users(cluster))
				continue;
			cluster->refs++;
			found[count++] = cluster;
		}
		pthread_mutex_unlock(&the_daemon.lock);
	}
	for (size_t i = 0; i < count; i++) {
		json_array_append_new(clusters, cluster_status(found[i]));
		cluster_put(found[i]);
	}
	json_object_set_new(reply, "clusters", clusters);
	return rc;
}

int op_agent(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
	     struct progress *progress, struct err *err)
{
	const char *name = NULL, *vm;
	json_t *inner = json_object_get(request->json, "request");
	struct cluster *cluster;
	struct node *node;
	struct rpc_msg answer;
	int rc = rpc_opt_str(request->json, "cluster", &name, err);

	(void)progress;
	if (rc == 0)
		rc = rpc_get_str(request->json, "vm", &vm, err);
	if (rc == 0 && !json_is_object(inner))
		rc = err_set(err, EPROTO, "member \"request\" must be an object");
	if (rc == 0)
		rc = cluster_get(name, &cluster, err);
	if (rc < 0)
		return rc;
	rc = cluster_node(cluster, vm, &node, err);
	if (rc == 0)
		rc = node_call(node, inner, request->blob, request->blob_len, AGENT_CALL_MS,
			       &answer, err);
	cluster_put(cluster);
	if (rc < 0)
		return rc;
	json_object_del(answer.json, "id");
	json_object_update(reply, answer.json);
	*ret_blob = answer;
	return 0;
}

int op_checkpoint(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		  struct progress *progress, struct err *err)
{
	const char *name = NULL, *tag = NULL;
	json_t *description;
	char id[STORE_ID_MAX];
	struct cluster *cluster;
	int rc = rpc_opt_str(request->json, "cluster", &name, err);

	(void)ret_blob;
	if (rc == 0)
		rc = rpc_opt_str(request->json, "tag", &tag, err);
	if (rc == 0 && tag && !spec_name_valid(tag))
		rc = err_set(
			err, EINVAL,
			"\"%.80s\" is no tag: use letters, digits, '.', '_' and '-', at most 63",
			tag);
	if (rc == 0)
		rc = cluster_get(name, &cluster, err);
	if (rc < 0)
		return rc;
	rc = checkpoint_take(cluster, tag, progress, id, err);
	cluster_put(cluster);
	if (rc == 0)
		rc = checkpoint_describe(id, &description, err);
	if (rc == 0)
		json_object_set_new(reply, "checkpoint", description);
	return rc;
}

int op_shutdown(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		struct progress *progress, struct err *err)
{
	(void)request;
	(void)reply;
	(void)ret_blob;
	(void)progress;
	(void)err;
	server_shutdown();
	return 0;
}
