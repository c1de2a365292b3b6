/* SPDX-License-Identifier: BSD-3-Clause */
/* Making again what is left of recorded files when the power fails. */
#include "power.h"

#include "backend_fixture.h"

#include <fcntl.h>

void power_load(const char *path, struct power_log *ret_log)
{
	FILE *file = fopen(path, "re");
	struct power_op op;
	size_t room = 0;

	assert_non_null(file);
	*ret_log = (struct power_log){0};
	while (fread(&op, sizeof(op), 1, file) == 1) {
		if (ret_log->count == room) {
			room = room ? 2 * room : 256;
			ret_log->ops = realloc(ret_log->ops, room * sizeof(op));
			assert_non_null(ret_log->ops);
		}
		op.data = NULL;
		if (op.len) {
			op.data = malloc(op.len);
			assert_non_null(op.data);
			assert_int_equal(fread(op.data, op.len, 1, file), 1);
		}
		ret_log->ops[ret_log->count++] = op;
	}
	fclose(file);
}

void power_free(struct power_log *log)
{
	for (size_t i = 0; i < log->count; i++)
		free(log->ops[i].data);
	free(log->ops);
}

enum { NAMES_MAX = 2048, INODE_DIR = UINT32_MAX };

/* What a directory tree looks like: names, and the inodes that they stand for (0: none). */
struct tree {
	size_t count;
	struct name {
		char path[POWER_PATH_MAX];
		uint32_t inode;
	} names[NAMES_MAX];
};

static uint32_t *tree_slot(struct tree *tree, const char *path)
{
	for (size_t i = 0; i < tree->count; i++)
		if (!strcmp(tree->names[i].path, path))
			return &tree->names[i].inode;
	assert_true(tree->count < NAMES_MAX);
	snprintf(tree->names[tree->count].path, POWER_PATH_MAX, "%s", path);
	tree->names[tree->count].inode = 0;
	return &tree->names[tree->count++].inode;
}

static void parent_of(const char *path, char ret_parent[POWER_PATH_MAX])
{
	char *slash;

	snprintf(ret_parent, POWER_PATH_MAX, "%s", path);
	slash = strrchr(ret_parent, '/');
	snprintf(slash ? slash : ret_parent, 2, "%s", slash ? "" : ".");
}

/* Whether a change of a name is durable in front of the cut: its directory was fsynced. */
static bool name_durable(const struct power_log *log, size_t at, size_t count)
{
	char parent[POWER_PATH_MAX];

	parent_of(log->ops[at].path, parent);
	for (size_t i = at + 1; i < count; i++)
		if (log->ops[i].kind == POWER_SYNC_DIR && !strcmp(log->ops[i].path, parent))
			return true;
	return false;
}

/* The inode that a name had when it was renamed: by the order in which all was done. */
static void tree_apply(struct tree *tree, struct tree *now, const struct power_op *op,
		       bool keep)
{
	uint32_t inode = 0;

	switch (op->kind) {
	case POWER_CREATE: inode = op->inode; break;
	case POWER_MKDIR: inode = INODE_DIR; break;
	case POWER_RENAME:
		inode = *tree_slot(now, op->path);
		*tree_slot(now, op->to) = inode;
		*tree_slot(now, op->path) = 0;
		if (keep) {
			*tree_slot(tree, op->to) = inode;
			*tree_slot(tree, op->path) = 0;
		}
		return;
	case POWER_UNLINK: break;
	default: return;
	}
	*tree_slot(now, op->path) = inode;
	if (keep)
		*tree_slot(tree, op->path) = inode;
}

static bool coin(unsigned int *seed)
{
	return rand_r(seed) % 2;
}

/* The bytes of an inode: all that were written, and how many of them are durable. */
static uint8_t *inode_bytes(const struct power_log *log, size_t count, uint32_t inode,
			    size_t *ret_len, size_t *ret_durable)
{
	uint8_t *bytes = malloc(1);

	*ret_len = *ret_durable = 0;
	for (size_t i = 0; i < count; i++) {
		const struct power_op *op = &log->ops[i];

		if (op->inode != inode)
			continue;
		if (op->kind == POWER_FSYNC)
			*ret_durable = *ret_len;
		if (op->kind != POWER_WRITE)
			continue;
		bytes = realloc(bytes, *ret_len + op->len);
		assert_non_null(bytes);
		memcpy(bytes + *ret_len, op->data, op->len);
		*ret_len += op->len;
	}
	return bytes;
}

static void file_leave(const struct power_log *log, size_t count, uint32_t inode,
		       enum power_data data, unsigned int *seed, const char *path)
{
	size_t len, durable, kept;
	uint8_t *bytes = inode_bytes(log, count, inode, &len, &durable);
	struct err err = ERR_INIT;
	int fd;

	if (data == DATA_MIXED)
		data = (enum power_data)(rand_r(seed) % DATA_MIXED);
	kept = len;
	if (data == DATA_ABSENT)
		len = kept = durable;
	else if (data == DATA_ZEROS)
		kept = durable;
	else if (data == DATA_PARTLY)
		kept = durable + (size_t)rand_r(seed) % (len - durable + 1);
	memset(bytes + kept, 0, len - kept);
	if (data == DATA_PARTLY && coin(seed))
		len = kept;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_ok(io_write_all(fd, bytes, len, &err));
	close(fd);
	free(bytes);
}

static void tree_make(const struct power_log *log, size_t count, struct tree *tree,
		      enum power_data data, unsigned int *seed, const char *dir)
{
	struct err err = ERR_INIT;

	assert_ok(io_remove_all(dir, &err));
	assert_int_equal(mkdir(dir, 0700), 0);
	/* Names are in the order in which they came up: directories in front of what is in
	 * them. What is in one that is lost is lost. */
	for (size_t i = 0; i < tree->count; i++) {
		const struct name *name = &tree->names[i];
		char path[IO_PATH_MAX], parent[POWER_PATH_MAX];

		parent_of(name->path, parent);
		if (!name->inode ||
		    (strcmp(parent, ".") != 0 && *tree_slot(tree, parent) != INODE_DIR))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, parent);
		if (access(path, F_OK) < 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, name->path);
		if (name->inode == INODE_DIR)
			assert_int_equal(mkdir(path, 0700), 0);
		else
			file_leave(log, count, name->inode, data, seed, path);
	}
}

void power_cut(const struct power_log *log, size_t count, enum power_data data,
	       enum power_names names, unsigned int *seed, const char *dir)
{
	struct tree *tree = calloc(1, sizeof(*tree)), *now = calloc(1, sizeof(*now));

	assert_non_null(tree);
	assert_non_null(now);
	for (size_t i = 0; i < count; i++) {
		bool keep = names == NAMES_KEPT || name_durable(log, i, count) ||
			    (names == NAMES_MIXED && coin(seed));

		tree_apply(tree, now, &log->ops[i], keep);
	}
	tree_make(log, count, tree, data, seed, dir);
	free(tree);
	free(now);
}
