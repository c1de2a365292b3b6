/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The proof of a checkpoint: it is started beside its cluster, asked, and removed.
 *
 * It is a cluster like any other while it lasts, but its operation is CLUSTER_OP_VERIFY from
 * the beginning to the end: it is not counted where a cluster is not named, and a daemon that
 * finds its record removes it. Processes of the job run on in it for as long as the agents take
 * to answer; with libarmci they stay suspended, since nobody tells them to reopen.
 */
#include "daemon/prove.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/parallel.h"
#include "daemon/cluster.h"
#include "daemon/manifest.h"
#include "daemon/restart.h"

enum { PROVE_AGENT_MS = 60000 };

/* What a VM writes, syncs and renames on its own disk, to show that it can. */
static const char prove_path[] = "/.stasis-verify", prove_text[] = "verified\n";

static int prove_ask(size_t index, void *arg, struct err *err)
{
	struct node *node = &((struct cluster *)arg)->nodes[index];
	json_t *write = json_pack("{s:s,s:s,s:i,s:i,s:b}", "op", "fs.write", "path", prove_path,
				  "offset", 0, "mode", 0600, "last", 1);
	struct rpc_msg reply = {0};
	int rc = node_ask(node, json_pack("{s:s}", "op", "ping"), PROVE_AGENT_MS, NULL, err);

	if (rc == 0)
		rc = node_call(node, write, prove_text, strlen(prove_text), PROVE_AGENT_MS,
			       &reply, err);
	rpc_msg_clear(&reply);
	json_decref(write);
	return rc < 0 ? err_prefix(err, "%s", node->config.name) : 0;
}

/* What ties the checkpoint to its cluster, its run and this host's devices. */
static int prove_isolate(struct manifest_restore *from, struct err *err)
{
	struct spec *spec = &from->spec;
	uint32_t number;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return err_sys(err, errno, "getrandom");
	snprintf(spec->name, sizeof(spec->name), "verify-%08x", number);
	spec->device[0] = '\0';
	spec->checkpoint_every_ms = 0;
	spec->checkpoint_keep = 0;
	json_decref(from->run);
	from->run = NULL;
	return 0;
}

/* The cluster's operation is held; it is gone afterwards. */
static int prove_cluster(const char *id, struct manifest_restore *from, struct cluster *cluster,
			 struct progress *progress, struct err *err)
{
	unsigned int vms = from->spec.vms;
	struct err left = ERR_INIT;
	int rc = restart_isolated(id, from, cluster, progress, err);

	if (rc == 0) {
		cluster_phase(cluster, "ask");
		progress_send(progress, "ask", 0, vms, "vms", "asking the agents");
		rc = parallel_each(vms, prove_ask, cluster, err);
	}
	if (rc < 0)
		err_prefix(err, "checkpoint %s could not be proven", id);
	if (cluster_remove(cluster, &left) < 0) {
		log_error("cluster=%s cannot be removed whole: %s", cluster->spec.name,
			  left.msg);
		if (rc == 0) {
			rc = -left.code;
			if (err)
				*err = left;
		}
	}
	return rc;
}

static int prove_start(const char *id, struct manifest_restore *from, struct progress *progress,
		       struct err *err)
{
	struct cluster *cluster;
	int rc = prove_isolate(from, err);

	if (rc == 0)
		rc = cluster_get_or_add(&from->spec, &cluster, err);
	if (rc < 0)
		return rc;
	rc = cluster_begin(cluster, CLUSTER_OP_VERIFY, err);
	if (rc == 0 && cluster->dir_exists) {
		cluster_end(cluster, NULL);
		rc = err_set(err, EEXIST, "a cluster has the name %s by chance; try again",
			     from->spec.name);
	} else if (rc == 0) {
		rc = prove_cluster(id, from, cluster, progress, err);
	}
	cluster_put(cluster);
	return rc;
}

int prove_checkpoint(const char *id, struct progress *progress, unsigned int *ret_vms,
		     struct err *err)
{
	CLEANUP_FREE struct manifest_restore *from = calloc(1, sizeof(*from));
	json_t *manifest = NULL;
	int rc;

	if (!from)
		return err_sys(err, ENOMEM, "verify");
	rc = store_manifest(the_daemon.store, id, &manifest, err);
	if (rc == 0)
		rc = manifest_restore(manifest, from, err);
	json_decref(manifest);
	if (rc == 0)
		rc = prove_start(id, from, progress, err);
	*ret_vms = from->spec.vms;
	json_decref(from->run);
	return rc;
}
