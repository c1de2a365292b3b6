/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages of the layer's file changed since a checkpoint.
 *
 * Design notes
 *
 * A dirty bitmap of QEMU's on the file's own node, below qcow2, sees every write of qcow2:
 * data, tables, refcounts, discards, and the merge of the next layer. Its name says of which
 * checkpoint it is; it is begun while the file equals that checkpoint's stream. It lives and
 * dies with QEMU's process, as what it describes. The one change that it does not see is made
 * before there is a QEMU: the header of a restored layer is pointed at its base. So the first
 * cluster always counts as changed.
 *
 * QEMU 7.2 aborts when a write that would extend a node with a bitmap fails (hbitmap_set:
 * "last < hb->size"), as it does on a full file system. So the file is given, as a hole, more
 * than the size that it can grow to before it is opened (disk_reserve() in image.c), and where
 * it has not that room there is no bitmap.
 *
 * It is read through QEMU's NBD server, which a killed daemon may have left. While a bitmap is
 * exported the layers cannot be merged, so whoever works on the disk stops the server first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "vm/disk/disk.h"
#include "vm/disk/nbd.h"
#include "vm/qemu/args.h"
#include "vm/qemu/machine.h"

#define BITMAP_PREFIX "ckpt-"
#define EXPORT_NAME   "changes"

enum {
	NAME_MAX_BYTES = 256,
	CONTEXT_MAX_BYTES = NAME_MAX_BYTES + 32,
	STATUS_MS = 60000,
	FLAG_DIRTY = 1,
	BLOCK_BITMAP_BYTES = DISK_BLOCK_PAGES / 8,
};

struct disk_changes {
	uint64_t pages;   /* of the file; those behind them have changed */
	uint64_t changed; /* pages marked */
	uint8_t *bits;    /* a whole number of blocks */
};

/* What QEMU says of the file's node. */
struct file_view {
	bool frozen;
	bool filling; /* the file is not yet what it is to be */
	uint64_t bytes;
	json_t *bitmaps; /* array, or NULL */
};

static int file_view_read(struct vm *vm, struct file_view *ret_view, struct err *err)
{
	json_t *nodes, *node;
	bool found = false;
	size_t i;
	int rc = vm_command(vm, "query-named-block-nodes", json_pack("{s:b}", "flat", 1),
			    &nodes, err);

	if (rc < 0)
		return rc;
	json_array_foreach(nodes, i, node)
	{
		const char *name = json_string_value(json_object_get(node, "node-name"));
		const json_t *image = json_object_get(node, "image");

		if (name && !strcmp(name, QEMU_NODE_SERVED))
			ret_view->filling = true;
		if (!name || strcmp(name, QEMU_NODE_FILE) != 0)
			continue;
		ret_view->frozen = json_is_true(json_object_get(node, "ro"));
		ret_view->bytes =
			(uint64_t)json_integer_value(json_object_get(image, "virtual-size"));
		ret_view->bitmaps = json_incref(json_object_get(node, "dirty-bitmaps"));
		found = true;
	}
	json_decref(nodes);
	return found ? 0
		     : err_set(err, EIO, "QEMU of VM %s does not know its disk's file",
			       vm->config.name);
}

static int bitmap_name(const char *checkpoint, char ret_name[NAME_MAX_BYTES], struct err *err)
{
	return io_path(ret_name, NAME_MAX_BYTES, err, BITMAP_PREFIX "%s", checkpoint);
}

/* The checkpoint that a bitmap is of; NULL: it is somebody else's, or of no use. */
static const char *bitmap_checkpoint(const json_t *bitmap)
{
	const char *name = json_string_value(json_object_get(bitmap, "name"));
	size_t len = strlen(BITMAP_PREFIX);

	if (!name || strncmp(name, BITMAP_PREFIX, len) != 0 ||
	    !json_is_true(json_object_get(bitmap, "recording")))
		return NULL;
	return name + len;
}

static const json_t *bitmap_find(const struct file_view *view, const char *checkpoint)
{
	json_t *bitmap;
	size_t i;

	json_array_foreach(view->bitmaps, i, bitmap)
	{
		const char *of = bitmap_checkpoint(bitmap);

		if (of && (!checkpoint || !strcmp(of, checkpoint)))
			return bitmap;
	}
	return NULL;
}

int disk_server_stop(struct vm *vm, struct err *err)
{
	struct err refused = ERR_INIT;
	int rc = vm_command(vm, "nbd-server-stop", json_object(), NULL, &refused);

	if (rc == 0 || rc == -EIO)
		return 0; /* "not running" is told as any refusal */
	if (err)
		*err = refused;
	return rc;
}

static json_t *action(const char *type, const char *name)
{
	return json_pack("{s:s, s:{s:s, s:s}}", "type", type, "data", "node", QEMU_NODE_FILE,
			 "name", name);
}

/* All at once: the bitmap of that name (NULL: none) is there, and no other of ours. */
static int bitmaps_set(struct vm *vm, const struct file_view *view, const char *checkpoint,
		       struct err *err)
{
	json_t *actions = json_array(), *bitmap;
	char name[NAME_MAX_BYTES];
	size_t i;
	int rc = checkpoint ? bitmap_name(checkpoint, name, err) : 0;

	if (rc == 0 && checkpoint && !bitmap_find(view, checkpoint)) {
		json_t *add = action("block-dirty-bitmap-add", name);

		json_object_set_new(json_object_get(add, "data"), "granularity",
				    json_integer(DISK_PAGE_BYTES));
		json_array_append_new(actions, add);
	}
	json_array_foreach(view->bitmaps, i, bitmap)
	{
		const char *of = bitmap_checkpoint(bitmap);

		if (of && (!checkpoint || strcmp(of, checkpoint) != 0))
			json_array_append_new(
				actions,
				action("block-dirty-bitmap-remove",
				       json_string_value(json_object_get(bitmap, "name"))));
	}
	if (rc == 0 && json_array_size(actions) > 0)
		return vm_command(vm, "transaction", json_pack("{s:o}", "actions", actions),
				  NULL, err);
	json_decref(actions);
	return rc;
}

int vm_disk_track(struct vm *vm, const char *checkpoint, struct err *err)
{
	struct file_view view = {0};
	bool reserved = false;
	int rc = disk_server_stop(vm, err);

	if (rc == 0)
		rc = file_view_read(vm, &view, err);
	if (rc == 0 && view.filling)
		rc = err_set(err, EBUSY,
			     "the disk of VM %s is still being filled from its checkpoint",
			     vm->config.name);
	if (rc == 0)
		rc = disk_reserved(&vm->config, view.bytes, &reserved, err);
	if (rc == 0 && !reserved)
		log_info(
			"vm=%s the file of its disk may grow beyond its end: what changes is not "
			"tracked",
			vm->config.name);
	if (rc == 0)
		rc = bitmaps_set(vm, &view, reserved ? checkpoint : NULL, err);
	json_decref(view.bitmaps);
	return rc;
}

int vm_disk_tracked(struct vm *vm, char *ret_checkpoint, size_t size, struct err *err)
{
	struct file_view view = {0};
	const json_t *bitmap;
	int rc = file_view_read(vm, &view, err);

	if (rc < 0)
		return rc;
	bitmap = bitmap_find(&view, NULL);
	if (bitmap)
		rc = io_path(ret_checkpoint, size, err, "%s", bitmap_checkpoint(bitmap));
	else
		rc = err_set(err, ENOENT, "what changes on the disk of VM %s is not tracked",
			     vm->config.name);
	json_decref(view.bitmaps);
	return rc;
}

/* Mark the pages that [offset, offset + len) touches. */
static void mark(void *arg, uint64_t offset, uint64_t len, uint32_t flags)
{
	struct disk_changes *changes = arg;
	uint64_t page = offset / DISK_PAGE_BYTES;
	uint64_t end = (offset + len + DISK_PAGE_BYTES - 1) / DISK_PAGE_BYTES;

	if (!(flags & FLAG_DIRTY))
		return;
	if (end > changes->pages)
		end = changes->pages;
	while (page < end) {
		uint8_t bit = (uint8_t)(1U << page % 8);

		if (page % 8 == 0 && end - page >= 8) {
			changes->changed +=
				8 - (unsigned int)__builtin_popcount(changes->bits[page / 8]);
			changes->bits[page / 8] = 0xff;
			page += 8;
			continue;
		}
		changes->changed += !(changes->bits[page / 8] & bit);
		changes->bits[page / 8] |= bit;
		page++;
	}
}

static struct disk_changes *changes_create(uint64_t bytes)
{
	struct disk_changes *changes = calloc(1, sizeof(*changes));
	uint64_t pages = bytes / DISK_PAGE_BYTES; /* a short last page counts as changed */

	if (!changes)
		return NULL;
	changes->pages = pages;
	changes->bits = calloc(pages / DISK_BLOCK_PAGES + 1, BLOCK_BITMAP_BYTES);
	if (!changes->bits) {
		free(changes);
		return NULL;
	}
	mark(changes, 0, DISK_CLUSTER_BYTES, FLAG_DIRTY);
	return changes;
}

void disk_changes_free(struct disk_changes *changes)
{
	if (!changes)
		return;
	free(changes->bits);
	free(changes);
}

uint64_t disk_changes_bytes(const struct disk_changes *changes)
{
	return changes->changed * DISK_PAGE_BYTES;
}

bool disk_changes_any(const struct disk_changes *changes, uint64_t offset, uint32_t len,
		      uint8_t ret_bitmap[DISK_BLOCK_PAGES / 8])
{
	uint64_t first = offset / DISK_PAGE_BYTES;
	uint64_t known = changes->pages > first ? changes->pages - first : 0;
	uint64_t pages = (len + (uint64_t)DISK_PAGE_BYTES - 1) / DISK_PAGE_BYTES;
	uint8_t any = 0;

	memset(ret_bitmap, 0, BLOCK_BITMAP_BYTES);
	if (pages > DISK_BLOCK_PAGES)
		pages = DISK_BLOCK_PAGES;
	if (known > 0)
		memcpy(ret_bitmap, changes->bits + first / 8, (pages + 7) / 8);
	for (uint64_t page = known; page < pages; page++)
		ret_bitmap[page / 8] |= (uint8_t)(1U << page % 8);
	if (pages % 8)
		ret_bitmap[pages / 8] &= (uint8_t)((1U << pages % 8) - 1);
	for (uint64_t i = 0; i < (pages + 7) / 8; i++)
		any |= ret_bitmap[i];
	return any;
}

static int export_begin(struct vm *vm, const char *socket_path, const char *name,
			struct err *err)
{
	int rc = vm_command(vm, "nbd-server-start",
			    json_pack("{s:{s:s, s:{s:s}}}", "addr", "type", "unix", "data",
				      "path", socket_path),
			    NULL, err);

	if (rc < 0)
		return rc;
	return vm_command(vm, "block-export-add",
			  json_pack("{s:s, s:s, s:s, s:s, s:[s]}", "id", EXPORT_NAME, "type",
				    "nbd", "node-name", QEMU_NODE_FILE, "name", EXPORT_NAME,
				    "bitmaps", name),
			  NULL, err);
}

static int changes_read(struct vm *vm, const char *checkpoint, struct disk_changes *changes,
			struct err *err)
{
	char name[NAME_MAX_BYTES], context[CONTEXT_MAX_BYTES], path[IO_PATH_MAX];
	uint64_t bytes;
	int rc = bitmap_name(checkpoint, name, err);

	if (rc == 0)
		rc = io_path(context, sizeof(context), err, "qemu:dirty-bitmap:%s", name);
	if (rc == 0)
		rc = vm_run_path(&vm->config, QEMU_SOCK_NBD, path, sizeof(path), err);
	if (rc == 0)
		rc = disk_server_stop(vm, err);
	if (rc < 0)
		return rc;
	rc = export_begin(vm, path, name, err);
	if (rc == 0)
		rc = nbd_extents(path, EXPORT_NAME, context, deadline_in_ms(STATUS_MS), mark,
				 changes, &bytes, err);
	if (rc == 0 && bytes / DISK_PAGE_BYTES < changes->pages)
		rc = err_set(err, EPROTO, "QEMU of VM %s exports less than its disk's file",
			     vm->config.name);
	if (rc < 0)
		disk_server_stop(vm, NULL);
	else
		rc = disk_server_stop(vm, err);
	return rc;
}

/* The disk is frozen, and there is such a bitmap. */
static int changes_known(const struct vm *vm, const struct file_view *view,
			 const char *checkpoint, uint64_t *ret_dirty_bytes, struct err *err)
{
	const json_t *bitmap = bitmap_find(view, checkpoint);

	if (!view->frozen)
		return err_set(err, EBUSY, "the disk of VM %s is in use: it is not frozen",
			       vm->config.name);
	if (!bitmap)
		return err_set(err, ENOENT,
			       "what changed on the disk of VM %s since %s was not tracked",
			       vm->config.name, checkpoint);
	*ret_dirty_bytes = (uint64_t)json_integer_value(json_object_get(bitmap, "count"));
	return 0;
}

int vm_disk_changes(struct vm *vm, const char *checkpoint, struct disk_changes **ret_changes,
		    struct err *err)
{
	struct file_view view = {0};
	struct disk_changes *changes;
	uint64_t dirty_bytes = 0;
	int rc = file_view_read(vm, &view, err);

	if (rc < 0)
		return rc;
	rc = changes_known(vm, &view, checkpoint, &dirty_bytes, err);
	json_decref(view.bitmaps);
	if (rc < 0)
		return rc;
	changes = changes_create(view.bytes);
	if (!changes)
		return err_sys(err, ENOMEM, "what changed on the disk of VM %s",
			       vm->config.name);
	if (dirty_bytes > 0)
		rc = changes_read(vm, checkpoint, changes, err);
	if (rc < 0) {
		disk_changes_free(changes);
		return rc;
	}
	*ret_changes = changes;
	return 0;
}
