/* SPDX-License-Identifier: BSD-3-Clause */
/* Suspension of a cluster: phases of all guests' agents, and the exchange of cards. */
#include "daemon/fabric.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/rpc.h"
#include "daemon/cards.h"

/* An agent tells itself that a deadline has passed; then we do. Who cannot go back is asked
 * again. */
enum { FABRIC_GRACE_MS = 5000, AGAIN_MS = 200 };

struct fabric_work {
	struct cluster *cluster;
	const char *phase, *ckpt;
	int deadline_ms;
	json_t **replies; /* [vms], or NULL */
	const struct job_cards *jobs;
};

static int phase_one(size_t index, void *arg, struct err *err)
{
	const struct fabric_work *work = arg;
	struct node *node = &work->cluster->nodes[index];
	int rc = node_ask(node,
			  json_pack("{s:s,s:s,s:s,s:i}", "op", "phase", "phase", work->phase,
				    "ckpt", work->ckpt, "deadline_ms", work->deadline_ms),
			  work->deadline_ms + FABRIC_GRACE_MS,
			  work->replies ? &work->replies[index] : NULL, err);

	return rc < 0 ? err_prefix(err, "%s", node->config.name) : 0;
}

static int phase_all(struct fabric_work *work, const char *phase, struct err *err)
{
	work->phase = phase;
	return parallel_each(work->cluster->spec.vms, phase_one, work, err);
}

/* ---- The device that is plugged and unplugged ---- */

static int plug_one(size_t index, void *arg, struct err *err)
{
	const struct fabric_work *work = arg;
	struct vm *vm = work->cluster->nodes[index].vm;
	char device[sizeof(work->cluster->spec.device) + 64];

	spec_device(&work->cluster->spec, (unsigned int)index, device, sizeof(device));
	return vm ? vm_plug(vm, device, err)
		  : err_set(err, ESRCH, "%s does not run",
			    work->cluster->nodes[index].config.name);
}

static int unplug_one(size_t index, void *arg, struct err *err)
{
	const struct fabric_work *work = arg;
	struct vm *vm = work->cluster->nodes[index].vm;

	return vm ? vm_unplug(vm, deadline_in_ms(work->deadline_ms), err) : 0;
}

static int plug_all(struct fabric_work *work, parallel_fn one, struct err *err)
{
	return work->cluster->spec.device[0]
		       ? parallel_each(work->cluster->spec.vms, one, work, err)
		       : 0;
}

int fabric_drain(struct cluster *cluster, const char *ckpt, int deadline_ms, struct err *err)
{
	struct fabric_work work = {
		.cluster = cluster, .ckpt = ckpt, .deadline_ms = deadline_ms};

	return phase_all(&work, "drain", err);
}

static int replies_create(struct fabric_work *work, struct err *err)
{
	work->replies = calloc(work->cluster->spec.vms, sizeof(*work->replies));
	return work->replies ? 0
			     : err_set(err, ENOMEM, "no memory for the replies of %u VMs",
				       work->cluster->spec.vms);
}

static void replies_free(struct fabric_work *work)
{
	for (unsigned int i = 0; i < work->cluster->spec.vms; i++)
		json_decref(work->replies[i]);
	free(work->replies);
	work->replies = NULL;
}

static json_t *release_report(const struct fabric_work *work)
{
	json_t *report = json_array();

	for (unsigned int i = 0; i < work->cluster->spec.vms; i++) {
		const json_t *reply = work->replies[i];
		const char *resources = json_string_value(json_object_get(reply, "resources"));

		json_array_append_new(
			report,
			json_pack("{s:s,s:I,s:s}", "vm", work->cluster->nodes[i].config.name,
				  "processes",
				  json_integer_value(json_object_get(reply, "processes")),
				  "resources", resources ? resources : ""));
	}
	return report;
}

int fabric_release(struct cluster *cluster, const char *ckpt, int deadline_ms,
		   json_t **ret_report, struct err *err)
{
	struct fabric_work work = {
		.cluster = cluster, .ckpt = ckpt, .deadline_ms = deadline_ms};
	int rc = replies_create(&work, err);

	if (rc < 0)
		return rc;
	rc = phase_all(&work, "release", err);
	if (rc == 0)
		rc = plug_all(&work, unplug_one, err);
	if (rc == 0)
		*ret_report = release_report(&work);
	replies_free(&work);
	return rc;
}

/* ---- Cards ---- */

static int cards_collect(const struct fabric_work *work, struct job_cards **jobs,
			 struct err *err)
{
	int rc = 0;

	for (unsigned int i = 0; i < work->cluster->spec.vms && rc == 0; i++) {
		const json_t *cards = json_object_get(work->replies[i], "cards"), *card;
		size_t k;

		json_array_foreach(cards, k, card)
		{
			rc = cards_take(jobs, card, err);
			if (rc < 0) {
				err_prefix(err, "%s", work->cluster->nodes[i].config.name);
				break;
			}
		}
	}
	return rc;
}

static int cards_send_job(const struct fabric_work *work, struct node *node,
			  const struct job_cards *job, char *blob, struct err *err)
{
	size_t first = 0;
	int rc = 0;

	while (first < job->ranks && rc == 0) {
		size_t len, next = cards_pack(job, first, blob, RPC_AGENT_BLOB_MAX, &len);
		json_t *request =
			json_pack("{s:s,s:s,s:I,s:I}", "op", "cards", "job", job->job, "ranks",
				  (json_int_t)job->ranks, "first", (json_int_t)first);
		struct rpc_msg reply;

		rc = node_call(node, request, blob, len, work->deadline_ms, &reply, err);
		json_decref(request);
		if (rc == 0)
			rpc_msg_clear(&reply);
		first = next;
	}
	return rc;
}

static int cards_send_one(size_t index, void *arg, struct err *err)
{
	const struct fabric_work *work = arg;
	struct node *node = &work->cluster->nodes[index];
	char *blob = malloc(RPC_AGENT_BLOB_MAX);
	int rc = blob ? 0 : err_set(err, ENOMEM, "no memory for cards");

	for (const struct job_cards *job = work->jobs; job && rc == 0; job = job->next)
		rc = cards_send_job(work, node, job, blob, err);
	free(blob);
	return rc < 0 ? err_prefix(err, "%s", node->config.name) : 0;
}

static int reconnect(struct fabric_work *work, struct err *err)
{
	struct job_cards *jobs = NULL;
	int rc = plug_all(work, plug_one, err);

	if (rc == 0)
		rc = phase_all(work, "reopen", err);
	if (rc == 0)
		rc = cards_collect(work, &jobs, err);
	work->jobs = jobs;
	if (rc == 0 && jobs)
		rc = parallel_each(work->cluster->spec.vms, cards_send_one, work, err);
	cards_free(jobs);
	replies_free(work);
	return rc < 0 ? rc : phase_all(work, "connect", err);
}

int fabric_reopen(struct cluster *cluster, const char *ckpt, int deadline_ms, struct err *err)
{
	struct fabric_work work = {
		.cluster = cluster, .ckpt = ckpt, .deadline_ms = deadline_ms};

	int rc = replies_create(&work, err);

	return rc < 0 ? rc : reconnect(&work, err);
}

/* ---- Giving up ---- */

static int state_one(size_t index, void *arg, struct err *err)
{
	const struct fabric_work *work = arg;

	return node_ask(&work->cluster->nodes[index], json_pack("{s:s}", "op", "ping"),
			work->deadline_ms, &work->replies[index], err);
}

/* What the guests are to do so that all are open again. */
enum way_back { NOTHING, OPEN_GATES, RECONNECT };

static enum way_back way_back_of(const json_t *reply)
{
	const char *state = json_string_value(json_object_get(reply, "state"));

	if (!state || strcmp(state, "open") == 0)
		return NOTHING;
	return strcmp(state, "drained") == 0 ? OPEN_GATES : RECONNECT;
}

/* An error if an agent does not answer; the others count all the same. */
static int way_back_find(struct fabric_work *work, enum way_back *ret_way, struct err *err)
{
	int rc = replies_create(work, err);

	if (rc < 0)
		return rc;
	rc = parallel_each(work->cluster->spec.vms, state_one, work, err);
	for (unsigned int i = 0; i < work->cluster->spec.vms; i++) {
		enum way_back way = way_back_of(work->replies[i]);

		if (way > *ret_way)
			*ret_way = way;
	}
	replies_free(work);
	return rc;
}

static int go_back(struct fabric_work *work, enum way_back way, struct err *err)
{
	return way == RECONNECT
		       ? fabric_reopen(work->cluster, work->ckpt, work->deadline_ms, err)
		       : phase_all(work, "abort", err);
}

int fabric_settle(struct cluster *cluster, const char *ckpt, int deadline_ms, struct err *err)
{
	struct fabric_work work = {
		.cluster = cluster, .ckpt = ckpt, .deadline_ms = deadline_ms};
	enum way_back way = NOTHING;
	int rc = way_back_find(&work, &way, err);

	return rc < 0 || way == NOTHING ? rc : go_back(&work, way, err);
}

/* A guest may still be in the middle of a phase that a former daemon has begun, or have a new
 * agent to which the processes have not come yet: it is asked again. */
int fabric_abort(struct cluster *cluster, const char *ckpt, int deadline_ms, struct err *err)
{
	struct fabric_work work = {
		.cluster = cluster, .ckpt = ckpt, .deadline_ms = deadline_ms};
	int64_t deadline_ns = deadline_in_ms(deadline_ms);

	for (;;) {
		enum way_back way = OPEN_GATES;
		struct err why = ERR_INIT;
		int rc;

		if (way_back_find(&work, &way, &why) < 0)
			log_warn("ckpt=%s %s", ckpt, why.msg);
		rc = go_back(&work, way, err);
		/* With a VM lost the job is lost, too: restart will bring all of it back. */
		if (rc == 0 || cluster_alive(cluster) < cluster->spec.vms ||
		    deadline_left_ms(deadline_ns) == 0)
			return rc;
		nanosleep(&(struct timespec){.tv_nsec = AGAIN_MS * NS_PER_MS}, NULL);
	}
}
