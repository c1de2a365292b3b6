/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stasis-netns: holds a cluster's network namespace, or executes a program in it with a tap.
 *
 *   stasis-netns hold CLUSTER MTU             (descriptor 3: where "ready" or a sentence is
 * written) stasis-netns exec PID TAP -- PROGRAM …    (the tap is PROGRAM's descriptor 4)
 *
 * A program of its own, since a namespace of users cannot be entered by a process with threads,
 * and since the holder must share nothing with the daemon that it outlives. Whoever may unshare
 * a network namespace does only that; anybody else makes a user namespace first, in which he is
 * root.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "vm/net/link.h"
#include "vm/net/netns.h"

static int text_write(const char *path, const char *text, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", path);
	return io_write_all(fd, text, strlen(text), err);
}

/* A user namespace in which this user is root. */
static int user_unshare(struct err *err)
{
	char uid_map[64], gid_map[64];
	int rc;

	snprintf(uid_map, sizeof(uid_map), "0 %u 1", (unsigned int)geteuid());
	snprintf(gid_map, sizeof(gid_map), "0 %u 1", (unsigned int)getegid());
	if (unshare(CLONE_NEWUSER) < 0)
		return err_sys(
			err, errno,
			"this user may not make a user namespace (see the sysctls "
			"user.max_user_namespaces and kernel.unprivileged_userns_clone)");
	rc = text_write("/proc/self/setgroups", "deny", err);
	if (rc == 0)
		rc = text_write("/proc/self/uid_map", uid_map, err);
	if (rc == 0)
		rc = text_write("/proc/self/gid_map", gid_map, err);
	return rc;
}

static int network_unshare(struct err *err)
{
	int rc;

	if (unshare(CLONE_NEWNET) == 0)
		return 0;
	if (errno != EPERM)
		return err_sys(err, errno, "cannot make a network namespace");
	rc = user_unshare(err);
	if (rc < 0)
		return rc;
	if (unshare(CLONE_NEWNET) < 0)
		return err_sys(err, errno, "cannot make a network namespace");
	return 0;
}

static int number_parse(const char *text, long min, long max, const char *what,
			long *ret_number, struct err *err)
{
	char *end;
	long number;

	errno = 0;
	number = strtol(text, &end, 10);
	if (errno || end == text || *end || number < min || number > max)
		return err_set(err, EINVAL, "%s must be a number from %ld to %ld, not \"%s\"",
			       what, min, max, text);
	*ret_number = number;
	return 0;
}

static int hold_prepare(const char *cluster, const char *mtu_text, struct err *err)
{
	char name[16];
	long mtu;
	int rc = number_parse(mtu_text, NETNS_MTU_MIN, NETNS_MTU_MAX, "the MTU", &mtu, err);

	if (rc < 0)
		return rc;
	snprintf(name, sizeof(name), "netns:%s", cluster);
	prctl(PR_SET_NAME, name, 0, 0, 0);
	rc = link_tap_possible(err); /* rather now than at the first VM */
	if (rc == 0)
		rc = network_unshare(err);
	if (rc == 0)
		rc = link_bridge_create(NETNS_BRIDGE, (unsigned int)mtu, err);
	return rc;
}

static int hold(const char *cluster, const char *mtu_text)
{
	static const char ready[] = "ready\n";
	struct err err = ERR_INIT;
	int rc = hold_prepare(cluster, mtu_text, &err);

	if (rc < 0) {
		dprintf(NETNS_READY_FD, "%s\n", err.msg);
		fprintf(stderr, "stasis-netns: %s\n", err.msg);
		return NETNS_FAILED;
	}
	if (io_write_all(NETNS_READY_FD, ready, strlen(ready), &err) < 0) {
		fprintf(stderr, "stasis-netns: %s\n", err.msg);
		return NETNS_FAILED;
	}
	close_range(0, ~0U, 0);
	for (;;)
		pause();
}

/* Join one kind of namespace of a process, unless it is ours already. */
static int namespace_join(long pid, const char *kind, int flag, struct err *err)
{
	char path[64], own_path[64];
	CLEANUP_CLOSE int fd = -1;
	struct stat its, own;

	snprintf(path, sizeof(path), "/proc/%ld/ns/%s", pid, kind);
	snprintf(own_path, sizeof(own_path), "/proc/self/ns/%s", kind);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "cannot open the network's %s namespace %s", kind,
			       path);
	if (fstat(fd, &its) < 0 || stat(own_path, &own) < 0)
		return err_sys(err, errno, "cannot look at the network's %s namespace", kind);
	if (its.st_dev == own.st_dev && its.st_ino == own.st_ino)
		return 0;
	if (setns(fd, flag) < 0)
		return err_sys(err, errno, "cannot join the network's %s namespace", kind);
	return 0;
}

static int exec_prepare(const char *pid_text, const char *tap, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	long pid;
	int rc = number_parse(pid_text, 1, INT32_MAX, "the holder's process", &pid, err);

	if (rc == 0)
		rc = namespace_join(pid, "user", CLONE_NEWUSER, err);
	if (rc == 0)
		rc = namespace_join(pid, "net", CLONE_NEWNET, err);
	if (rc == 0)
		rc = link_tap_create(tap, NETNS_BRIDGE, &fd, err);
	if (rc < 0)
		return rc;
	if (fd == NETNS_TAP_FD) {
		rc = fcntl(TAKE_FD(fd), F_SETFD, 0);
		return rc < 0 ? err_sys(err, errno, "cannot keep the tap open") : 0;
	}
	if (dup2(fd, NETNS_TAP_FD) < 0)
		return err_sys(err, errno, "cannot keep the tap open");
	return 0;
}

static int exec_program(const char *pid_text, const char *tap, char *const argv[])
{
	struct err err = ERR_INIT;

	if (exec_prepare(pid_text, tap, &err) == 0) {
		execvp(argv[0], argv);
		err_sys(&err, errno, "cannot execute %s", argv[0]);
	}
	fprintf(stderr, "stasis-netns: %s\n", err.msg);
	return NETNS_FAILED;
}

int main(int argc, char *argv[])
{
	if (argc == 4 && !strcmp(argv[1], "hold"))
		return hold(argv[2], argv[3]);
	if (argc >= 6 && !strcmp(argv[1], "exec") && !strcmp(argv[4], "--"))
		return exec_program(argv[2], argv[3], argv + 5);
	fprintf(stderr, "usage: stasis-netns hold CLUSTER MTU\n"
			"       stasis-netns exec PID TAP -- PROGRAM [ARGUMENT…]\n"
			"stasisd starts this program; see stasisd(8).\n");
	return 2;
}
