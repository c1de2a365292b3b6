/* SPDX-License-Identifier: BSD-3-Clause */
/* The process beside each job: starts its command, feeds its input, and records its end. */
#include "agent/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

/*
 * A shim is a fork of the agent that has let go of everything: its own session, no descriptors
 * of the agent, working directory in the job's directory, so that it goes on when that is
 * renamed. It holds the lock until it ends; the agent tells from the lock and the status file
 * alone how a job is. The directory gets its name only when the lock is held and the process
 * group is recorded, so an agent never sees a job in the making.
 */
enum {
	REPORT_FD = 3, /* where the shim tells the agent that it has started, or why not */
	EXIT_CANNOT_RUN = 126,
	EXIT_NOT_FOUND = 127,
	PUMP_BYTES = 32 << 10,
	STATUS_RETRY_S = 1,
};

struct shim {
	pid_t pid;
	int pidfd;
	int go_fd;    /* closing it after a byte lets the command start; without one, it ends */
	int input_fd; /* write end of the command's input; -1: none or closed */
	int spool_fd;
	int taken_fd;
	int inotify_fd;
	int64_t taken;
};

static int open_log(const char *name)
{
	return open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static int lock_take(struct err *err)
{
	int fd = open(JOB_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_sys(err, errno, "cannot lock the job's directory");
	return 0;
}

static _Noreturn void command_fail(int code, const char *what, const char *name)
{
	int error = errno;

	dprintf(STDERR_FILENO, "stasis-agent: cannot %s %s: %s\n", what, name, strerror(error));
	_exit(code);
}

/* In the command's process: wait for the word to start, then become the command. */
static _Noreturn void command_run(const struct shim_spec *spec, int go_fd, const int std_fds[3])
{
	sigset_t none;
	char go;

	setpgid(0, 0);
	if (read(go_fd, &go, 1) != 1)
		_exit(EXIT_CANNOT_RUN);
	for (int fd = 0; fd < 3; fd++)
		if (dup2(std_fds[fd], fd) < 0)
			_exit(EXIT_CANNOT_RUN);
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	if (chdir(spec->cwd) < 0)
		command_fail(EXIT_CANNOT_RUN, "change to the directory", spec->cwd);
	environ = spec->envp;
	execvp(spec->argv[0], spec->argv);
	command_fail(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, "run", spec->argv[0]);
}

/* The read end of the command's input; the write end stays in the shim. */
static int input_open(struct shim *shim, bool with_stdin)
{
	int ends[2];

	if (!with_stdin)
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	shim->spool_fd = open(JOB_IN, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	shim->taken_fd = open(JOB_IN_TAKEN, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	shim->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (shim->spool_fd < 0 || shim->taken_fd < 0 || shim->inotify_fd < 0 ||
	    inotify_add_watch(shim->inotify_fd, ".", IN_MODIFY | IN_CREATE) < 0 ||
	    pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	fcntl(ends[1], F_SETFL, O_NONBLOCK);
	shim->input_fd = ends[1];
	return ends[0];
}

/* Make the command's process, which waits for the word to start. */
static int command_fork(struct shim *shim, const struct shim_spec *spec, struct err *err)
{
	CLEANUP_CLOSE int in = input_open(shim, spec->with_stdin);
	CLEANUP_CLOSE int out = open_log(JOB_OUT);
	CLEANUP_CLOSE int errors = open_log(JOB_ERR);
	int std_fds[3] = {in, out, errors};
	int go[2];

	if (in < 0 || out < 0 || errors < 0 || pipe2(go, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot open the job's files");
	shim->go_fd = go[1];
	shim->pid = fork();
	if (shim->pid == 0) {
		close(go[1]);
		command_run(spec, go[0], std_fds);
	}
	close(go[0]);
	if (shim->pid < 0)
		return err_sys(err, errno, "cannot make a process for the job");
	setpgid(shim->pid, shim->pid);
	shim->pidfd = (int)syscall(SYS_pidfd_open, shim->pid, 0);
	if (shim->pidfd < 0)
		return err_sys(err, errno, "cannot watch the job's process");
	return 0;
}

static int pid_write(pid_t pid, struct err *err)
{
	CLEANUP_CLOSE int fd = open(JOB_PID, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0 || dprintf(fd, "%d\n", (int)pid) < 0)
		return err_sys(err, errno, "cannot record the job's process");
	return 0;
}

static int command_prepare(struct shim *shim, const char *new_dir, const char *dir,
			   const struct shim_spec *spec, struct err *err)
{
	int rc;

	if (chdir(new_dir) < 0)
		return err_sys(err, errno, "cannot enter %s", new_dir);
	rc = lock_take(err);
	if (rc == 0)
		rc = command_fork(shim, spec, err);
	if (rc < 0)
		return rc;
	rc = pid_write(shim->pid, err);
	if (rc < 0)
		return rc;
	if (rename(new_dir, dir) == 0)
		return 0;
	if (errno == ENOTEMPTY || errno == EEXIST)
		return err_set(err, EEXIST, "the job exists");
	return err_sys(err, errno, "cannot name the job's directory %s", dir);
}

static void input_close(struct shim *shim, int64_t taken)
{
	io_pwrite_all(shim->taken_fd, &taken, sizeof(taken), 0, NULL);
	close(shim->input_fd);
	shim->input_fd = -1;
}

/* Pass on what the spool has; true when the pipe is full. */
static bool input_pump(struct shim *shim)
{
	static char buf[PUMP_BYTES];

	for (;;) {
		bool complete = access(JOB_IN_EOF, F_OK) == 0; /* asked before the last read */
		ssize_t held = pread(shim->spool_fd, buf, sizeof(buf), shim->taken);
		ssize_t n;

		if (held <= 0) {
			if (complete)
				input_close(shim, shim->taken);
			return false;
		}
		n = write(shim->input_fd, buf, (size_t)held);
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0) {
			input_close(shim, SHIM_INPUT_CLOSED);
			return false;
		}
		fallocate(shim->spool_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  shim->taken, n);
		shim->taken += n;
		io_pwrite_all(shim->taken_fd, &shim->taken, sizeof(shim->taken), 0, NULL);
	}
}

/* Feed the command until it ends. */
static void command_attend(struct shim *shim)
{
	char events[4096] __attribute__((aligned(8)));

	for (;;) {
		bool full = shim->input_fd >= 0 && input_pump(shim);
		struct pollfd fds[] = {
			{.fd = shim->pidfd, .events = POLLIN},
			{.fd = shim->input_fd, .events = full ? POLLOUT : 0},
			{.fd = shim->input_fd >= 0 ? shim->inotify_fd : -1, .events = POLLIN},
		};

		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[0].revents)
			return;
		if (fds[1].revents & POLLERR)
			input_close(shim, SHIM_INPUT_CLOSED);
		if (fds[2].revents)
			while (read(shim->inotify_fd, events, sizeof(events)) > 0) {
			}
	}
}

static void file_sync(const char *name)
{
	CLEANUP_CLOSE int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		fdatasync(fd);
}

/* Record the end; a full disk delays that until there is room again. The process is reaped
 * last, so its id stays taken. */
static void status_write(const struct shim *shim)
{
	siginfo_t end = {0};
	char text[64];
	int signal_number;
	int code;
	int len;

	while (waitid(P_PID, (id_t)shim->pid, &end, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
	}
	signal_number = end.si_code == CLD_EXITED ? 0 : end.si_status;
	code = signal_number ? 128 + signal_number : end.si_status;
	len = snprintf(text, sizeof(text), "{\"code\":%d,\"signal\":%d}\n", code,
		       signal_number);
	file_sync(JOB_OUT);
	file_sync(JOB_ERR);
	for (;;) {
		int rc = io_replace_file(JOB_STATUS, text, (size_t)len, 0644, NULL);

		if (rc == 0 || rc == -ENOENT)
			break;
		sleep(STATUS_RETRY_S);
	}
	waitpid(shim->pid, NULL, 0);
}

static _Noreturn void shim_main(const char *new_dir, const char *dir,
				const struct shim_spec *spec)
{
	struct shim shim = {.input_fd = -1, .spool_fd = -1, .taken_fd = -1, .inotify_fd = -1};
	struct err err = ERR_INIT;
	int null_fd;
	int rc;

	prctl(PR_SET_NAME, "stasis-job");
	null_fd = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		dup2(null_fd, fd);
	close_range(REPORT_FD + 1, UINT_MAX, 0);
	/* The agent's own handler would swallow a signal that comes before the command is
	 * there. */
	signal(SIGTERM, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	rc = command_prepare(&shim, new_dir, dir, spec, &err);
	err.code = -rc;
	io_write_all(REPORT_FD, &err, sizeof(err), NULL);
	if (rc < 0)
		_exit(1); /* closes go_fd, which ends the waiting command */
	close(REPORT_FD);
	io_write_all(shim.go_fd, "", 1, NULL);
	close(shim.go_fd);
	command_attend(&shim);
	status_write(&shim);
	_exit(0);
}

/* Fork twice, so that init (or a subreaper) becomes the shim's parent. */
static int shim_fork(const char *new_dir, const char *dir, const struct shim_spec *spec,
		     int report_fd, struct err *err)
{
	pid_t pid = fork();

	if (pid < 0)
		return err_sys(err, errno, "cannot make a process for the job");
	if (pid > 0) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
		}
		return 0;
	}
	setsid();
	if (fork() != 0)
		_exit(0);
	if (report_fd == REPORT_FD)
		fcntl(REPORT_FD, F_SETFD, FD_CLOEXEC);
	else
		dup3(report_fd, REPORT_FD, O_CLOEXEC);
	shim_main(new_dir, dir, spec);
}

int shim_start(const char *new_dir, const char *dir, const struct shim_spec *spec,
	       struct err *err)
{
	struct err report = ERR_INIT;
	size_t got = 0;
	int ends[2];
	int rc;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot make a pipe");
	rc = shim_fork(new_dir, dir, spec, ends[1], err);
	close(ends[1]);
	while (rc == 0 && got < sizeof(report)) {
		ssize_t n = read(ends[0], (char *)&report + got, sizeof(report) - got);

		if (n > 0)
			got += (size_t)n;
		else if (n == 0 || errno != EINTR)
			rc = err_set(err, ECHILD, "the job's process ended before it began");
	}
	close(ends[0]);
	if (rc == 0 && report.code)
		rc = err_set(err, report.code, "%s", report.msg);
	return rc;
}
