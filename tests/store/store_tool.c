/* SPDX-License-Identifier: BSD-3-Clause */
/* A program over the store's interface, without VMs: each FILE of a checkpoint is the RAM of
 * one. */
#include "store_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"

static const char usage[] =
	"usage: store_tool [-k KEY-FILE] [-l auto|raw|LEVEL] [-t THREADS] [-b BASE-ID] STORE WORD …\n"
	"  put CLUSTER FILE…    a checkpoint with a VM for each file; prints its id\n"
	"  list                 ids\n"
	"  cat ID STREAM        a stream (vm0.ram) to the standard output, read at random\n"
	"  fill ID STREAM FILE  the same into a file, segment by segment\n"
	"  verify ID | quick ID | rm ID | export ID FILE | import FILE | gc | stats\n"
	"  hash FILE            hash and compress alone; STORE is not used\n";

static const char *base_id;

static bool all_changed(void *arg, uint64_t offset, uint32_t len,
			uint8_t bitmap[NODE_FANOUT / 8])
{
	(void)arg;
	(void)offset;
	(void)len;
	memset(bitmap, 0xff, NODE_FANOUT / 8);
	return true;
}

/* The reference of a stream of a checkpoint, by its name. */
static int stream_find(struct tool *tool, const char *id, const char *name,
		       struct stream_ref *ret_ref)
{
	CLEANUP_FREE struct manifest_stream *streams = NULL;
	size_t count;
	json_t *manifest;
	int rc = store_manifest(tool->store, id, &manifest, &tool->err);

	if (rc < 0)
		return rc;
	rc = manifest_streams(manifest, &streams, &count, &tool->err);
	json_decref(manifest);
	for (size_t i = 0; rc == 0 && i < count; i++)
		if (!strcmp(streams[i].name, name)) {
			*ret_ref = streams[i].ref;
			return 0;
		}
	return rc < 0 ? rc : err_set(&tool->err, ENOENT, "%s has no stream %s", id, name);
}

static json_t *vm_json(unsigned int index, const struct stream_ref *ram)
{
	const struct stream_ref empty = {0};
	char name[24];

	snprintf(name, sizeof(name), "vm%u", index);
	return json_pack("{s:s,s:i,s:I,s:i,s:o,s:o,s:o}", "name", name, "index", (int)index,
			 "memory_bytes",
			 (json_int_t)(ram->logical_bytes ? ram->logical_bytes : 1), "cpus", 1,
			 "ram", stream_ref_to_json(ram), "state", stream_ref_to_json(&empty),
			 "disk", stream_ref_to_json(&empty));
}

static json_t *manifest_json(const char *cluster, const struct store_part *parts,
			     unsigned int count)
{
	const struct stream_ref empty = {0};
	json_t *vms = json_array(), *disk = stream_ref_to_json(&empty);

	for (unsigned int i = 0; i < count; i++)
		json_array_append_new(vms, vm_json(i, &parts[i].ref));
	json_object_set_new(disk, "format", json_string("raw"));
	return json_pack("{s:s,s:s,s:I,s:s,s:s,s:{},s:{s:s,s:s,s:s,s:s,s:s},"
			 "s:{s:o,s:o,s:o},s:o,s:[],s:i,s:i,s:b,s:n}",
			 "cluster", cluster, "tag", "", "created_ns",
			 (json_int_t)clock_real_ns(), "host", "tool", "stasis_version", "0",
			 "spec", "machine", "qemu_version", "-", "machine", "-", "accel", "-",
			 "cpu", "-", "cmdline", "", "images", "kernel",
			 stream_ref_to_json(&empty), "initrd", stream_ref_to_json(&empty),
			 "disk", disk, "vms", vms, "phases", "pause_ns", 0, "total_ns", 0,
			 "pause_includes_write", 0, "run");
}

struct puts {
	struct store_txn *txn;
	struct store_source *sources;
	struct stream_ref *bases;
	struct store_part *parts;
	int *fds;
};

static int put_prepare(struct tool *tool, struct puts *puts, unsigned int i, const char *path)
{
	struct store_source *source = &puts->sources[i];
	char name[24];
	int rc;

	puts->parts[i].source = source;
	puts->fds[i] = open(path, O_RDONLY | O_CLOEXEC);
	if (puts->fds[i] < 0)
		return err_sys(&tool->err, errno, "cannot open %s", path);
	rc = store_source_fd(puts->fds[i], source, &tool->err);
	snprintf(name, sizeof(name), "vm%u.ram", i);
	if (rc < 0 || !base_id)
		return rc;
	rc = stream_find(tool, base_id, name, &puts->bases[i]);
	source->base = &puts->bases[i];
	source->changed = all_changed;
	return rc;
}

static int puts_run(struct tool *tool, struct puts *puts, const char *cluster, char **paths,
		    unsigned int count)
{
	char id[STORE_ID_MAX];
	struct store_cost cost;
	json_t *manifest;
	int rc = store_begin(tool->store, cluster, id, &puts->txn, &tool->err);

	for (unsigned int i = 0; i < count && rc == 0; i++)
		rc = put_prepare(tool, puts, i, paths[i]);
	if (rc == 0)
		rc = store_txn_put(puts->txn, puts->parts, count, &tool->work, &tool->err);
	if (rc < 0) {
		store_abort(puts->txn);
		return rc;
	}
	store_txn_cost(puts->txn, &cost);
	manifest = manifest_json(cluster, puts->parts, count);
	rc = manifest ? store_commit(puts->txn, manifest, &tool->err)
		      : err_sys(&tool->err, ENOMEM, "manifest");
	json_decref(manifest);
	if (rc == 0)
		printf("%s\n", id);
	fprintf(stderr,
		"data %" PRIu64 " taken %" PRIu64 " new %" PRIu64 " stored %" PRIu64
		" bytes; hash %.3f compress %.3f write %.3f s\n",
		cost.data_bytes, cost.taken_bytes, cost.new_bytes, cost.stored_bytes,
		(double)cost.hash_ns / 1e9, (double)cost.compress_ns / 1e9,
		(double)cost.write_ns / 1e9);
	return rc;
}

static int tool_put(struct tool *tool, const char *cluster, char **paths, unsigned int count)
{
	struct puts puts = {
		.sources = calloc(count + 1, sizeof(struct store_source)),
		.bases = calloc(count + 1, sizeof(struct stream_ref)),
		.parts = calloc(count + 1, sizeof(struct store_part)),
		.fds = calloc(count + 1, sizeof(int)),
	};
	int rc = -ENOMEM;

	if (puts.sources && puts.bases && puts.parts && puts.fds)
		rc = puts_run(tool, &puts, cluster, paths, count);
	for (unsigned int i = 0; puts.sources && puts.fds && i < count; i++) {
		free(puts.sources[i].arg);
		if (puts.fds[i] > 0)
			close(puts.fds[i]);
	}
	free(puts.sources);
	free(puts.bases);
	free(puts.parts);
	free(puts.fds);
	return rc;
}

static int tool_cat(struct tool *tool, const char *id, const char *name)
{
	CLEANUP_FREE char *buf = malloc(BLOCK_BYTES);
	struct store_stream *stream;
	struct stream_ref ref;
	int rc = buf ? stream_find(tool, id, name, &ref) : -ENOMEM;

	if (rc == 0)
		rc = store_stream_open(tool->store, &ref, &stream, &tool->err);
	if (rc < 0)
		return rc;
	/* Not in step with blocks. */
	for (uint64_t at = 0; at < ref.logical_bytes && rc == 0;) {
		size_t len = BLOCK_BYTES - 1234;

		if (len > ref.logical_bytes - at)
			len = (size_t)(ref.logical_bytes - at);
		rc = store_stream_read(stream, at, buf, len, &tool->err);
		if (rc == 0)
			rc = io_write_all(STDOUT_FILENO, buf, len, &tool->err);
		at += len;
	}
	store_stream_close(stream);
	return rc;
}

static int tool_fill(struct tool *tool, const char *id, const char *name, const char *path)
{
	CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct store_target target = {.name = name, .fd = fd};
	int rc = stream_find(tool, id, name, &target.ref);

	if (fd < 0)
		return err_sys(&tool->err, errno, "cannot open %s", path);
	return rc < 0 ? rc : store_fill(tool->store, &target, 1, &tool->work, &tool->err);
}

static int tool_list(struct tool *tool)
{
	CLEANUP_FREE struct store_entry *entries = NULL;
	size_t count;
	int rc = store_list(tool->store, NULL, &entries, &count, &tool->err);

	for (size_t i = 0; rc == 0 && i < count; i++)
		printf("%s%s\n", entries[i].id, entries[i].damaged ? " damaged" : "");
	return rc;
}

static int tool_transfer(struct tool *tool, const char *id, const char *path)
{
	CLEANUP_CLOSE int fd = open(path, id ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0600);
	char imported[STORE_ID_MAX];
	int rc;

	if (fd < 0)
		return err_sys(&tool->err, errno, "cannot open %s", path);
	if (id)
		return store_export(tool->store, id, fd, &tool->work, &tool->err);
	rc = store_import(tool->store, fd, &tool->work, imported, &tool->err);
	if (rc == 0)
		printf("%s\n", imported);
	return rc;
}

static int tool_gc(struct tool *tool)
{
	struct store_gc_report r;
	int rc = store_gc(tool->store, &tool->work, &r, &tool->err);

	if (rc == 0)
		printf("packs %" PRIu64 " condemned %" PRIu64 " deleted %" PRIu64
		       " rewritten %" PRIu64 " waiting %" PRIu64 " live_bytes %" PRIu64
		       " freed_bytes %" PRIu64 "\n",
		       r.packs, r.condemned, r.deleted, r.rewritten, r.waiting, r.live_bytes,
		       r.freed_bytes);
	return rc;
}

static int tool_stats(struct tool *tool)
{
	struct store_stats s;
	int rc = store_stats(tool->store, &s, &tool->err);

	if (rc == 0)
		printf("checkpoints %" PRIu64 " packs %" PRIu64 " pack_bytes %" PRIu64
		       " chunks %" PRIu64 " chunk_bytes %" PRIu64 " index_memory %" PRIu64 "\n",
		       s.checkpoints, s.packs, s.pack_bytes, s.chunks, s.chunk_bytes,
		       s.index_memory_bytes);
	return rc;
}

static int run_word(struct tool *tool, const char *word, char **args, int count)
{
	struct store *store = tool->store;
	struct err *err = &tool->err;

	if (!strcmp(word, "put") && count >= 2)
		return tool_put(tool, args[0], args + 1, (unsigned int)count - 1);
	if (!strcmp(word, "list") && count == 0)
		return tool_list(tool);
	if (!strcmp(word, "cat") && count == 2)
		return tool_cat(tool, args[0], args[1]);
	if (!strcmp(word, "fill") && count == 3)
		return tool_fill(tool, args[0], args[1], args[2]);
	if (!strcmp(word, "verify") && count == 1)
		return store_verify(store, args[0], false, &tool->work, err);
	if (!strcmp(word, "quick") && count == 1)
		return store_verify(store, args[0], true, &tool->work, err);
	if (!strcmp(word, "rm") && count == 1)
		return store_remove(store, args[0], err);
	if (!strcmp(word, "export") && count == 2)
		return tool_transfer(tool, args[0], args[1]);
	if (!strcmp(word, "import") && count == 1)
		return tool_transfer(tool, NULL, args[0]);
	if (!strcmp(word, "gc") && count == 0)
		return tool_gc(tool);
	if (!strcmp(word, "stats") && count == 0)
		return tool_stats(tool);
	return err_set(err, EINVAL, "%s", usage);
}

static int level_parse(const char *text)
{
	if (!strcmp(text, "auto"))
		return STORE_LEVEL_AUTO;
	return strcmp(text, "raw") != 0 ? atoi(text) : STORE_LEVEL_RAW;
}

int main(int argc, char *argv[])
{
	struct tool tool = {.config = {.level = STORE_LEVEL_AUTO}};
	int option, rc = 0;

	while ((option = getopt(argc, argv, "+k:l:t:b:")) > 0) {
		switch (option) {
		case 'k': tool.config.key_file = optarg; break;
		case 'l': tool.config.level = level_parse(optarg); break;
		case 't': tool.work.threads = (unsigned int)atoi(optarg); break;
		case 'b': base_id = optarg; break;
		default: fputs(usage, stderr); return 2;
		}
	}
	if (argc - optind < 2) {
		fputs(usage, stderr);
		return 2;
	}
	tool.config.location = argv[optind];
	if (!strcmp(argv[optind + 1], "hash") && argc - optind == 3) {
		rc = tool_hash(&tool, argv[optind + 2]);
	} else {
		rc = store_open(&tool.config, &tool.store, &tool.err);
		if (rc == 0)
			rc = run_word(&tool, argv[optind + 1], argv + optind + 2,
				      argc - optind - 2);
		store_close(tool.store);
	}
	if (rc < 0)
		fprintf(stderr, "store_tool: %s\n", tool.err.msg);
	return rc < 0 ? 1 : 0;
}
