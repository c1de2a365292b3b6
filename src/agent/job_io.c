/* SPDX-License-Identifier: BSD-3-Clause */
/* A job's streams: polling its output and end, and feeding its input through a spool file. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/job.h"
#include "agent/job_dir.h"
#include "agent/shim.h"
#include "base/cleanup.h"

enum {
	SPOOL_BYTES = 1 << 20, /* input the command has not taken; more is left with the host */
};

/* One of a job's output streams as a poll sees it. */
struct stream {
	int fd;
	int64_t offset;
	int64_t size;
	size_t take;
};

static int stream_open(const struct agent *agent, const char *id, const char *file,
		       struct stream *stream, struct err *err)
{
	char path[IO_PATH_MAX];
	struct stat st;
	int rc = job_dir_path(agent, id, file, path, err);

	if (rc < 0)
		return rc;
	stream->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (stream->fd < 0 || fstat(stream->fd, &st) < 0)
		return err_sys(err, errno, "cannot read %s", path);
	stream->size = st.st_size;
	return 0;
}

static int64_t stream_available(const struct stream *stream)
{
	return stream->size > stream->offset ? stream->size - stream->offset : 0;
}

/* Share `max` bytes: each stream gets half, or what the other leaves. */
static void streams_share(struct stream *out, struct stream *errors, size_t max)
{
	int64_t half = (int64_t)(max / 2);
	int64_t want_err = stream_available(errors);
	int64_t want_out = stream_available(out);
	int64_t left_out = (int64_t)max - (want_err < half ? want_err : half);

	out->take = (size_t)(want_out < left_out ? want_out : left_out);
	errors->take = max - out->take;
	if ((int64_t)errors->take > want_err)
		errors->take = (size_t)want_err;
}

/* Read what both streams give into the reply's blob. */
static int streams_read(const struct stream *out, const struct stream *errors,
			struct reply *reply, struct err *err)
{
	int rc;

	reply->blob_len = out->take + errors->take;
	if (reply->blob_len == 0)
		return 0;
	reply->blob = malloc(reply->blob_len);
	if (!reply->blob)
		return err_set(err, ENOMEM, "no memory for output");
	rc = io_pread_all(out->fd, reply->blob, out->take, out->offset, err);
	if (rc == 0)
		rc = io_pread_all(errors->fd, reply->blob + out->take, errors->take,
				  errors->offset, err);
	return rc;
}

static int poll_reply(const struct request *request, const struct job_state *state,
		      struct stream *out, struct stream *errors, struct reply *reply,
		      struct err *err)
{
	int64_t available = stream_available(out) + stream_available(errors);
	int rc;

	if (state->running && request->wait_ms > 0 && available == 0)
		return REPLY_WAIT;
	if (state->running && request->wait_ms > 0 && available < (int64_t)request->max_bytes)
		return REPLY_GATHER;
	streams_share(out, errors, request->max_bytes);
	rc = streams_read(out, errors, reply, err);
	if (rc < 0)
		return rc;
	reply_set(reply, "out_bytes", json_integer((json_int_t)out->take));
	reply_set(reply, "err_bytes", json_integer((json_int_t)errors->take));
	reply_set(reply, "out_size", json_integer(out->size));
	reply_set(reply, "err_size", json_integer(errors->size));
	job_state_reply(reply, state);
	return 0;
}

int job_poll(struct agent *agent, const struct request *request, struct reply *reply,
	     struct err *err)
{
	struct stream out = {.fd = -1, .offset = request->out_offset};
	struct stream errors = {.fd = -1, .offset = request->err_offset};
	struct job_state state;
	int rc;

	/* The state first: when the command has ended, the sizes read after that are its last.
	 */
	rc = job_state_read(agent, request->job, &state, err);
	if (rc == 0)
		rc = stream_open(agent, request->job, JOB_OUT, &out, err);
	if (rc == 0)
		rc = stream_open(agent, request->job, JOB_ERR, &errors, err);
	if (rc == 0)
		rc = poll_reply(request, &state, &out, &errors, reply, err);
	cleanup_close_fd(&out.fd);
	cleanup_close_fd(&errors.fd);
	return rc;
}

/* How much of the input the shim has passed on. */
static int taken_read(const struct agent *agent, const char *id, int64_t *ret_taken,
		      struct err *err)
{
	char path[IO_PATH_MAX];
	CLEANUP_CLOSE int fd = -1;
	int rc = job_dir_path(agent, id, JOB_IN_TAKEN, path, err);

	if (rc < 0)
		return rc;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, EINVAL, "job %s was started without \"stdin\"", id);
	*ret_taken = 0;
	return pread(fd, ret_taken, sizeof(*ret_taken), 0) < 0
		       ? err_sys(err, errno, "cannot read %s", path)
		       : 0;
}

/* Append to the spool what is new to it and has room; *ret_size is its size then. */
static int spool_append(int fd, const struct request *request, int64_t taken, int64_t *ret_size,
			struct err *err)
{
	struct stat st;
	int64_t end = request->offset + (int64_t)request->blob_len;
	int64_t limit = taken + SPOOL_BYTES;
	int rc;

	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot examine the job's input");
	*ret_size = st.st_size;
	if (request->offset > st.st_size)
		return err_set(err, ERANGE, "input from offset %lld on is missing",
			       (long long)st.st_size);
	if (end > limit)
		end = limit;
	if (end <= st.st_size)
		return 0;
	rc = io_pwrite_all(fd, request->blob + (st.st_size - request->offset),
			   (size_t)(end - st.st_size), st.st_size, err);
	if (rc == 0)
		*ret_size = end;
	return rc;
}

/* Mark the input as complete; the shim is told by the file's creation. */
static int spool_complete(const struct agent *agent, const char *id, struct err *err)
{
	char path[IO_PATH_MAX];
	CLEANUP_CLOSE int fd = -1;
	int rc = job_dir_path(agent, id, JOB_IN_EOF, path, err);

	if (rc < 0)
		return rc;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 ? err_sys(err, errno, "cannot end the job's input") : 0;
}

int job_stdin(struct agent *agent, const struct request *request, struct reply *reply,
	      struct err *err)
{
	int64_t end = request->offset + (int64_t)request->blob_len;
	struct job_state state;
	char path[IO_PATH_MAX];
	CLEANUP_CLOSE int fd = -1;
	int64_t taken = 0;
	int64_t size = 0;
	int rc;

	rc = job_state_read(agent, request->job, &state, err);
	if (rc == 0)
		rc = taken_read(agent, request->job, &taken, err);
	if (rc == 0 && (!state.running || taken == SHIM_INPUT_CLOSED))
		rc = err_set(err, EPIPE, "job %s reads no more input", request->job);
	if (rc == 0)
		rc = job_dir_path(agent, request->job, JOB_IN, path, err);
	if (rc < 0)
		return rc;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", path);
	rc = spool_append(fd, request, taken, &size, err);
	if (rc == 0 && request->eof && size >= end)
		rc = spool_complete(agent, request->job, err);
	reply_set(reply, "accepted", json_integer(size));
	return rc;
}
