/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying from this host into guests: the tree is walked once, each block goes to all VMs at
 * the same time. */
#include "cli/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

static int write_block(struct copy *copy, const char *guest_path, int64_t offset, mode_t mode,
		       bool last, const char *block, size_t len, struct err *err)
{
	return agents_call_all(copy->agents,
			       json_pack("{s:s, s:s, s:I, s:i, s:b}", "op", "fs.write", "path",
					 guest_path, "offset", (json_int_t)offset, "mode",
					 (int)(mode & 0777), "last", last),
			       block, len, err);
}

static int copy_file(struct copy *copy, const char *host_path, const char *guest_path,
		     struct err *err)
{
	CLEANUP_CLOSE int fd = open(host_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	CLEANUP_FREE char *block = malloc(RPC_AGENT_BLOB_MAX);
	struct stat st;
	int64_t offset = 0;
	bool last;
	ssize_t n;
	int rc;

	if (!block)
		return err_sys(err, ENOMEM, "cannot copy %.200s", host_path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot open %.200s", host_path);
	do {
		do
			n = read(fd, block, RPC_AGENT_BLOB_MAX);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			return err_sys(err, errno, "cannot read %.200s", host_path);
		/* a short read of a regular file is its end */
		last = n < RPC_AGENT_BLOB_MAX;
		rc = write_block(copy, guest_path, offset, st.st_mode, last, block, (size_t)n,
				 err);
		if (rc < 0)
			return err_prefix(err, "cannot write %.200s", guest_path);
		offset += n;
		copy->bytes += (uint64_t)n;
		progress_bytes(copy->progress, "copy in", copy->bytes, copy->bytes_total,
			       host_path);
	} while (!last);
	copy->files++;
	return 0;
}

static int copy_link(struct copy *copy, const char *host_path, const char *guest_path,
		     struct err *err)
{
	char target[IO_PATH_MAX];
	ssize_t n = readlink(host_path, target, sizeof(target) - 1);
	int rc;

	if (n < 0)
		return err_sys(err, errno, "cannot read the link %.200s", host_path);
	target[n] = '\0';
	rc = cli_check_text("a link's target", target, sizeof(target), err);
	if (rc == 0)
		rc = agents_call_all(copy->agents,
				     json_pack("{s:s, s:s, s:s}", "op", "fs.symlink", "path",
					       guest_path, "target", target),
				     NULL, 0, err);
	if (rc < 0)
		return err_prefix(err, "cannot make the link %.200s", guest_path);
	copy->files++;
	return 0;
}

static int copy_entry(struct copy *copy, const FTSENT *entry, const char *guest_path,
		      struct err *err)
{
	int rc;

	if (cli_check_text("a file's name", entry->fts_path, IO_PATH_MAX - 1, err) < 0) {
		char clean[256];

		snprintf(clean, sizeof(clean), "%.200s",
			 entry->fts_parent ? entry->fts_parent->fts_name : "");
		return err_prefix(err, "in directory %s", clean);
	}
	switch (entry->fts_info) {
	case FTS_D:
		rc = agents_call_all(copy->agents,
				     json_pack("{s:s, s:s, s:i}", "op", "fs.mkdir", "path",
					       guest_path, "mode",
					       (int)(entry->fts_statp->st_mode & 0777)),
				     NULL, 0, err);
		return rc < 0 ? err_prefix(err, "cannot make directory %.200s", guest_path) : 0;
	case FTS_F: return copy_file(copy, entry->fts_accpath, guest_path, err);
	case FTS_SL:
	case FTS_SLNONE: return copy_link(copy, entry->fts_accpath, guest_path, err);
	case FTS_DP: return 0;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return err_sys(err, entry->fts_errno, "cannot read %.200s", entry->fts_path);
	default:
		cli_warn(copy->cli, "%.200s is neither file, directory nor link: skipped",
			 entry->fts_path);
		copy->skipped++;
		return 0;
	}
}

/* Walk the tree, adding up file sizes (`sum` true) or copying. */
static int copy_walk(struct copy *copy, const char *host_path, const char *guest_path, bool sum,
		     struct err *err)
{
	char *const roots[] = {(char *)host_path, NULL};
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW, NULL);
	size_t root_len = strlen(host_path);
	const FTSENT *entry;
	int rc = 0;

	if (!fts)
		return err_sys(err, errno, "cannot read %.200s", host_path);
	while (rc == 0 && (errno = 0, entry = fts_read(fts))) {
		char path[IO_PATH_MAX];
		const char *rest = entry->fts_path + root_len;

		if (sum) {
			if (entry->fts_info == FTS_F)
				copy->bytes_total += (uint64_t)entry->fts_statp->st_size;
			continue;
		}
		rc = io_path(path, sizeof(path), err, "%s%s%s", guest_path,
			     *rest && *rest != '/' ? "/" : "", rest);
		if (rc == 0)
			rc = copy_entry(copy, entry, path, err);
	}
	if (rc == 0 && errno)
		rc = err_sys(err, errno, "cannot read %.200s", host_path);
	fts_close(fts);
	return rc;
}

int copy_in(struct copy *copy, const char *host_path, const char *guest_path, struct err *err)
{
	int rc = copy_walk(copy, host_path, guest_path, true, err);

	return rc < 0 ? rc : copy_walk(copy, host_path, guest_path, false, err);
}
