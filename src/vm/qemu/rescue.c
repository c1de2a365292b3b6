/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A background snapshot whose reader has died.
 *
 * QEMU notices that nobody reads any more and gives up. But what then takes the protection from
 * RAM is its main loop, and that may be waiting itself for a page that is still protected, with
 * nobody left to release it: then QEMU hangs for ever (QEMU 7.2). The protection belongs to a
 * descriptor of QEMU's, a userfaultfd, which does the same for whoever has it. So it is taken
 * from the process, and everything is released from outside.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "vm/qemu/machine.h"

static bool is_userfaultfd(pid_t pid, const char *number)
{
	static const char kind[] = "anon_inode:[userfaultfd]";
	char path[64], target[64];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", (int)pid, number);
	len = readlink(path, target, sizeof(target));
	return len == sizeof(kind) - 1 && !memcmp(target, kind, sizeof(kind) - 1);
}

/* Every mapping: those that are not protected are left alone by the kernel. Whoever waits is
 * not woken by the release alone. */
static void release_all(pid_t pid, int fault_fd)
{
	CLEANUP_FCLOSE FILE *maps = NULL;
	CLEANUP_FREE char *line = NULL;
	unsigned long long start, end;
	char path[64];
	size_t size = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	while (maps && getline(&line, &size, maps) > 0) {
		struct uffdio_range range;

		if (sscanf(line, "%llx-%llx", &start, &end) != 2)
			continue;
		range = (struct uffdio_range){.start = start, .len = end - start};
		if (ioctl(fault_fd, UFFDIO_UNREGISTER, &range) == 0)
			ioctl(fault_fd, UFFDIO_WAKE, &range);
	}
}

bool background_rescue(const struct vm *vm)
{
	CLEANUP_CLOSEDIR DIR *dir = NULL;
	const struct dirent *entry;
	char path[64];
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)vm->pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		int fd;

		if (!is_userfaultfd(vm->pid, entry->d_name))
			continue;
		found = true;
		fd = pidfd_getfd(vm->pidfd, atoi(entry->d_name), 0);
		if (fd < 0) {
			log_warn(
				"VM %s: its RAM cannot be released from a background snapshot: %s",
				vm->config.name, strerror(errno));
			continue;
		}
		release_all(vm->pid, fd);
		close(fd);
		log_info("VM %s: its RAM is released from an unfinished background snapshot",
			 vm->config.name);
	}
	return found;
}
