/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of a VM's disk: making, checking and re-basing of layers while no QEMU has them open.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "vm/disk/disk.h"
#include "vm/proc/proc.h"
#include "vm/qemu/args.h"
#include "vm/qemu/machine.h"

enum { QEMU_IMG_MS = 60000 };

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

int vm_disk_create(const struct vm_config *config, struct err *err)
{
	return active_over_base(config, "create", NULL, err);
}

int vm_disk_rebase(const struct vm_config *config, struct err *err)
{
	return active_over_base(config, "rebase", "-u", err);
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
