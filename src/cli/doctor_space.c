/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of stasis doctor: memory, disk space, the store's file system, the guest image, the
 * daemon. */
#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/paths.h"
#include "cli/client.h"
#include "cli/doctor.h"
#include "cli/human.h"

#define GIB         (1ULL << 30)
#define MEMORY_FAIL (GIB / 2)
#define MEMORY_WARN (2 * GIB)
#define DISK_FAIL   GIB
#define DISK_WARN   (4 * GIB)

static void grade_bytes(struct doctor_result *ret_result, uint64_t bytes, uint64_t fail,
			uint64_t warn, const char *where, const char *remedy)
{
	char text[HUMAN_TEXT_MAX], found[256];
	enum doctor_grade grade = bytes < fail   ? DOCTOR_FAIL
				  : bytes < warn ? DOCTOR_WARN
						 : DOCTOR_OK;

	snprintf(found, sizeof(found), "%s free%s%.180s", human_bytes(bytes, text),
		 *where ? " at " : "", where);
	doctor_say(ret_result, grade, found, grade == DOCTOR_OK ? "" : remedy);
}

static void check_memory(struct doctor_result *ret_result)
{
	struct err err = ERR_INIT;
	uint64_t bytes;

	if (io_memory_available(&bytes, &err) < 0)
		doctor_say(ret_result, DOCTOR_WARN, err.msg, "");
	else
		grade_bytes(
			ret_result, bytes, MEMORY_FAIL, MEMORY_WARN, "",
			"give VMs less memory, or end other programs: two VMs of 512M and a checkpoint of them "
			"take about 2 GiB");
}

static void check_memfd(struct doctor_result *ret_result)
{
	CLEANUP_CLOSE int fd = memfd_create("stasis-doctor", MFD_CLOEXEC);
	struct err err = ERR_INIT;
	uint64_t bytes;

	if (fd < 0)
		doctor_say(ret_result, DOCTOR_FAIL, "memfd_create(2) does not work",
			   "guest memory is kept in memfds: allow the system call");
	else if (io_free_bytes("/dev/shm", &bytes, &err) < 0)
		doctor_say(ret_result, DOCTOR_WARN, err.msg, "mount a tmpfs on /dev/shm");
	else
		grade_bytes(ret_result, bytes, 64 << 20, GIB, "/dev/shm",
			    "enlarge the tmpfs on /dev/shm");
}

/* The path itself, or the nearest directory above it that exists. */
static void existing_parent(char path[IO_PATH_MAX])
{
	while (access(path, F_OK) != 0 && strcmp(path, "/") != 0) {
		char *slash = strrchr(path, '/');

		slash[slash == path ? 1 : 0] = '\0';
	}
}

typedef int (*dir_fn)(char *ret_path, size_t size, struct err *err);

static void check_dir(dir_fn fn, struct doctor_result *ret_result, const char *remedy)
{
	char path[IO_PATH_MAX];
	struct err err = ERR_INIT;
	uint64_t bytes;

	if (fn(path, sizeof(path), &err) < 0) {
		doctor_say(ret_result, DOCTOR_FAIL, err.msg, "");
		return;
	}
	existing_parent(path);
	if (access(path, W_OK) != 0) {
		char found[256];

		snprintf(found, sizeof(found), "%.200s cannot be written", path);
		doctor_say(ret_result, DOCTOR_FAIL, found, remedy);
	} else if (io_free_bytes(path, &bytes, &err) < 0) {
		doctor_say(ret_result, DOCTOR_FAIL, err.msg, remedy);
	} else {
		grade_bytes(ret_result, bytes, DISK_FAIL, DISK_WARN, path, remedy);
	}
}

static void check_state_dir(struct doctor_result *ret_result)
{
	check_dir(paths_state_dir, ret_result,
		  "free space, or set STASIS_STATE_DIR to another directory");
}

static void check_cache_dir(struct doctor_result *ret_result)
{
	check_dir(paths_cache_dir, ret_result,
		  "free space, or set STASIS_CACHE_DIR to another directory");
}

/* Object storage is neither a file system nor reached without credentials: the daemon tries it.
 */
static bool store_is_remote(struct doctor_result *ret_result)
{
	char path[IO_PATH_MAX], found[256];

	if (paths_store_dir(path, sizeof(path), NULL) < 0 || !paths_store_remote(path))
		return false;
	snprintf(found, sizeof(found), "%.200s, object storage; stasis stats tries it", path);
	doctor_say(ret_result, DOCTOR_OK, found, "");
	return true;
}

static void check_store_dir(struct doctor_result *ret_result)
{
	if (store_is_remote(ret_result))
		return;
	check_dir(paths_store_dir, ret_result,
		  "free space, or set STASIS_STORE_DIR to another directory");
}

static void check_store_type(struct doctor_result *ret_result)
{
	char path[IO_PATH_MAX], found[256];
	struct err err = ERR_INIT;
	struct statfs fs;

	if (store_is_remote(ret_result))
		return;
	if (paths_store_dir(path, sizeof(path), &err) < 0) {
		doctor_say(ret_result, DOCTOR_FAIL, err.msg, "");
		return;
	}
	existing_parent(path);
	if (statfs(path, &fs) < 0) {
		doctor_say(ret_result, DOCTOR_WARN,
			   "the store's file system does not tell its type", "");
	} else if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC) {
		snprintf(found, sizeof(found),
			 "%.200s is in memory: checkpoints do not survive a reboot", path);
		doctor_say(ret_result, DOCTOR_WARN, found,
			   "set STASIS_STORE_DIR to a directory on a disk");
	} else if (fs.f_type == NFS_SUPER_MAGIC) {
		snprintf(found, sizeof(found),
			 "%.200s is on NFS: locks of its catalog can be unreliable", path);
		doctor_say(ret_result, DOCTOR_WARN, found, "a local disk is safer");
	} else {
		snprintf(found, sizeof(found), "%.200s, type 0x%lx", path,
			 (unsigned long)fs.f_type);
		doctor_say(ret_result, DOCTOR_OK, found, "");
	}
}

static bool dir_has_entries(const char *path)
{
	CLEANUP_CLOSEDIR DIR *dir = opendir(path);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			return true;
	}
	return false;
}

static void check_image(struct doctor_result *ret_result)
{
	static const char remedy[] =
		"apt-get install mmdebstrap, or give [image] disk in the cluster's file";
	char path[IO_PATH_MAX];
	bool cached = paths_cache_dir(path, sizeof(path), NULL) == 0 && dir_has_entries(path);
	bool builder = doctor_find_program("mmdebstrap", path);

	if (builder)
		doctor_say(
			ret_result, DOCTOR_OK,
			cached ? "mmdebstrap is there, and the cache holds images"
			       : "mmdebstrap is there; the first stasis up builds the image (about a minute)",
			"");
	else
		doctor_say(
			ret_result, cached ? DOCTOR_WARN : DOCTOR_FAIL,
			cached ? "mmdebstrap is missing: only cached images can be used"
			       : "no image is cached, and mmdebstrap, which builds it, is missing",
			remedy);
}

static void check_daemon(struct doctor_result *ret_result)
{
	struct rpc_conn *conn = NULL;
	struct err err = ERR_INIT;
	char program[IO_PATH_MAX];
	int rc = client_connect(false, &conn, &err);

	rpc_conn_close(conn);
	if (rc == 0)
		doctor_say(ret_result, DOCTOR_OK, "stasisd answers", "");
	else if (rc != -ENOENT && rc != -ECONNREFUSED)
		doctor_say(ret_result, DOCTOR_FAIL, err.msg, "");
	else if (paths_program("stasisd", program, sizeof(program), &err) < 0)
		doctor_say(ret_result, DOCTOR_FAIL, err.msg, "");
	else
		doctor_say(ret_result, DOCTOR_OK,
			   "stasisd does not run; it is started when it is needed", "");
}

const struct doctor_check doctor_space_checks[] = {
	{"memory", check_memory},
	{"shared memory", check_memfd},
	{"state directory", check_state_dir},
	{"image cache", check_cache_dir},
	{"store", check_store_dir},
	{"store's type", check_store_type},
	{"guest image", check_image},
	{"daemon", check_daemon},
	{0},
};
