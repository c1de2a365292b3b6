/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on the store and its checkpoints: "ckpt.*", "store.*", "catalog.rebuild". */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/spec.h"
#include "daemon/checkpoint.h"
#include "daemon/ops.h"
#include "daemon/prove.h"
#include "daemon/retention.h"

enum { PRUNE_KEEP_MAX = 1000000, PRUNE_TAGS_MAX = 64 };

/* Work of the store, told to the client as it proceeds. */
struct store_job {
	struct progress *progress;
	const char *phase;
	uint64_t total; /* 0: not known */
	atomic_uint_fast64_t done;
};

static void job_progress(uint64_t bytes, void *arg)
{
	struct store_job *job = arg;
	uint64_t done = atomic_fetch_add(&job->done, bytes) + bytes;

	progress_send(job->progress, job->phase, done, job->total, "bytes", NULL);
}

static struct store_work job_work(struct store_job *job)
{
	return (struct store_work){.progress = job_progress, .progress_arg = job};
}

static uint64_t logical_bytes(const json_t *object, const char *const *streams)
{
	uint64_t sum = 0;

	for (; *streams; streams++)
		sum += (uint64_t)json_integer_value(
			json_object_get(json_object_get(object, *streams), "logical_bytes"));
	return sum;
}

/* Of all streams that the checkpoint's manifest names. */
static int checkpoint_bytes(const char *id, uint64_t *ret_bytes, struct err *err)
{
	static const char *const of_vm[] = {"ram", "state", "disk", NULL};
	static const char *const of_image[] = {"kernel", "initrd", "disk", NULL};
	json_t *manifest, *vm;
	size_t i;
	int rc = store_manifest(the_daemon.store, id, &manifest, err);

	if (rc < 0)
		return rc;
	*ret_bytes = logical_bytes(json_object_get(manifest, "images"), of_image);
	json_array_foreach(json_object_get(manifest, "vms"), i, vm)
	{
		*ret_bytes += logical_bytes(vm, of_vm);
	}
	json_decref(manifest);
	return 0;
}

static json_t *entry_json(const struct store_entry *entry)
{
	return json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:i,s:b}", "id", entry->id, "cluster",
			 entry->cluster, "tag", entry->tag, "created_ns",
			 (json_int_t)entry->created_ns, "logical_bytes",
			 (json_int_t)entry->logical_bytes, "bytes", (json_int_t)entry->bytes,
			 "pause_ns", (json_int_t)entry->pause_ns, "vms", (int)entry->vms,
			 "damaged", (int)entry->damaged);
}

int op_ckpt_list(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		 struct progress *progress, struct err *err)
{
	CLEANUP_FREE struct store_entry *entries = NULL;
	const char *name = NULL;
	json_t *list;
	size_t count;
	int rc = rpc_opt_str(request->json, "cluster", &name, err);

	(void)ret_blob;
	(void)progress;
	if (rc == 0)
		rc = store_list(the_daemon.store, name, &entries, &count, err);
	if (rc < 0)
		return rc;
	list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, entry_json(&entries[i]));
	json_object_set_new(reply, "checkpoints", list);
	return 0;
}

int op_ckpt_show(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		 struct progress *progress, struct err *err)
{
	json_t *description;
	const char *id;
	int rc = rpc_get_str(request->json, "checkpoint", &id, err);

	(void)ret_blob;
	(void)progress;
	if (rc == 0)
		rc = checkpoint_describe(id, &description, err);
	if (rc < 0)
		return rc;
	json_object_update(reply, description);
	json_decref(description);
	return 0;
}

static int verify_by_restore(const char *id, json_t *reply, struct progress *progress,
			     struct err *err)
{
	int64_t begin_ns = clock_mono_ns();
	unsigned int vms;
	int rc = prove_checkpoint(id, progress, &vms, err);

	if (rc < 0)
		return rc;
	json_object_set_new(reply, "restored",
			    json_pack("{s:i,s:f}", "vms", (int)vms, "seconds",
				      (double)(clock_mono_ns() - begin_ns) / (double)NS_PER_S));
	return 0;
}

int op_ckpt_verify(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		   struct progress *progress, struct err *err)
{
	struct store_job job = {.progress = progress, .phase = "verify"};
	const struct store_work work = job_work(&job);
	bool quick = false, restore = false;
	const char *id;
	int rc = rpc_get_str(request->json, "checkpoint", &id, err);

	(void)ret_blob;
	if (rc == 0)
		rc = rpc_opt_bool(request->json, "quick", &quick, err);
	if (rc == 0)
		rc = rpc_opt_bool(request->json, "restore", &restore, err);
	if (rc < 0)
		return rc;
	/* A manifest that cannot be read is store_verify()'s to tell. */
	if (!quick && checkpoint_bytes(id, &job.total, NULL) < 0)
		job.total = 0;
	rc = store_verify(the_daemon.store, id, quick, &work, err);
	if (rc == 0)
		json_object_set_new(reply, "bytes", json_integer((json_int_t)job.done));
	if (rc == 0 && restore)
		rc = verify_by_restore(id, reply, progress, err);
	return rc;
}

int op_ckpt_rm(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
	       struct progress *progress, struct err *err)
{
	const char *id;
	int rc = rpc_get_str(request->json, "checkpoint", &id, err);

	(void)reply;
	(void)ret_blob;
	(void)progress;
	if (rc == 0)
		rc = store_remove(the_daemon.store, id, err);
	if (rc == 0)
		retention_collect();
	return rc;
}

/* The client's end of an export or import. Opening does not wait for the other side, which is
 * there already or has gone. */
static int client_file_open(const json_t *request, int flags, int *ret_fd, struct err *err)
{
	const char *path;
	int rc = rpc_get_str(request, "path", &path, err), fd, now;

	if (rc < 0)
		return rc;
	fd = open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_sys(err, errno,
			       "stasisd cannot open %.200s of the process that asked, which "
			       "must run on this host as the same user",
			       path);
	now = fcntl(fd, F_GETFL);
	if (now < 0 || fcntl(fd, F_SETFL, now & ~O_NONBLOCK) < 0) {
		rc = err_sys(err, errno, "fcntl of %.200s", path);
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

int op_ckpt_export(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		   struct progress *progress, struct err *err)
{
	struct store_job job = {.progress = progress, .phase = "export"};
	const struct store_work work = job_work(&job);
	CLEANUP_CLOSE int fd = -1;
	const char *id;
	int rc = rpc_get_str(request->json, "checkpoint", &id, err);

	(void)reply;
	(void)ret_blob;
	if (rc == 0)
		rc = checkpoint_bytes(id, &job.total, err);
	if (rc == 0)
		rc = client_file_open(request->json, O_WRONLY, &fd, err);
	return rc < 0 ? rc : store_export(the_daemon.store, id, fd, &work, err);
}

int op_ckpt_import(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		   struct progress *progress, struct err *err)
{
	struct store_job job = {.progress = progress, .phase = "import"};
	const struct store_work work = job_work(&job);
	CLEANUP_CLOSE int fd = -1;
	char id[STORE_ID_MAX];
	int rc = client_file_open(request->json, O_RDONLY, &fd, err);

	(void)ret_blob;
	if (rc == 0)
		rc = store_import(the_daemon.store, fd, &work, id, err);
	if (rc == 0)
		json_object_set_new(reply, "checkpoint", json_string(id));
	return rc;
}

int op_catalog_rebuild(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		       struct progress *progress, struct err *err)
{
	CLEANUP_FREE struct store_entry *entries = NULL;
	size_t count;
	int rc = store_rebuild_catalog(the_daemon.store, err);

	(void)request;
	(void)ret_blob;
	(void)progress;
	if (rc == 0)
		rc = store_list(the_daemon.store, NULL, &entries, &count, err);
	if (rc < 0)
		return rc;
	json_object_set_new(reply, "checkpoints", json_integer((json_int_t)count));
	return 0;
}

static json_t *report_json(const struct store_gc_report *report)
{
	return json_pack(
		"{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "packs", (json_int_t)report->packs,
		"condemned", (json_int_t)report->condemned, "deleted",
		(json_int_t)report->deleted, "rewritten", (json_int_t)report->rewritten,
		"live_bytes", (json_int_t)report->live_bytes, "freed_bytes",
		(json_int_t)report->freed_bytes, "waiting", (json_int_t)report->waiting);
}

static int collect_now(struct progress *progress, json_t **ret_report, struct err *err)
{
	struct store_job job = {.progress = progress, .phase = "collect"};
	const struct store_work work = job_work(&job);
	struct store_gc_report report;
	int rc;

	progress_send(progress, "collect", 0, 0, "bytes", NULL);
	rc = store_gc(the_daemon.store, &work, &report, err);
	if (rc == 0)
		*ret_report = report_json(&report);
	return rc;
}

/* The tags of a request, borrowed from it. */
static int prune_tags(const json_t *list, const char *tags[PRUNE_TAGS_MAX], size_t *ret_count,
		      struct err *err)
{
	const json_t *tag;
	size_t i;

	if (list && !json_is_array(list))
		return err_set(err, EPROTO, "member \"keep_tags\" must be a list");
	if (json_array_size(list) > PRUNE_TAGS_MAX)
		return err_set(err, EINVAL, "more than %d tags are to be kept", PRUNE_TAGS_MAX);
	json_array_foreach(list, i, tag)
	{
		if (!json_is_string(tag) || !spec_name_valid(json_string_value(tag)))
			return err_set(err, EINVAL, "number %zu of \"keep_tags\" is no tag",
				       i + 1);
		tags[i] = json_string_value(tag);
	}
	*ret_count = i;
	return 0;
}

static int prune_rules(const json_t *request, const char *tags[PRUNE_TAGS_MAX],
		       struct store_retention *ret_rules, struct err *err)
{
	struct store_retention rules = {.keep_tags = tags};
	int64_t keep = 0, within_ms = 0;
	int rc = rpc_opt_str(request, "cluster", &rules.cluster, err);

	if (rc == 0)
		rc = rpc_opt_int(request, "keep", 0, PRUNE_KEEP_MAX, &keep, err);
	if (rc == 0)
		rc = rpc_opt_int(request, "keep_within_ms", 0, INT64_MAX / NS_PER_MS,
				 &within_ms, err);
	if (rc == 0)
		rc = rpc_opt_bool(request, "dry_run", &rules.dry_run, err);
	if (rc == 0)
		rc = prune_tags(json_object_get(request, "keep_tags"), tags,
				&rules.keep_tag_count, err);
	if (rc < 0)
		return rc;
	if (keep == 0 && within_ms == 0 && rules.keep_tag_count == 0)
		return err_set(
			err, EINVAL,
			"no rule says what is kept: a number, an age or a tag is needed");
	rules.keep = (unsigned int)keep;
	rules.keep_within_ns = within_ms * NS_PER_MS;
	*ret_rules = rules;
	return 0;
}

int op_store_prune(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		   struct progress *progress, struct err *err)
{
	const char *tags[PRUNE_TAGS_MAX];
	CLEANUP_FREE store_id *ids = NULL;
	struct store_retention rules;
	json_t *removed, *report = NULL;
	size_t count = 0;
	int rc = prune_rules(request->json, tags, &rules, err);

	(void)ret_blob;
	if (rc == 0)
		rc = store_prune(the_daemon.store, &rules, &ids, &count, err);
	if (rc == 0 && !rules.dry_run) {
		rc = collect_now(progress, &report, err);
		if (rc < 0)
			err_prefix(err, "%zu checkpoints are removed, their space is not freed",
				   count);
	}
	if (rc < 0)
		return rc;
	removed = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(removed, json_string(ids[i]));
	json_object_set_new(reply, "removed", removed);
	json_object_set_new(reply, "collected", report ? report : json_null());
	return 0;
}

int op_store_gc(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		struct progress *progress, struct err *err)
{
	json_t *report;
	int rc = collect_now(progress, &report, err);

	(void)request;
	(void)ret_blob;
	if (rc < 0)
		return rc;
	json_object_update(reply, report);
	json_decref(report);
	return 0;
}

int op_store_stats(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob,
		   struct progress *progress, struct err *err)
{
	struct store_stats stats;
	json_t *json;
	int rc = store_stats(the_daemon.store, &stats, err);

	(void)request;
	(void)ret_blob;
	(void)progress;
	if (rc < 0)
		return rc;
	json = json_pack(
		"{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b}", "where",
		store_where(the_daemon.store), "checkpoints", (json_int_t)stats.checkpoints,
		"damaged", (json_int_t)stats.damaged, "packs", (json_int_t)stats.packs,
		"pack_bytes", (json_int_t)stats.pack_bytes, "chunks", (json_int_t)stats.chunks,
		"chunk_bytes", (json_int_t)stats.chunk_bytes, "logical_bytes",
		(json_int_t)stats.logical_bytes, "data_bytes", (json_int_t)stats.data_bytes,
		"index_memory_bytes", (json_int_t)stats.index_memory_bytes, "encrypted",
		(int)stats.encrypted);
	json_object_update(reply, json);
	json_decref(json);
	return 0;
}
