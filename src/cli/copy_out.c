/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying from a guest to this host, in two steps: list and check what is there, then fetch it.
 */
#include "cli/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

enum { ENTRIES_MAX = 1000000, NAME_BYTES_MAX = 255 };

enum entry_kind { ENTRY_FILE, ENTRY_DIR, ENTRY_LINK, ENTRY_OTHER };

/* One thing in the guest. rel is its path below the copied directory, "" for the root itself.
 */
struct entry {
	enum entry_kind kind;
	char *rel, *target;
	int64_t size, mtime_ns;
	mode_t mode;
	bool wanted;
};

struct plan {
	const char *guest_root;
	struct entry *entries;
	size_t count, room;
};

static void plan_clear(struct plan *plan)
{
	size_t i;

	for (i = 0; i < plan->count; i++) {
		free(plan->entries[i].rel);
		free(plan->entries[i].target);
	}
	free(plan->entries);
}

static int kind_parse(const json_t *json, enum entry_kind *ret_kind, struct err *err)
{
	static const char *const names[] = {[ENTRY_FILE] = "file",
					    [ENTRY_DIR] = "dir",
					    [ENTRY_LINK] = "link",
					    [ENTRY_OTHER] = "other"};
	const char *name;
	size_t i;
	int rc = rpc_get_str(json, "kind", &name, err);

	for (i = 0; rc == 0 && i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret_kind = (enum entry_kind)i;
			return 0;
		}
	}
	return rc < 0 ? rc : err_set(err, EPROTO, "the guest told an unknown kind of file");
}

/* Add what fs.stat or fs.list told. `rel` is checked already. */
static int plan_add(struct plan *plan, const json_t *json, const char *rel, struct err *err)
{
	struct entry *entry, *more;
	const char *target = "";
	int64_t mode = 0600;
	int rc;

	if (plan->count == ENTRIES_MAX)
		return err_set(err, E2BIG, "%.200s holds more than %d files", plan->guest_root,
			       ENTRIES_MAX);
	if (plan->count == plan->room) {
		plan->room = plan->room ? 2 * plan->room : 64;
		more = reallocarray(plan->entries, plan->room, sizeof(*more));
		if (!more)
			return err_sys(err, ENOMEM, "cannot list %.200s", plan->guest_root);
		plan->entries = more;
	}
	entry = &plan->entries[plan->count];
	memset(entry, 0, sizeof(*entry));
	rc = kind_parse(json, &entry->kind, err);
	if (rc == 0)
		rc = rpc_opt_int(json, "size", 0, INT64_MAX, &entry->size, err);
	if (rc == 0)
		rc = rpc_opt_int(json, "mode", 0, INT32_MAX, &mode, err);
	if (rc == 0)
		rc = rpc_opt_int(json, "mtime_ns", INT64_MIN, INT64_MAX, &entry->mtime_ns, err);
	if (rc == 0 && entry->kind == ENTRY_LINK)
		rc = rpc_get_str(json, "target", &target, err);
	if (rc < 0)
		return rc;
	entry->mode = (mode_t)mode & 0777;
	entry->rel = strdup(rel);
	entry->target = strdup(target);
	plan->count++;
	return entry->rel && entry->target ? 0 : err_sys(err, ENOMEM, "cannot list files");
}

static bool name_safe(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len <= NAME_BYTES_MAX && !strchr(name, '/') &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* One page of a directory; *ret_after gets the last name, empty when there is no more. */
static int plan_page(struct plan *plan, const json_t *reply, const char *dir_rel,
		     char ret_after[NAME_BYTES_MAX + 1], struct err *err)
{
	const json_t *entries = json_object_get(reply, "entries"), *item;
	bool more = false;
	size_t i;
	int rc = rpc_opt_bool(reply, "more", &more, err);

	if (rc == 0 && !json_is_array(entries))
		rc = err_set(err, EPROTO, "the guest's list of files has no entries");
	if (rc < 0)
		return rc;
	json_array_foreach((json_t *)entries, i, item)
	{
		char rel[IO_PATH_MAX];
		const char *name = json_string_value(json_object_get(item, "name"));

		if (!name || !name_safe(name))
			return err_set(err, EPROTO,
				       "the guest told the file name '%.60s', which is refused",
				       name ? name : "");
		if (strcmp(name, ret_after) <= 0)
			return err_set(err, EPROTO, "the guest's list of files is not sorted");
		strcpy(ret_after, name);
		rc = io_path(rel, sizeof(rel), err, "%s%s%s", dir_rel, *dir_rel ? "/" : "",
			     name);
		if (rc == 0)
			rc = plan_add(plan, item, rel, err);
		if (rc < 0)
			return rc;
	}
	if (more && json_array_size(entries) == 0)
		return err_set(err, EPROTO, "the guest's list of files does not go on");
	if (!more)
		ret_after[0] = '\0';
	return 0;
}

static int plan_dir(struct plan *plan, struct agents *agents, size_t vm, const char *rel,
		    struct err *err)
{
	char path[IO_PATH_MAX], after[NAME_BYTES_MAX + 1] = "";
	int rc = io_path(path, sizeof(path), err, "%s%s%s", plan->guest_root, *rel ? "/" : "",
			 rel);

	if (rc < 0)
		return rc;
	do {
		struct rpc_msg reply = {0};

		rc = agents_call(agents, vm,
				 json_pack("{s:s, s:s, s:s}", "op", "fs.list", "path", path,
					   "after", after),
				 NULL, 0, &reply, err);
		if (rc == 0)
			rc = plan_page(plan, reply.json, rel, after, err);
		rpc_msg_clear(&reply);
	} while (rc == 0 && after[0]);
	return rc < 0 ? err_prefix(err, "cannot list %.200s", path) : 0;
}

static int guest_stat(struct agents *agents, size_t vm, const char *path, json_t **ret_stat,
		      struct err *err)
{
	struct rpc_msg reply = {0};
	int rc = agents_call(agents, vm, json_pack("{s:s, s:s}", "op", "fs.stat", "path", path),
			     NULL, 0, &reply, err);

	if (rc < 0)
		return err_prefix(err, "%.200s", path);
	*ret_stat = json_incref(reply.json);
	rpc_msg_clear(&reply);
	return 0;
}

int copy_guest_kind(struct agents *agents, size_t vm, const char *path, char ret_kind[8],
		    int64_t *ret_mtime_ns, struct err *err)
{
	json_t *stat = NULL;
	const char *kind;
	int rc = guest_stat(agents, vm, path, &stat, err);

	ret_kind[0] = '\0';
	if (rc == -ENOENT)
		return 0;
	if (rc == 0)
		rc = rpc_get_str(stat, "kind", &kind, err);
	if (rc == 0)
		snprintf(ret_kind, 8, "%s", kind);
	if (rc == 0 && ret_mtime_ns)
		rc = rpc_get_int(stat, "mtime_ns", INT64_MIN, INT64_MAX, ret_mtime_ns, err);
	json_decref(stat);
	return rc;
}

static int plan_make(struct plan *plan, struct agents *agents, size_t vm, struct err *err)
{
	json_t *stat = NULL;
	size_t i;
	int rc = guest_stat(agents, vm, plan->guest_root, &stat, err);

	if (rc == 0)
		rc = plan_add(plan, stat, "", err);
	json_decref(stat);
	for (i = 0; rc == 0 && i < plan->count; i++) {
		/* a copy: entries move while more are added */
		CLEANUP_FREE char *rel = strdup(plan->entries[i].rel);

		if (!rel)
			rc = err_sys(err, ENOMEM, "cannot list files");
		else if (plan->entries[i].kind == ENTRY_DIR)
			rc = plan_dir(plan, agents, vm, rel, err);
	}
	return rc;
}

static void plan_choose(struct plan *plan, const struct copy_filter *filter, struct copy *copy)
{
	size_t i;

	for (i = 0; i < plan->count; i++) {
		struct entry *entry = &plan->entries[i];

		entry->wanted = !filter || (entry->kind != ENTRY_DIR &&
					    entry->mtime_ns >= filter->since_ns);
		if (filter && entry->kind != ENTRY_DIR) {
			if (json_object_get(filter->seen, entry->rel))
				entry->wanted = false;
			json_object_set_new(filter->seen, entry->rel, json_true());
		}
		if (entry->wanted && entry->kind == ENTRY_FILE)
			copy->bytes_total += (uint64_t)entry->size;
	}
}

/* Open the directory `rel` below root_fd, making what is missing and following no link. */
static int open_below(int root_fd, const char *rel, size_t rel_len, int *ret_fd,
		      struct err *err)
{
	CLEANUP_CLOSE int fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t at = 0;

	while (fd >= 0 && at < rel_len) {
		char name[NAME_BYTES_MAX + 1];
		size_t len = strcspn(rel + at, "/");
		int next;

		if (len > rel_len - at)
			len = rel_len - at;
		snprintf(name, sizeof(name), "%.*s", (int)len, rel + at);
		if (mkdirat(fd, name, 0777) < 0 && errno != EEXIST)
			return err_sys(err, errno, "cannot make directory %.*s", (int)rel_len,
				       rel);
		next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return err_sys(
				err, errno,
				"%.*s is in the way: not a directory, or a symbolic link, which is not "
				"followed",
				(int)(at + len), rel);
		close(fd);
		fd = next;
		at += len + (rel[at + len] == '/');
	}
	if (fd < 0)
		return err_sys(err, errno, "cannot open the destination");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int fetch_blocks(struct copy *copy, size_t vm, const char *guest_path, int fd,
			struct err *err)
{
	int64_t offset = 0, size;
	int rc;

	do {
		struct rpc_msg reply = {0};

		rc = agents_call(copy->agents, vm,
				 json_pack("{s:s, s:s, s:I, s:i}", "op", "fs.read", "path",
					   guest_path, "offset", (json_int_t)offset, "max",
					   (int)RPC_AGENT_BLOB_MAX),
				 NULL, 0, &reply, err);
		if (rc < 0)
			return rc;
		rc = rpc_get_int(reply.json, "size", 0, INT64_MAX, &size, err);
		if (rc == 0)
			rc = io_write_all(fd, reply.blob, reply.blob_len, err);
		offset += (int64_t)reply.blob_len;
		copy->bytes += reply.blob_len;
		if (reply.blob_len == 0)
			size = 0;
		rpc_msg_clear(&reply);
		progress_bytes(copy->progress, "copy out", copy->bytes, copy->bytes_total,
			       guest_path);
	} while (rc == 0 && offset < size);
	return rc;
}

static int fetch_file(struct copy *copy, size_t vm, const struct entry *entry,
		      const char *guest_path, int dir_fd, const char *name, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	struct stat st;
	char temp[64];
	int rc;

	snprintf(temp, sizeof(temp), ".stasis-%ld-%llu.tmp", (long)getpid(),
		 (unsigned long long)copy->files);
	unlinkat(dir_fd, temp, 0);
	fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		    entry->mode | 0600);
	if (fd < 0)
		return err_sys(err, errno, "cannot make %.200s", name);
	rc = fetch_blocks(copy, vm, guest_path, fd, err);
	/* what the umask left of the guest's bits, without those that writing needed */
	if (rc == 0 && (fstat(fd, &st) < 0 || fchmod(fd, st.st_mode & entry->mode) < 0))
		rc = err_sys(err, errno, "cannot set the mode of %.200s", name);
	if (rc == 0 && fsync(fd) < 0)
		rc = err_sys(err, errno, "cannot write %.200s", name);
	if (rc == 0 && renameat(dir_fd, temp, dir_fd, name) < 0)
		rc = err_sys(err, errno, "cannot put %.200s in place", name);
	if (rc < 0)
		unlinkat(dir_fd, temp, 0);
	else
		copy->files++;
	return rc;
}

/* A relative target without "..": it cannot lead out of the tree that it lies in. */
static bool target_safe(const char *target)
{
	const char *at = target;

	if (*target == '/' || !*target)
		return false;
	while ((at = strstr(at, ".."))) {
		if ((at == target || at[-1] == '/') && (at[2] == '/' || at[2] == '\0'))
			return false;
		at += 2;
	}
	return true;
}

static int make_link(struct copy *copy, const struct entry *entry, int dir_fd, const char *name,
		     struct err *err)
{
	struct stat st;

	if (!target_safe(entry->target)) {
		cli_warn(copy->cli,
			 "%.200s is a link that leads out of the copied directory: skipped",
			 name);
		copy->skipped++;
		return 0;
	}
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
		unlinkat(dir_fd, name, 0);
	if (symlinkat(entry->target, dir_fd, name) < 0)
		return err_sys(err, errno, "cannot make the link %.200s", name);
	copy->files++;
	return 0;
}

/* A new directory gets the guest's mode, one that exists keeps its own. */
static int make_dir(int parent_fd, mode_t mode, const char *name, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;

	if (mkdirat(parent_fd, name, mode | 0700) < 0 && errno != EEXIST)
		return err_sys(err, errno, "cannot make directory %.200s", name);
	return open_below(parent_fd, name, strlen(name), &fd, err);
}

/* Bring one entry to its place: `name`/rel below root_fd. */
static int fetch_entry(struct copy *copy, size_t vm, const struct plan *plan,
		       const struct entry *entry, int root_fd, const char *name,
		       struct err *err)
{
	CLEANUP_CLOSE int dir_fd = -1;
	char guest[IO_PATH_MAX], host[IO_PATH_MAX];
	const char *slash, *base;
	int rc = io_path(guest, sizeof(guest), err, "%s%s%s", plan->guest_root,
			 *entry->rel ? "/" : "", entry->rel);

	if (rc == 0)
		rc = io_path(host, sizeof(host), err, "%s%s%s", name,
			     *name && *entry->rel ? "/" : "", entry->rel);
	if (rc < 0)
		return rc;
	slash = strrchr(host, '/');
	base = slash ? slash + 1 : host;
	rc = open_below(root_fd, host, slash ? (size_t)(slash - host) : 0, &dir_fd, err);
	if (rc < 0)
		return rc;
	switch (entry->kind) {
	case ENTRY_DIR: return *base ? make_dir(dir_fd, entry->mode, base, err) : 0;
	case ENTRY_FILE: return fetch_file(copy, vm, entry, guest, dir_fd, base, err);
	case ENTRY_LINK: return make_link(copy, entry, dir_fd, base, err);
	default:
		cli_warn(copy->cli, "%.200s is neither file, directory nor link: skipped",
			 guest);
		copy->skipped++;
		return 0;
	}
}

int copy_out(struct copy *copy, size_t vm, const char *guest_path, const char *host_dir,
	     const char *name, const struct copy_filter *filter, struct err *err)
{
	CLEANUP_CLOSE int root_fd = open(host_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct plan plan = {.guest_root = guest_path};
	size_t i;
	int rc;

	if (root_fd < 0)
		return err_sys(err, errno, "cannot open directory %.200s", host_dir);
	rc = plan_make(&plan, copy->agents, vm, err);
	if (rc == 0)
		plan_choose(&plan, filter, copy);
	for (i = 0; rc == 0 && i < plan.count; i++) {
		if (plan.entries[i].wanted)
			rc = fetch_entry(copy, vm, &plan, &plan.entries[i], root_fd, name, err);
	}
	plan_clear(&plan);
	return rc;
}
