/* SPDX-License-Identifier: BSD-3-Clause */
/* A thread that moves bytes between a file of the user's and a pipe whose other end the daemon
 * opens. */
#include "cli/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"

enum { PUMP_BYTES = 256 << 10, PUMP_PIPE_BYTES = 1 << 20 };

static int pump_move(struct pump *pump, char *buf)
{
	ssize_t n;

	while ((n = read(pump->from, buf, PUMP_BYTES)) != 0) {
		int rc;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(&pump->err, errno, "cannot read");
		rc = io_write_all(pump->to, buf, (size_t)n, &pump->err);
		if (rc < 0)
			return rc;
		pump->bytes += (uint64_t)n;
	}
	return 0;
}

/* The end of the pipe that is this side's is closed in any case: that is how the daemon learns
 * of the end. */
static void pump_close_near(void *arg)
{
	struct pump *pump = arg;

	close(pump->into_pipe ? pump->to : pump->from);
}

static void *pump_run(void *arg)
{
	struct pump *pump = arg;
	char *buf = malloc(PUMP_BYTES);

	pthread_cleanup_push(pump_close_near, pump);
	pthread_cleanup_push(free, buf);
	if (buf)
		pump_move(pump, buf);
	else
		err_sys(&pump->err, ENOMEM, "cannot move bytes");
	pthread_cleanup_pop(1);
	pthread_cleanup_pop(1);
	return NULL;
}

static int pump_begin(struct pump *pump, int fd, bool into_pipe, struct err *err)
{
	int ends[2], rc;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot make a pipe");
	/* A larger pipe saves changes between the two processes; the usual one does, too. */
	(void)fcntl(ends[0], F_SETPIPE_SZ, PUMP_PIPE_BYTES);
	*pump = (struct pump){.from = into_pipe ? fd : ends[0],
			      .to = into_pipe ? ends[1] : fd,
			      .into_pipe = into_pipe,
			      .far_end = ends[into_pipe ? 0 : 1]};
	snprintf(pump->daemon_path, sizeof(pump->daemon_path), "/proc/%d/fd/%d", (int)getpid(),
		 pump->far_end);
	rc = pthread_create(&pump->thread, NULL, pump_run, pump);
	if (rc != 0) {
		close(ends[0]);
		close(ends[1]);
		return err_sys(err, rc, "cannot start a thread");
	}
	return 0;
}

int pump_into_pipe(struct pump *pump, int fd, struct err *err)
{
	return pump_begin(pump, fd, true, err);
}

int pump_out_of_pipe(struct pump *pump, int fd, struct err *err)
{
	return pump_begin(pump, fd, false, err);
}

int pump_end(struct pump *pump, bool complete, struct err *err)
{
	/* Out of the pipe the last byte is known by this close. Into it, it would be a SIGPIPE
	 * for a thread that still writes. */
	if (!complete)
		pthread_cancel(pump->thread);
	if (!pump->into_pipe)
		close(pump->far_end);
	pthread_join(pump->thread, NULL);
	if (pump->into_pipe)
		close(pump->far_end);
	if (!pump->err.code)
		return 0;
	if (err)
		*err = pump->err;
	return -pump->err.code;
}
