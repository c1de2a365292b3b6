/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs: a job that the daemon knows of and checkpoints at an interval.
 *
 * The record of a run lives in the cluster's record and in each manifest, so that it goes on
 * after a daemon's death and after a restart. Checkpoints taken by the interval are tagged
 * "auto"; the newest few are kept, unless the cluster's description says how many.
 */
#include "daemon/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/checkpoint.h"
#include "daemon/loop.h"
#include "daemon/ops.h"
#include "daemon/retention.h"

enum { RUN_TICK_MS = 200, RUN_AGENT_MS = 10000, RUN_KEEP = 3 };

static const char run_tag[] = "auto";

/* Whether the run's job has ended. */
static bool run_ended(struct cluster *cluster, const char *job)
{
	json_t *reply = NULL;
	bool ended = false;
	struct err err = ERR_INIT;

	if (node_ask(&cluster->nodes[0],
		     json_pack("{s:s,s:s,s:i,s:i,s:i,s:i}", "op", "job.poll", "job", job, "out",
			       0, "err", 0, "max", 0, "wait_ms", 0),
		     RUN_AGENT_MS, &reply, &err) == 0) {
		const char *state = json_string_value(json_object_get(reply, "state"));

		ended = state && !strcmp(state, "exited");
	} else if (err.code == ENOENT) {
		ended = true;
	}
	json_decref(reply);
	return ended;
}

/* Remove all but the newest of the checkpoints that the interval took. */
static void run_prune(const char *cluster)
{
	CLEANUP_FREE struct store_entry *entries = NULL;
	struct err err = ERR_INIT;
	size_t count, kept = 0, removed = 0;

	if (store_list(the_daemon.store, cluster, &entries, &count, &err) < 0) {
		log_warn("cluster=%s %s", cluster, err.msg);
		return;
	}
	for (size_t i = count; i-- > 0;) {
		if (strcmp(entries[i].tag, run_tag) != 0 || entries[i].damaged ||
		    kept++ < RUN_KEEP)
			continue;
		if (store_remove(the_daemon.store, entries[i].id, &err) < 0)
			log_warn("cluster=%s %s", cluster, err.msg);
		else
			removed++;
	}
	if (removed > 0)
		retention_collect();
}

/* On a thread: take a checkpoint of the run unless its job has ended. */
static void run_checkpoint(void *arg)
{
	struct cluster *cluster = arg;
	struct progress nobody = {0};
	struct err err = ERR_INIT;
	CLEANUP_FREE char *job = NULL;
	char id[STORE_ID_MAX];
	const char *name;

	pthread_mutex_lock(&the_daemon.lock);
	name = json_string_value(json_object_get(cluster->run, "job"));
	job = name ? strdup(name) : NULL;
	cluster->unattended = true;
	pthread_mutex_unlock(&the_daemon.lock);
	if (job && run_ended(cluster, job)) {
		pthread_mutex_lock(&the_daemon.lock);
		if (cluster->run)
			json_object_set_new(cluster->run, "checkpoint_every_ms",
					    json_integer(0));
		pthread_mutex_unlock(&the_daemon.lock);
	} else if (job) {
		if (checkpoint_take(cluster, run_tag, &nobody, id, &err) < 0)
			log_warn("cluster=%s checkpoint by interval: %s", cluster->spec.name,
				 err.msg);
		else if (cluster->spec.checkpoint_keep == 0)
			run_prune(cluster->spec.name);
	}
	pthread_mutex_lock(&the_daemon.lock);
	cluster->unattended = false;
	cluster->next_checkpoint_ns = 0;
	pthread_mutex_unlock(&the_daemon.lock);
	cluster_put(cluster);
}

/* The interval counts from the end of the last checkpoint or the start of the run. Daemon lock
 * held. */
static bool run_due(struct cluster *cluster)
{
	int64_t every_ms =
		json_integer_value(json_object_get(cluster->run, "checkpoint_every_ms"));

	if (every_ms <= 0 || cluster->op[0] || cluster->removed)
		return false;
	if (cluster->next_checkpoint_ns == 0)
		cluster->next_checkpoint_ns = deadline_in_ms(every_ms);
	for (unsigned int i = 0; i < cluster->spec.vms; i++)
		if (!cluster->nodes[i].vm || cluster->nodes[i].dead)
			return false;
	return clock_mono_ns() >= cluster->next_checkpoint_ns;
}

static void run_tick(uv_timer_t *timer)
{
	struct cluster *due = NULL;
	struct err err = ERR_INIT;

	(void)timer;
	pthread_mutex_lock(&the_daemon.lock);
	for (struct cluster *cluster = the_daemon.clusters; cluster && !due;
	     cluster = cluster->next) {
		if (!run_due(cluster))
			continue;
		due = cluster;
		due->refs++;
		due->next_checkpoint_ns = INT64_MAX;
	}
	pthread_mutex_unlock(&the_daemon.lock);
	if (due && loop_thread(run_checkpoint, due, &err) < 0) {
		log_warn("cluster=%s %s", due->spec.name, err.msg);
		pthread_mutex_lock(&the_daemon.lock);
		due->next_checkpoint_ns = 0;
		pthread_mutex_unlock(&the_daemon.lock);
		cluster_put(due);
	}
}

void run_timer_start(void)
{
	static uv_timer_t timer;

	uv_timer_init(loop_uv(), &timer);
	uv_timer_start(&timer, run_tick, RUN_TICK_MS, RUN_TICK_MS);
}

/* The record of a run out of a request; the members that matter are checked. */
static int run_record(const json_t *request, json_t **ret_run, struct err *err)
{
	int64_t ranks, every_ms;
	const char *text;
	json_t *argv = json_object_get(request, "argv"), *env = json_object_get(request, "env");
	int rc = rpc_get_str(request, "job", &text, err);

	if (rc == 0)
		rc = rpc_get_str(request, "guest_dir", &text, err);
	if (rc == 0)
		rc = rpc_get_str(request, "work_dir", &text, err);
	if (rc == 0)
		rc = rpc_get_int(request, "ranks", 1, 1 << 20, &ranks, err);
	if (rc == 0)
		rc = rpc_get_int(request, "checkpoint_every_ms", 0, INT64_MAX / NS_PER_S,
				 &every_ms, err);
	if (rc == 0 && (!json_is_array(argv) || json_array_size(argv) == 0 ||
			(env && !json_is_object(env))))
		rc = err_set(err, EPROTO, "member \"argv\" must be a list, \"env\" an object");
	if (rc < 0)
		return rc;
	*ret_run = json_pack("{s:O,s:O,s:O,s:O,s:I,s:I,s:I}", "job",
			     json_object_get(request, "job"), "argv", argv, "guest_dir",
			     json_object_get(request, "guest_dir"), "work_dir",
			     json_object_get(request, "work_dir"), "ranks", (json_int_t)ranks,
			     "checkpoint_every_ms", (json_int_t)every_ms, "started_ns",
			     (json_int_t)clock_real_ns());
	return *ret_run ? 0 : err_sys(err, ENOMEM, "run");
}

static int run_get_cluster(const json_t *request, struct cluster **ret_cluster, struct err *err)
{
	const char *name = NULL;
	int rc = rpc_opt_str(request, "cluster", &name, err);

	return rc < 0 ? rc : cluster_get(name, ret_cluster, err);
}

/* Put the run in the cluster's record. A run that is there must be the same one. */
static int run_set(struct cluster *cluster, json_t *run, bool *ret_new, struct err *err)
{
	int rc = 0;

	*ret_new = false;

	pthread_mutex_lock(&the_daemon.lock);
	if (cluster->run &&
	    !json_equal(json_object_get(cluster->run, "job"), json_object_get(run, "job"))) {
		rc = err_set(err, EBUSY,
			     "cluster %s has a run already: follow it (stasis attach %s)",
			     cluster->spec.name, cluster->spec.name);
	} else if (!cluster->run) {
		cluster->run = json_incref(run);
		*ret_new = true;
		cluster->next_checkpoint_ns = 0;
	}
	pthread_mutex_unlock(&the_daemon.lock);
	return rc < 0 ? rc : cluster_save(cluster, err);
}

static void run_forget(struct cluster *cluster)
{
	pthread_mutex_lock(&the_daemon.lock);
	json_decref(cluster->run);
	cluster->run = NULL;
	pthread_mutex_unlock(&the_daemon.lock);
}

int op_run_start(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		 struct progress *progress, struct err *err)
{
	const json_t *json = request->json;
	struct cluster *cluster;
	json_t *run, *env = json_object_get(json, "env");
	bool is_new = false;
	int rc = run_record(json, &run, err);

	(void)ret_blob;
	(void)progress;
	if (rc < 0)
		return rc;
	rc = run_get_cluster(json, &cluster, err);
	if (rc < 0)
		goto out;
	rc = run_set(cluster, run, &is_new, err);
	if (rc == 0) {
		rc = node_ask(&cluster->nodes[0],
			      json_pack("{s:s,s:O,s:O,s:o,s:O,s:b}", "op", "job.start", "job",
					json_object_get(json, "job"), "argv",
					json_object_get(json, "argv"), "env",
					env ? json_incref(env) : json_object(), "cwd",
					json_object_get(json, "guest_dir"), "stdin", 0),
			      RUN_AGENT_MS, NULL, err);
		if (rc < 0 && is_new)
			run_forget(cluster);
		else if (rc == 0)
			json_object_set_new(reply, "job",
					    json_incref(json_object_get(json, "job")));
	}
	cluster_put(cluster);
out:
	json_decref(run);
	return rc;
}

int op_run_end(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
	       struct progress *progress, struct err *err)
{
	struct cluster *cluster;
	json_t *job = NULL;
	int rc = run_get_cluster(request->json, &cluster, err);

	(void)reply;
	(void)ret_blob;
	(void)progress;
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&the_daemon.lock);
	job = json_incref(json_object_get(cluster->run, "job"));
	pthread_mutex_unlock(&the_daemon.lock);
	run_forget(cluster);
	if (job &&
	    node_ask(&cluster->nodes[0], json_pack("{s:s,s:O}", "op", "job.remove", "job", job),
		     RUN_AGENT_MS, NULL, NULL) < 0)
		log_debug("cluster=%s the run's job could not be removed", cluster->spec.name);
	json_decref(job);
	rc = cluster_save(cluster, err);
	cluster_put(cluster);
	return rc;
}
