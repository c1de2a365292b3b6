/* SPDX-License-Identifier: BSD-3-Clause */
/* Processes: start a detached program, run a helper to its end, tell a process from another one
 * with its pid. */
#include "vm/proc/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"

enum {
	FD_SAFE =
		64, /* copies made for a child start here, above every number it can ask for */
	KILL_DEADLINE_MS =
		30000, /* a process in an uninterruptible sleep is given up after that */
};

static bool fd_listed(const struct proc_fd *fds, size_t fd_count, int number)
{
	for (size_t i = 0; i < fd_count; i++)
		if (fds[i].to == number)
			return true;
	return false;
}

/* What the child does with its descriptors before it executes; `safe` are close-on-exec copies
 * of fds[].from. */
static int spawn_actions(posix_spawn_file_actions_t *actions, const struct proc_fd *fds,
			 const int *safe, size_t fd_count)
{
	int rc = 0, last = 2;

	for (size_t i = 0; i < fd_count && !rc; i++) {
		rc = posix_spawn_file_actions_adddup2(actions, safe[i], fds[i].to);
		if (fds[i].to > last)
			last = fds[i].to;
	}
	for (int number = 0; number <= last && !rc; number++) {
		if (fd_listed(fds, fd_count, number))
			continue;
		if (number <= 2)
			rc = posix_spawn_file_actions_addopen(actions, number, "/dev/null",
							      O_RDWR, 0);
		else
			rc = posix_spawn_file_actions_addclose(actions, number);
	}
	if (!rc)
		rc = posix_spawn_file_actions_addclosefrom_np(actions, last + 1);
	return rc;
}

static int spawn_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	rc = posix_spawnattr_setsigmask(attr, &none);
	if (!rc)
		rc = posix_spawnattr_setsigdefault(attr, &all);
	if (!rc)
		rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID |
							    POSIX_SPAWN_SETSIGMASK |
							    POSIX_SPAWN_SETSIGDEF);
	return rc;
}

static int spawn_with(char *const argv[], const struct proc_fd *fds, const int *safe,
		      size_t fd_count, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int rc;

	rc = posix_spawn_file_actions_init(&actions);
	if (rc)
		return rc;
	rc = posix_spawnattr_init(&attr);
	if (rc)
		goto out_actions;
	rc = spawn_attributes(&attr);
	if (!rc)
		rc = spawn_actions(&actions, fds, safe, fd_count);
	if (!rc)
		rc = posix_spawnp(ret_pid, argv[0], &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
out_actions:
	posix_spawn_file_actions_destroy(&actions);
	return rc;
}

int proc_spawn(char *const argv[], const struct proc_fd *fds, size_t fd_count, pid_t *ret_pid,
	       struct err *err)
{
	int safe[PROC_FD_MAX] = {0};
	size_t copied = 0;
	int rc = 0;

	if (fd_count > PROC_FD_MAX)
		return err_set(err, EINVAL, "too many descriptors for %s", argv[0]);
	for (; copied < fd_count && !rc; copied++) {
		safe[copied] = fcntl(fds[copied].from, F_DUPFD_CLOEXEC, FD_SAFE);
		if (safe[copied] < 0) {
			rc = errno;
			break;
		}
	}
	if (!rc)
		rc = spawn_with(argv, fds, safe, fd_count, ret_pid);
	while (copied-- > 0)
		close(safe[copied]);
	return rc ? err_sys(err, rc, "cannot start %s", argv[0]) : 0;
}

/* Append to a buffer that keeps the newest bytes. */
static void tail_add(char *tail, size_t size, size_t *used, const char *bytes, size_t len)
{
	if (len > size - 1) {
		bytes += len - (size - 1);
		len = size - 1;
	}
	if (*used + len > size - 1) {
		size_t drop = *used + len - (size - 1);

		memmove(tail, tail + drop, *used - drop);
		*used -= drop;
	}
	memcpy(tail + *used, bytes, len);
	*used += len;
	tail[*used] = '\0';
}

/* Read until end of file; -ETIMEDOUT at the deadline. */
static int run_read(int fd, int64_t deadline_ns, char *ret_output, size_t size)
{
	size_t used = 0;
	char chunk[4096];

	ret_output[0] = '\0';
	for (;;) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		int ready = poll(&pfd, 1, deadline_left_ms(deadline_ns));
		ssize_t got;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return ready ? -errno : -ETIMEDOUT;
		got = read(fd, chunk, sizeof(chunk));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : 0;
		tail_add(ret_output, size, &used, chunk, (size_t)got);
	}
}

/* What a program printed, on one line. */
static const char *one_line(char *text)
{
	size_t len = strlen(text);

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		text[--len] = '\0';
	for (char *at = text; (at = strchr(at, '\n'));)
		*at = ' ';
	return text;
}

int proc_run(char *const argv[], int64_t deadline_ns, char *ret_output, size_t size,
	     struct err *err)
{
	int ends[2];
	CLEANUP_CLOSE int out = -1;
	struct proc_fd fds[2];
	pid_t pid;
	int status, rc;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot make a pipe for %s", argv[0]);
	out = ends[0];
	fds[0] = (struct proc_fd){.from = ends[1], .to = 1};
	fds[1] = (struct proc_fd){.from = ends[1], .to = 2};
	rc = proc_spawn(argv, fds, 2, &pid, err);
	close(ends[1]);
	if (rc < 0)
		return rc;
	rc = run_read(out, deadline_ns, ret_output, size);
	if (rc < 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(err, errno, "cannot wait for %s", argv[0]);
	if (rc < 0)
		return err_set(err, -rc, "%s did not finish in time", argv[0]);
	if (WIFSIGNALED(status))
		return err_set(err, EIO, "%s was killed by signal %d", argv[0],
			       WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return err_set(err, EIO, "%s failed (status %d): %s", argv[0],
			       WEXITSTATUS(status), one_line(ret_output));
	return 0;
}

int proc_start_time(pid_t pid, uint64_t *ret_start_time, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	char path[64], state;
	unsigned long long start;
	const char *rest;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (pid <= 0 || io_read_file(path, 4096, &text, NULL, NULL) < 0)
		return err_set(err, ESRCH, "process %d does not exist", (int)pid);
	rest = strrchr(text, ')'); /* the name before it may hold anything */
	if (!rest ||
	    sscanf(rest,
		   ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
		   "%*s %*s %llu",
		   &state, &start) != 2)
		return err_set(err, EIO, "%s has an unknown form", path);
	if (state == 'Z' || state == 'X')
		return err_set(err, ESRCH, "process %d has ended", (int)pid);
	*ret_start_time = start;
	return 0;
}

int proc_open(pid_t pid, uint64_t start_time, int *ret_pidfd, struct err *err)
{
	CLEANUP_CLOSE int pidfd = -1;
	uint64_t found;
	int rc;

	if (pid <= 0)
		return err_set(err, ESRCH, "process %d does not exist", (int)pid);
	pidfd = pidfd_open(pid, 0); /* first: after it the pid cannot be reused unnoticed */
	if (pidfd < 0)
		return err_sys(err, errno, "process %d cannot be opened", (int)pid);
	rc = proc_start_time(pid, &found, err);
	if (rc < 0)
		return rc;
	if (found != start_time)
		return err_set(err, ESRCH, "process %d is another one than the one looked for",
			       (int)pid);
	*ret_pidfd = TAKE_FD(pidfd);
	return 0;
}

int proc_wait(int pidfd, int64_t deadline_ns)
{
	struct pollfd pfd = {.fd = pidfd, .events = POLLIN};
	int ready;

	do
		ready = poll(&pfd, 1, deadline_left_ms(deadline_ns));
	while (ready < 0 && errno == EINTR);
	return ready > 0 ? 0 : -ETIMEDOUT;
}

void proc_kill(int pidfd, pid_t pid)
{
	if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) == 0)
		proc_wait(pidfd, deadline_in_ms(KILL_DEADLINE_MS));
	proc_reap(pid);
}

void proc_reap(pid_t pid)
{
	while (waitpid(pid, NULL, WNOHANG) < 0 && errno == EINTR)
		;
}

void proc_log_tail(const char *path, unsigned int lines, char *ret_text, size_t size)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	char bytes[4096];
	off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	off_t from = end > (off_t)sizeof(bytes) - 1 ? end - (off_t)sizeof(bytes) + 1 : 0;
	char *start, *save = NULL;
	ssize_t got;
	size_t used = 0;

	ret_text[0] = '\0';
	got = fd >= 0 ? pread(fd, bytes, sizeof(bytes) - 1, from) : 0;
	while (got > 0 && bytes[got - 1] == '\n')
		got--;
	if (got <= 0)
		return;
	bytes[got] = '\0';
	for (start = bytes + got; start > bytes; start--)
		if (start[-1] == '\n' && lines-- <= 1)
			break;
	for (char *line = strtok_r(start, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		int n = snprintf(ret_text + used, size - used, "%s%s", used ? " | " : "", line);

		if (n < 0 || used + (size_t)n >= size)
			return;
		used += (size_t)n;
	}
}
