/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of a VM's disk: making, checking and re-basing of layers while no QEMU has them open.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "vm/disk/disk.h"
#include "vm/disk/nbd.h"
#include "vm/proc/proc.h"
#include "vm/qemu/args.h"
#include "vm/qemu/machine.h"

enum {
	QEMU_IMG_MS = 60000,
	SERVED_MS = 20000,
	BACKING_MAX = 1024, /* what a qcow2 header can hold */
};

/* Beyond the disk's size, for tables; and how much of the room must be left. */
#define RESERVE_BYTES  (64ULL << 20)
#define DISK_BYTES_MAX (UINT64_C(1) << 45)

/* What is looked at of a qcow2 header; big-endian. */
struct qcow2_start {
	uint32_t magic, version;
	uint64_t backing_offset;
	uint32_t backing_len, cluster_bits;
	uint64_t bytes; /* of the disk */
};

#define QCOW2_MAGIC 0x514649fbU

int disk_next_remove(const struct vm_config *config, struct err *err)
{
	char path[IO_PATH_MAX];
	int rc = vm_dir_path(config, DISK_NEXT, path, sizeof(path), err);

	if (rc == 0 && unlink(path) < 0 && errno != ENOENT)
		rc = err_sys(err, errno, "cannot remove %s", path);
	return rc;
}

/* qemu-img with its output; the casts are what the type of argv asks for. */
static int qemu_img(const char *const argv[], struct err *err)
{
	char output[1024];

	return proc_run((char *const *)(uintptr_t)argv, deadline_in_ms(QEMU_IMG_MS), output,
			sizeof(output), err);
}

int disk_check(const struct vm_config *config, bool incoming, struct err *err)
{
	char path[IO_PATH_MAX];
	int rc = vm_dir_path(config, DISK_ACTIVE, path, sizeof(path), err);

	if (rc < 0)
		return rc;
	if (access(path, R_OK | W_OK) < 0)
		return err_sys(err, errno, "cannot open the disk of VM %s, %s", config->name,
			       path);
	if (incoming)
		return disk_next_remove(config, err);
	rc = vm_dir_path(config, DISK_NEXT, path, sizeof(path), err);
	if (rc == 0 && access(path, F_OK) == 0)
		rc = err_set(
			err, EEXIST,
			"VM %s ended in the middle of a checkpoint, its newest data may be in %s: "
			"restart it from a checkpoint",
			config->name, path);
	return rc;
}

/* `qemu-img verb` on the active layer, with the base as its backing file. `option` may be NULL.
 */
static int active_over_base(const struct vm_config *config, const char *verb,
			    const char *option, struct err *err)
{
	char path[IO_PATH_MAX];
	const char *const argv[] = {
		qemu_img_program(),  verb, "-q",   "-f", "qcow2", "-b", config->base_disk, "-F",
		config->base_format, path, option, NULL};
	int rc = vm_dir_path(config, DISK_ACTIVE, path, sizeof(path), err);

	if (rc == 0)
		rc = disk_next_remove(config, err);
	return rc < 0 ? rc : qemu_img(argv, err);
}

static int active_open(const struct vm_config *config, int flags, int *ret_fd, struct err *err)
{
	char path[IO_PATH_MAX];
	int rc = vm_dir_path(config, DISK_ACTIVE, path, sizeof(path), err);

	if (rc < 0)
		return rc;
	*ret_fd = open(path, flags | O_CLOEXEC);
	return *ret_fd < 0 ? err_sys(err, errno, "cannot open %s", path) : 0;
}

/* Size of the disk that a layer holds, from its header. */
static int start_bytes(const struct qcow2_start *start, const char *name, uint64_t *ret_bytes,
		       struct err *err)
{
	*ret_bytes = be64toh(start->bytes);
	if (be32toh(start->magic) != QCOW2_MAGIC || *ret_bytes > DISK_BYTES_MAX)
		return err_set(err, EBADMSG, "the disk of VM %s is not a qcow2 file", name);
	return 0;
}

static int disk_bytes(int fd, const char *name, uint64_t *ret_bytes, struct err *err)
{
	struct qcow2_start start;
	int rc = io_pread_all(fd, &start, sizeof(start), 0, err);

	return rc < 0 ? rc : start_bytes(&start, name, ret_bytes, err);
}

/* Where the last data of a file end. Data at or behind an offset are all that is asked, so
 * that halving finds the end. */
static int data_end(int fd, uint64_t *ret_end, struct err *err)
{
	struct stat st;
	uint64_t low = 0, high;

	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot look at the disk's file");
	high = (uint64_t)st.st_size;
	while (low < high) { /* data below low; none at or behind high */
		uint64_t middle = low + (high - low) / 2;
		off_t at = lseek(fd, (off_t)middle, SEEK_DATA);

		if (at < 0 && errno != ENXIO)
			return err_sys(err, errno, "cannot look for data in the disk's file");
		if (at < 0)
			high = middle;
		else
			low = (uint64_t)at + 1;
	}
	*ret_end = high;
	return 0;
}

/* A hole behind the layer's data, beyond all that qcow2 will ever write. A file system that
 * cannot have so large a file goes without: see disk_reserved(). */
static int active_reserve(const struct vm_config *config, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	struct stat st;
	uint64_t bytes = 0;
	int rc = active_open(config, O_RDWR, &fd, err);

	if (rc == 0)
		rc = disk_bytes(fd, config->name, &bytes, err);
	if (rc < 0)
		return rc;
	bytes = 2 * bytes + RESERVE_BYTES;
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot look at the disk of VM %s", config->name);
	if ((uint64_t)st.st_size < bytes && ftruncate(fd, (off_t)bytes) < 0 && errno != EFBIG)
		return err_sys(err, errno, "cannot extend the disk of VM %s", config->name);
	return 0;
}

int disk_reserved(const struct vm_config *config, uint64_t bytes, bool *ret_reserved,
		  struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	uint64_t disk, end;
	int rc = active_open(config, O_RDONLY, &fd, err);

	if (rc == 0)
		rc = disk_bytes(fd, config->name, &disk, err);
	if (rc == 0)
		rc = data_end(fd, &end, err);
	if (rc == 0)
		*ret_reserved = end + disk / 2 + RESERVE_BYTES / 2 <= bytes;
	return rc;
}

int vm_disk_frozen_open(const struct vm *vm, int *ret_fd, uint64_t *ret_bytes, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	int rc = active_open(&vm->config, O_RDONLY, &fd, err);

	if (rc == 0)
		rc = data_end(fd, ret_bytes, err);
	if (rc == 0)
		*ret_fd = TAKE_FD(fd);
	return rc;
}

/* The next extent of data at or behind `from`; 0 when there is none, 1, or -errno. */
static int extent_next(int fd, off_t from, off_t *ret_start, off_t *ret_end)
{
	*ret_start = lseek(fd, from, SEEK_DATA);
	if (*ret_start < 0)
		return errno == ENXIO ? 0 : -errno;
	*ret_end = lseek(fd, *ret_start, SEEK_HOLE);
	return *ret_end < 0 ? -errno : 1;
}

/* Some bytes; as shared extents where the file systems can do that. */
static ssize_t bytes_copy(int in, off_t *at, int out, off_t *to, size_t len)
{
	ssize_t copied = copy_file_range(in, at, out, to, len, 0);

	if (copied >= 0 || (errno != EXDEV && errno != EOPNOTSUPP && errno != EINVAL))
		return copied;
	if (lseek(out, *to, SEEK_SET) < 0)
		return -1;
	copied = sendfile(out, in, at, len);
	if (copied > 0)
		*to += copied;
	return copied;
}

/* What is data in one file goes to the same place in the other. */
static int data_copy(int in, int out)
{
	off_t at = 0, end = 0;
	int rc;

	while ((rc = extent_next(in, end, &at, &end)) > 0) {
		off_t to = at;

		while (at < end) {
			ssize_t copied = bytes_copy(in, &at, out, &to, (size_t)(end - at));

			if (copied <= 0)
				return copied < 0 ? -errno : -EIO;
		}
	}
	return rc;
}

int vm_disk_copy(const char *from, const struct vm_config *config, struct err *err)
{
	CLEANUP_CLOSE int in = open(from, O_RDONLY | O_CLOEXEC);
	CLEANUP_CLOSE int out = -1;
	char to[IO_PATH_MAX];
	int rc = vm_dir_path(config, DISK_ACTIVE, to, sizeof(to), err);

	if (rc < 0)
		return rc;
	if (in < 0)
		return err_sys(err, errno, "cannot open %s", from);
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (out < 0)
		return err_sys(err, errno, "cannot create %s", to);
	rc = data_copy(in, out);
	if (rc < 0)
		return err_sys(err, -rc, "cannot copy %s to %s", from, to);
	return active_reserve(config, err);
}

/* The served layer is named as what it is, so that a file that was not filled to the end is
 * never taken for whole: it cannot be read when the server is gone. At the end of the fill QEMU
 * writes the base's name there. */
static int active_over_served(const struct vm_config *config, struct err *err)
{
	const struct vm_served *served = &config->served;
	struct qcow2_start start;
	CLEANUP_FREE char *file = NULL;
	char path[IO_PATH_MAX], backing[BACKING_MAX], size[32];
	const char *const argv[] = {qemu_img_program(),
				    "create",
				    "-q",
				    "-u",
				    "-f",
				    "qcow2",
				    "-b",
				    backing,
				    "-F",
				    "qcow2",
				    path,
				    size,
				    NULL};
	json_t *json = json_pack("{s:s, s:{s:s, s:s, s:{s:s, s:s}}}", "driver", "qcow2", "file",
				 "driver", "nbd", "export", served->export_name, "server",
				 "type", "unix", "path", served->socket);
	uint64_t bytes = 0;
	int rc = vm_dir_path(config, DISK_ACTIVE, path, sizeof(path), err);

	file = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	if (rc == 0 && !file)
		rc = err_set(err, EILSEQ, "the path %s is not UTF-8", served->socket);
	if (rc == 0)
		rc = io_path(backing, sizeof(backing), err, "json:%s", file);
	if (rc == 0)
		rc = disk_next_remove(config, err);
	if (rc == 0)
		rc = nbd_read_start(served->socket, served->export_name,
				    deadline_in_ms(SERVED_MS), &start, sizeof(start), err);
	if (rc == 0)
		rc = start_bytes(&start, config->name, &bytes, err);
	if (rc < 0)
		return rc;
	snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
	return qemu_img(argv, err);
}

int vm_disk_create(const struct vm_config *config, struct err *err)
{
	int rc = config->served.socket[0] ? active_over_served(config, err)
					  : active_over_base(config, "create", NULL, err);

	return rc < 0 ? rc : active_reserve(config, err);
}

int vm_disk_rebase(const struct vm_config *config, struct err *err)
{
	int rc = active_over_base(config, "rebase", "-u", err);

	return rc < 0 ? rc : active_reserve(config, err);
}

int disk_next_create(const struct vm_config *config, uint64_t bytes, struct err *err)
{
	char path[IO_PATH_MAX], size[32];
	const char *const argv[] = {
		qemu_img_program(), "create", "-q",    "-u", "-f", "qcow2", "-b",
		DISK_ACTIVE,        "-F",     "qcow2", path, size, NULL};
	int rc = vm_dir_path(config, DISK_NEXT, path, sizeof(path), err);

	if (rc == 0)
		rc = disk_next_remove(config, err);
	if (rc < 0)
		return rc;
	snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
	return qemu_img(argv, err);
}
