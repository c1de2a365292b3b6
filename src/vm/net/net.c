/* SPDX-License-Identifier: BSD-3-Clause */
/* A cluster's private network: starting, checking and ending of its holder process. */
#include "vm/net/net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/paths.h"
#include "vm/net/netns.h"
#include "vm/proc/proc.h"

enum { READY_DEADLINE_MS = 10000, HOLDER_CMDLINE_MAX_BYTES = 64 << 10 };

/* The holder's one line, without its newline; empty when it ended without a word. */
static int ready_read(int fd, char *ret_line, size_t size, struct err *err)
{
	int64_t deadline_ns = deadline_in_ms(READY_DEADLINE_MS);
	size_t used = 0;

	for (;;) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		int ready = poll(&pfd, 1, deadline_left_ms(deadline_ns));
		ssize_t got;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return err_set(err, ETIMEDOUT,
				       "the network's holder did not become ready");
		got = read(fd, ret_line + used, size - 1 - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += (size_t)got;
	}
	ret_line[used] = '\0';
	ret_line[strcspn(ret_line, "\n")] = '\0';
	return 0;
}

static int holder_start(const char *cluster, unsigned int mtu, int ready_fd, pid_t *ret_pid,
			struct err *err)
{
	char program[IO_PATH_MAX], mtu_text[16], name[64];
	char *const argv[] = {program, "hold", name, mtu_text, NULL};
	struct proc_fd fds[] = {{.from = ready_fd, .to = NETNS_READY_FD}};
	int rc = paths_program(NETNS_PROGRAM, program, sizeof(program), err);

	if (rc < 0)
		return rc;
	snprintf(name, sizeof(name), "%s", cluster);
	snprintf(mtu_text, sizeof(mtu_text), "%u", mtu);
	return proc_spawn(argv, fds, 1, ret_pid, err);
}

/* Wait until it is ready; a holder that isn't is ended. */
static int holder_await(pid_t pid, int ready_fd, uint64_t *ret_start_time, struct err *err)
{
	char line[512];
	int rc = ready_read(ready_fd, line, sizeof(line), err);

	if (rc == 0 && strcmp(line, "ready") != 0)
		rc = err_set(err, EIO, "cannot make the cluster's network: %s",
			     line[0] ? line : "its holder ended without a word");
	if (rc == 0)
		rc = proc_start_time(pid, ret_start_time, err);
	if (rc < 0) {
		int pidfd = pidfd_open(pid, 0);

		if (pidfd >= 0) {
			proc_kill(pidfd, pid);
			close(pidfd);
		}
	}
	return rc;
}

int net_create(const char *cluster, unsigned int mtu, pid_t *ret_pid, uint64_t *ret_start_time,
	       struct err *err)
{
	CLEANUP_CLOSE int ready = -1;
	int ends[2], rc;
	pid_t pid;

	if (mtu < NETNS_MTU_MIN || mtu > NETNS_MTU_MAX)
		return err_set(err, EINVAL, "the network's MTU must be %d to %d, not %u",
			       NETNS_MTU_MIN, NETNS_MTU_MAX, mtu);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot make a pipe");
	ready = ends[0];
	rc = holder_start(cluster, mtu, ends[1], &pid, err);
	close(ends[1]);
	if (rc == 0)
		rc = holder_await(pid, ready, ret_start_time, err);
	if (rc == 0)
		*ret_pid = pid;
	return rc;
}

/* A pidfd of the holder. After the host's reboot even pid and start time may be a stranger's:
 * its program tells. */
static int holder_open(pid_t pid, uint64_t start_time, int *ret_pidfd, struct err *err)
{
	CLEANUP_FREE char *cmdline = NULL;
	CLEANUP_CLOSE int pidfd = -1;
	char path[64];
	int rc = proc_open(pid, start_time, &pidfd, err);

	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	rc = io_read_file(path, HOLDER_CMDLINE_MAX_BYTES, &cmdline, NULL, err);
	if (rc == 0 && !strstr(cmdline, NETNS_PROGRAM))
		rc = err_set(err, ESRCH, "process %d is another program", (int)pid);
	if (rc < 0)
		return rc;
	*ret_pidfd = TAKE_FD(pidfd);
	return 0;
}

int net_check(pid_t pid, uint64_t start_time, struct err *err)
{
	CLEANUP_CLOSE int pidfd = -1;

	proc_reap(pid);
	if (holder_open(pid, start_time, &pidfd, err) < 0)
		return err_set(err, ESRCH,
			       "the holder of the cluster's network, process %d, is gone",
			       (int)pid);
	return 0;
}

void net_destroy(pid_t pid, uint64_t start_time)
{
	CLEANUP_CLOSE int pidfd = -1;

	if (holder_open(pid, start_time, &pidfd, NULL) == 0)
		proc_kill(pidfd, pid);
	else
		proc_reap(pid);
}
