/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's Soft-RoCE device, made with the rdma command of iproute2. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/net.h"
#include "base/clock.h"

#define DEVICE "rxe0"

enum { COMMAND_MS = 10000, CHECK_MS = 5 };

static const char *rdma_command(void)
{
	static const char *const places[] = {"/sbin/rdma", "/usr/sbin/rdma", "/usr/bin/rdma"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	return NULL;
}

/* Wait for a child until the deadline, then kill it; its wait status, or -errno. */
static int child_wait(pid_t pid, int64_t deadline_ns)
{
	int status;

	for (;;) {
		pid_t done = waitpid(pid, &status, WNOHANG);

		if (done == pid)
			return status;
		if (done < 0 && errno != EINTR)
			return -errno;
		if (deadline_left_ms(deadline_ns) == 0)
			break;
		nanosleep(&(struct timespec){.tv_nsec = CHECK_MS * NS_PER_MS}, NULL);
	}
	kill(pid, SIGKILL);
	return -ETIMEDOUT;
}

int rdma_create(const char *netdev, struct err *err)
{
	const char *command = rdma_command();
	char *const argv[] = {"rdma", "link",   "add",          DEVICE, "type",
			      "rxe",  "netdev", (char *)netdev, NULL};
	pid_t pid;
	int rc;

	if (access("/sys/class/infiniband/" DEVICE, F_OK) == 0)
		return 0;
	if (!command)
		return err_set(
			err, ENOENT,
			"the guest has no rdma command: add iproute2 to its image, or turn "
			"rdma off");
	rc = posix_spawn(&pid, command, NULL, NULL, argv, environ);
	if (rc != 0)
		return err_sys(err, rc, "cannot run %s", command);
	rc = child_wait(pid, deadline_in_ms(COMMAND_MS));
	if (rc < 0)
		return err_sys(err, -rc, "waiting for %s link add", command);
	if (rc != 0)
		return err_set(err, EIO,
			       "%s link add " DEVICE
			       " type rxe netdev %s failed: does the guest's "
			       "kernel have the module rdma_rxe?",
			       command, netdev);
	return 0;
}
