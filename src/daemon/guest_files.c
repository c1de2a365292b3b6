/* SPDX-License-Identifier: BSD-3-Clause */
/* The [files] of a cluster's description: files and whole directories, put into every guest. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/parallel.h"
#include "daemon/guest.h"

enum { FILE_MS = 30000 };

static int put_block(struct node *node, const char *guest_path, off_t offset, mode_t mode,
		     bool last, const void *bytes, size_t len, struct err *err)
{
	json_t *write =
		json_pack("{s:s,s:s,s:I,s:i,s:b}", "op", "fs.write", "path", guest_path,
			  "offset", (json_int_t)offset, "mode", (int)mode, "last", (int)last);
	struct rpc_msg reply;
	int rc = node_call(node, write, bytes, len, FILE_MS, &reply, err);

	json_decref(write);
	rpc_msg_clear(&reply);
	return rc;
}

static int put_file(struct node *node, const char *host_path, const char *guest_path,
		    struct err *err)
{
	CLEANUP_CLOSE int fd = open(host_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	CLEANUP_FREE char *buf = malloc(RPC_AGENT_BLOB_MAX);
	struct stat st;
	off_t offset = 0;
	bool last;
	int rc;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, errno, "[files] cannot open %s", host_path);
	if (!buf)
		return err_sys(err, ENOMEM, "[files] %s", host_path);
	do {
		ssize_t n = pread(fd, buf, RPC_AGENT_BLOB_MAX, offset);

		if (n < 0)
			return err_sys(err, errno, "[files] cannot read %s", host_path);
		last = offset + n >= st.st_size || n == 0;
		rc = put_block(node, guest_path, offset, st.st_mode & 07777, last, buf,
			       (size_t)n, err);
		offset += n;
	} while (rc == 0 && !last);
	return rc;
}

static int put_directory(struct node *node, const char *guest_path, mode_t mode,
			 struct err *err)
{
	return node_ask(node,
			json_pack("{s:s,s:s,s:i}", "op", "fs.mkdir", "path", guest_path, "mode",
				  (int)(mode & 07777)),
			FILE_MS, NULL, err);
}

static int put_link(struct node *node, const FTSENT *entry, const char *guest_path,
		    struct err *err)
{
	char target[IO_PATH_MAX];
	ssize_t len = readlink(entry->fts_accpath, target, sizeof(target) - 1);

	if (len < 0)
		return err_sys(err, errno, "[files] cannot read the link %s", entry->fts_path);
	target[len] = '\0';
	return node_ask(node,
			json_pack("{s:s,s:s,s:s}", "op", "fs.symlink", "path", guest_path,
				  "target", target),
			FILE_MS, NULL, err);
}

static int put_entry(struct node *node, const FTSENT *entry, const char *guest_path,
		     struct err *err)
{
	switch (entry->fts_info) {
	case FTS_D: return put_directory(node, guest_path, entry->fts_statp->st_mode, err);
	case FTS_DP: return 0;
	case FTS_F: return put_file(node, entry->fts_path, guest_path, err);
	case FTS_SL:
	case FTS_SLNONE: return put_link(node, entry, guest_path, err);
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return err_sys(err, entry->fts_errno, "[files] cannot read %s",
			       entry->fts_path);
	default:
		return err_set(err, EINVAL, "[files] %s is no file, directory or link",
			       entry->fts_path);
	}
}

/* The directory that the guest's path is in. */
static int put_parent(struct node *node, const char *guest_path, struct err *err)
{
	char parent[IO_PATH_MAX];
	char *slash;

	snprintf(parent, sizeof(parent), "%s", guest_path);
	slash = strrchr(parent, '/');
	if (slash == parent)
		return 0;
	*slash = '\0';
	return put_directory(node, parent, 0755, err);
}

static size_t path_without_slashes(const char *path, char ret_path[IO_PATH_MAX])
{
	size_t len = (size_t)snprintf(ret_path, IO_PATH_MAX, "%s", path);

	while (len > 1 && ret_path[len - 1] == '/')
		ret_path[--len] = '\0';
	return len;
}

/* What the spec names may be a link; below it, links stay links. */
static int put_tree(struct node *node, const struct spec_file *file, struct err *err)
{
	char root[IO_PATH_MAX], path[IO_PATH_MAX];
	char *roots[] = {root, NULL};
	size_t root_len = path_without_slashes(file->host_path, root);
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, NULL);
	int rc = fts ? put_parent(node, file->guest_path, err)
		     : err_sys(err, errno, "[files] cannot read %s", root);
	FTSENT *entry;

	while (rc == 0) {
		errno = 0;
		entry = fts_read(fts);
		if (!entry && errno)
			rc = err_sys(err, errno, "[files] cannot read %s", root);
		if (!entry)
			break;
		if ((size_t)snprintf(path, sizeof(path), "%s%s", file->guest_path,
				     entry->fts_path + root_len) >= sizeof(path))
			rc = err_set(err, ENAMETOOLONG,
				     "[files] the guest's path of %.500s is too long",
				     entry->fts_path);
		else
			rc = put_entry(node, entry, path, err);
	}
	if (fts)
		fts_close(fts);
	return rc;
}

static int put_all(size_t index, void *arg, struct err *err)
{
	struct cluster *cluster = arg;
	int rc = 0;

	for (unsigned int i = 0; i < cluster->spec.file_count && rc == 0; i++)
		rc = put_tree(&cluster->nodes[index], &cluster->spec.files[i], err);
	return rc;
}

int guest_put_files(struct cluster *cluster, struct err *err)
{
	return parallel_each(cluster->spec.vms, put_all, cluster, err);
}
