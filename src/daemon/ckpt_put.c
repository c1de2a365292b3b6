/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a checkpoint writes into the store: the sources of its streams, and their bases.
 *
 * RAM has as its base the checkpoint of which the daemon keeps a trace (hashes of its pages), a
 * disk the checkpoint since which QEMU tracks changes of its file. A base that was removed or
 * is quarantined is none; then everything is read and hashed, and what the store has is not
 * written all the same.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/parallel.h"
#include "daemon/ckpt.h"

/* A stream to be put, with what its source needs. */
struct put {
	struct store_source source;
	struct stream_ref base;
	char base_of[STORE_ID_MAX];   /* the checkpoint that it is of; empty: there is none */
	struct ram_capture *capture;  /* RAM out of staging */
	struct disk_changes *changes; /* of a disk with a base */
	struct store_source file;     /* state and disk: what reads the file */
	int fd;                       /* a disk's */
	uint64_t end;                 /* behind it a disk's file is a hole */
	struct stream_ref *ret_ref;
};

/* Sources. */

static uint64_t staged_next_data(void *arg, uint64_t offset)
{
	const struct put *put = arg;

	return ram_capture_next_data(put->capture, offset);
}

static int staged_block(void *arg, uint64_t offset, uint32_t len, void *scratch,
			const void **ret_data, struct err *err)
{
	const struct put *put = arg;

	(void)len;
	(void)scratch;
	(void)err;
	*ret_data = ram_capture_bytes(put->capture, offset);
	return 0;
}

static bool staged_changed(void *arg, uint64_t offset, uint32_t len,
			   uint8_t bitmap[NODE_FANOUT / 8])
{
	const struct put *put = arg;

	return ram_capture_changed(put->capture, offset, len, bitmap);
}

static uint64_t file_next_data(void *arg, uint64_t offset)
{
	const struct put *put = arg;

	return put->file.next_data(put->file.arg, offset);
}

static int file_block(void *arg, uint64_t offset, uint32_t len, void *scratch,
		      const void **ret_data, struct err *err)
{
	const struct put *put = arg;

	return put->file.block(put->file.arg, offset, len, scratch, ret_data, err);
}

static bool disk_changed(void *arg, uint64_t offset, uint32_t len,
			 uint8_t bitmap[NODE_FANOUT / 8])
{
	const struct put *put = arg;

	return disk_changes_any(put->changes, offset, len, bitmap);
}

static void put_clear(struct put *put)
{
	free(put->file.arg);
	disk_changes_free(put->changes);
	if (put->fd >= 0)
		close(put->fd);
}

/* The stream of a VM in a checkpoint that can be a base: false if there is none. */
static bool base_find(const char *checkpoint, unsigned int vm, const char *part,
		      struct stream_ref *ret_ref)
{
	struct store_entry *entries = NULL;
	json_t *manifest;
	size_t count = 0;
	bool good = false;

	if (!*checkpoint || store_list(the_daemon.store, NULL, &entries, &count, NULL) < 0)
		return false;
	for (size_t i = 0; i < count; i++)
		good |= !entries[i].damaged && !strcmp(entries[i].id, checkpoint);
	free(entries);
	if (!good || store_manifest(the_daemon.store, checkpoint, &manifest, NULL) < 0)
		return false;
	good = stream_ref_from_json(
		       json_object_get(json_array_get(json_object_get(manifest, "vms"), vm),
				       part),
		       ret_ref, NULL) == 0;
	json_decref(manifest);
	return good;
}

static void ram_put(const struct ckpt *ckpt, unsigned int index, struct put *put)
{
	const struct node *node = ckpt_node(ckpt, index);

	put->capture = ckpt->vms[index].capture;
	put->source = (struct store_source){
		.logical_bytes = ckpt->cluster->spec.memory_bytes,
		.next_data = staged_next_data,
		.block = staged_block,
		.changed = staged_changed,
		.arg = put,
	};
	if (node->trace && base_find(node->trace_checkpoint, index, "ram", &put->base)) {
		put->source.base = &put->base;
		memcpy(put->base_of, node->trace_checkpoint, sizeof(put->base_of));
	}
}

static int fd_put(int fd, struct put *put, struct err *err)
{
	int rc = store_source_fd(fd, &put->file, err);

	if (rc < 0)
		return rc;
	put->source = (struct store_source){
		.logical_bytes = put->file.logical_bytes,
		.next_data = file_next_data,
		.block = file_block,
		.arg = put,
	};
	return 0;
}

static int disk_put(const struct ckpt *ckpt, unsigned int index, struct put *put,
		    struct err *err)
{
	struct vm *vm = ckpt_node(ckpt, index)->vm;
	char since[STORE_ID_MAX] = "";
	int rc = vm_disk_frozen_open(vm, &put->fd, &put->end, err);

	if (rc == 0)
		rc = fd_put(put->fd, put, err);
	if (rc < 0)
		return rc;
	put->source.logical_bytes = put->end;
	rc = vm_disk_tracked(vm, since, sizeof(since), err);
	if (rc == 0 && base_find(since, index, "disk", &put->base))
		rc = vm_disk_changes(vm, since, &put->changes, err);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (put->changes) {
		put->source.base = &put->base;
		put->source.changed = disk_changed;
		memcpy(put->base_of, since, sizeof(put->base_of));
	}
	return 0;
}

static void put_progress(uint64_t bytes, void *arg)
{
	struct ckpt *ckpt = arg;
	uint64_t done = atomic_fetch_add(&ckpt->stored_bytes, bytes) + bytes;

	progress_send(ckpt->progress, ckpt->direct ? "ram" : "store", done,
		      ckpt->to_store_bytes, "bytes", NULL);
}

/* Put streams with what the guests leave idle, or, while they are stopped, with everything. */
static int puts_run(struct ckpt *ckpt, struct put *puts, size_t count, bool stopped,
		    struct err *err)
{
	const struct store_work work = {
		.threads = (unsigned int)(stopped ? parallel_cpus() : ckpt->idle_cpus),
		.background = !stopped,
		.progress = put_progress,
		.progress_arg = ckpt,
	};
	struct store_part *parts = calloc(count, sizeof(*parts));
	int rc;

	if (!parts)
		return err_sys(err, ENOMEM, "streams of a checkpoint");
	for (size_t i = 0; i < count; i++)
		parts[i].source = &puts[i].source;
	rc = store_txn_put(ckpt->txn, parts, count, &work, err);
	for (size_t i = 0; i < count && rc == 0; i++)
		*puts[i].ret_ref = parts[i].ref;
	free(parts);
	return rc < 0 ? rc : fault_hit(FAULT_CKPT_STORE, err);
}

/* A base was damaged: it is quarantined, so that the next checkpoint does not rely on it. */
static void bases_verify(const struct put *puts, size_t count)
{
	const char *last = "";

	for (size_t i = 0; i < count; i++) {
		struct err err = ERR_INIT;

		if (!puts[i].base_of[0] || !strcmp(puts[i].base_of, last))
			continue;
		last = puts[i].base_of;
		if (store_verify(the_daemon.store, last, false, NULL, &err) < 0)
			log_warn("%s", err.msg);
	}
}

static struct put *puts_create(size_t count, struct err *err)
{
	struct put *puts = calloc(count, sizeof(*puts));

	if (!puts)
		err_sys(err, ENOMEM, "streams of a checkpoint");
	for (size_t i = 0; puts && i < count; i++)
		puts[i].fd = -1;
	return puts;
}

static void puts_destroy(struct put *puts, size_t count)
{
	for (size_t i = 0; puts && i < count; i++)
		put_clear(&puts[i]);
	free(puts);
}

int ckpt_put_ram(struct ckpt *ckpt, struct err *err)
{
	unsigned int vms = ckpt->cluster->spec.vms;
	struct put *puts = puts_create(vms, err);
	int rc = puts ? 0 : -ENOMEM;

	for (unsigned int i = 0; i < vms && rc == 0; i++) {
		puts[i].ret_ref = &ckpt->doc.vms[i].ram;
		rc = fd_put(vm_ram_fd(ckpt_node(ckpt, i)->vm), &puts[i], err);
	}
	if (rc == 0)
		rc = puts_run(ckpt, puts, vms, true, err);
	puts_destroy(puts, vms);
	return rc;
}

/* The streams of one VM: state, disk and, if it was staged, RAM. */
struct puts_all {
	struct ckpt *ckpt;
	struct put *puts;
	size_t each;
};

static int put_all_prepare(size_t vm, void *arg, struct err *err)
{
	const struct puts_all *all = arg;
	const struct ckpt *ckpt = all->ckpt;
	struct manifest_vm *refs = &ckpt->doc.vms[vm];
	struct put *put = &all->puts[vm * all->each];
	int rc;

	put[0].ret_ref = &refs->state;
	put[1].ret_ref = &refs->disk;
	rc = fd_put(ckpt->vms[vm].state_fd, &put[0], err);
	if (rc == 0)
		rc = disk_put(ckpt, (unsigned int)vm, &put[1], err);
	if (rc == 0 && !ckpt->direct) {
		put[2].ret_ref = &refs->ram;
		ram_put(ckpt, (unsigned int)vm, &put[2]);
	}
	return rc;
}

int ckpt_put_all(struct ckpt *ckpt, struct err *err)
{
	struct puts_all all = {.ckpt = ckpt, .each = ckpt->direct ? 2 : 3};
	size_t count = all.each * ckpt->cluster->spec.vms;
	int rc;

	all.puts = puts_create(count, err);
	rc = all.puts ? parallel_each(ckpt->cluster->spec.vms, put_all_prepare, &all, err)
		      : -ENOMEM;
	if (rc == 0)
		rc = puts_run(ckpt, all.puts, count, false, err);
	if (rc == -EBADMSG)
		bases_verify(all.puts, count);
	puts_destroy(all.puts, count);
	return rc;
}

void ckpt_keep_traces(struct ckpt *ckpt)
{
	for (unsigned int i = 0; i < ckpt->cluster->spec.vms; i++) {
		struct ckpt_vm *vm = &ckpt->vms[i];

		node_set_trace(ckpt_node(ckpt, i),
			       vm->capture ? ram_capture_take_trace(vm->capture) : NULL,
			       ckpt->id);
	}
}
