/* SPDX-License-Identifier: BSD-3-Clause */
/* A large file that a subcommand writes: whole under its name, or not there. */
#include "cli/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const int outfile_signals[] = {SIGINT, SIGTERM, SIGHUP};
enum { SIGNAL_COUNT = sizeof(outfile_signals) / sizeof(outfile_signals[0]) };

/* What the handler removes; set before the signals lead there. */
static char outfile_doomed[IO_PATH_MAX];

static void outfile_on_signal(int signo)
{
	unlink(outfile_doomed);
	signal(signo, SIG_DFL);
	raise(signo);
}

static void outfile_watch(const char *temp)
{
	const struct sigaction action = {.sa_handler = outfile_on_signal};
	struct sigaction now;
	int i;

	snprintf(outfile_doomed, sizeof(outfile_doomed), "%s", temp);
	for (i = 0; i < SIGNAL_COUNT; i++) {
		/* nohup(1) and shells leave signals ignored that shall not end a command. */
		if (sigaction(outfile_signals[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
			sigaction(outfile_signals[i], &action, NULL);
	}
}

static void outfile_unwatch(void)
{
	struct sigaction now;
	int i;

	for (i = 0; i < SIGNAL_COUNT; i++) {
		if (sigaction(outfile_signals[i], NULL, &now) == 0 &&
		    now.sa_handler == outfile_on_signal)
			signal(outfile_signals[i], SIG_DFL);
	}
}

/* A terminal shows nothing of use, and may obey what it gets. */
static int outfile_check_terminal(const struct outfile *file, bool force, struct err *err)
{
	if (force || !isatty(file->fd))
		return 0;
	return err_set(err, EINVAL,
		       "%s is a terminal: name a file, pipe the output on, or use --force",
		       file->path);
}

static int outfile_in_place(struct outfile *file, bool force, struct err *err)
{
	int rc;

	file->fd = open(file->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	if (file->fd < 0)
		return err_sys(err, errno, "cannot write %.300s", file->path);
	rc = outfile_check_terminal(file, force, err);
	if (rc < 0)
		close(file->fd);
	return rc;
}

static int outfile_beside(struct outfile *file, struct err *err)
{
	int rc = io_path(file->temp, sizeof(file->temp), err, "%s.part-%d", file->path,
			 (int)getpid());

	if (rc < 0)
		return rc;
	outfile_watch(file->temp);
	file->fd = open(file->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file->fd >= 0)
		return 0;
	rc = err_sys(err, errno, "cannot create %.300s", file->temp);
	outfile_unwatch();
	return rc;
}

int outfile_open(const char *path, bool force, struct outfile *ret_file, struct err *err)
{
	struct outfile *file = ret_file;
	struct stat st;

	*file = (struct outfile){.fd = -1};
	if (!path || strcmp(path, "-") == 0) {
		file->fd = STDOUT_FILENO;
		strcpy(file->path, "the standard output");
		return outfile_check_terminal(file, force, err);
	}
	/* Where a link leads to is replaced, not the link. */
	if (!realpath(path, file->path))
		snprintf(file->path, sizeof(file->path), "%s", path);
	if (stat(file->path, &st) < 0 && errno != ENOENT)
		return err_sys(err, errno, "cannot write %.300s", path);
	if (stat(file->path, &st) < 0 || S_ISREG(st.st_mode))
		return outfile_beside(file, err);
	if (S_ISDIR(st.st_mode))
		return err_set(err, EISDIR, "%.300s is a directory: name a file in it", path);
	return outfile_in_place(file, force, err);
}

int outfile_commit(struct outfile *file, struct err *err)
{
	int rc = 0;

	if (!file->temp[0]) {
		if (file->fd != STDOUT_FILENO && close(file->fd) < 0)
			rc = err_sys(err, errno, "cannot write %.300s", file->path);
		return rc;
	}
	if (fsync(file->fd) < 0)
		rc = err_sys(err, errno, "cannot write %.300s", file->temp);
	if (close(file->fd) < 0 && rc == 0)
		rc = err_sys(err, errno, "cannot write %.300s", file->temp);
	if (rc == 0 && rename(file->temp, file->path) < 0)
		rc = err_sys(err, errno, "cannot rename %.300s to %.300s", file->temp,
			     file->path);
	if (rc < 0)
		unlink(file->temp);
	else
		rc = io_sync_parent(file->path, err);
	outfile_unwatch();
	return rc;
}

void outfile_abort(struct outfile *file)
{
	if (file->fd != STDOUT_FILENO)
		close(file->fd);
	if (file->temp[0]) {
		unlink(file->temp);
		outfile_unwatch();
	}
}
