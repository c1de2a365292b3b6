/* SPDX-License-Identifier: BSD-3-Clause */
/* What a job's directory says: where it is, how the job is, which process group it has. */
#include "agent/job_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/shim.h"
#include "base/cleanup.h"

enum { SMALL_FILE_BYTES = 4096, CODE_LOST = 255 };

int job_dir_path(const struct agent *agent, const char *id, const char *file,
		 char ret_path[IO_PATH_MAX], struct err *err)
{
	return io_path(ret_path, IO_PATH_MAX, err, "%s/%s%s%s", agent->jobs_dir, id,
		       file ? "/" : "", file ? file : "");
}

bool job_dir_locked(const char *path)
{
	char lock[IO_PATH_MAX];
	CLEANUP_CLOSE int fd = -1;

	if (io_path(lock, sizeof(lock), NULL, "%s/" JOB_LOCK, path) < 0)
		return false;
	fd = open(lock, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

/* -ENOENT while the job has not ended. */
static int status_read(const struct agent *agent, const char *id, struct job_state *ret_state,
		       struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	char path[IO_PATH_MAX];
	size_t len = 0;
	int64_t code = 0;
	int64_t number = 0;
	json_t *status;
	int rc;

	rc = job_dir_path(agent, id, JOB_STATUS, path, err);
	if (rc == 0)
		rc = io_read_file(path, SMALL_FILE_BYTES, &text, &len, err);
	if (rc < 0)
		return rc;
	status = json_loadb(text, len, 0, NULL);
	rc = rpc_get_int(status, "code", 0, CODE_LOST, &code, err);
	if (rc == 0)
		rc = rpc_get_int(status, "signal", 0, INT8_MAX, &number, err);
	json_decref(status);
	if (rc < 0)
		return err_prefix(err, "%s", path);
	*ret_state = (struct job_state){.code = (int)code, .signal = (int)number};
	return 0;
}

int job_state_read(const struct agent *agent, const char *id, struct job_state *ret_state,
		   struct err *err)
{
	char path[IO_PATH_MAX];
	int rc = job_dir_path(agent, id, NULL, path, err);

	if (rc < 0)
		return rc;
	if (access(path, F_OK) < 0)
		return err_set(err, ENOENT, "there is no job %s", id);
	rc = status_read(agent, id, ret_state, err);
	if (rc != -ENOENT)
		return rc;
	if (job_dir_locked(path)) {
		*ret_state = (struct job_state){.running = true};
		return 0;
	}
	/* The lock is free: either the status has come just now, or it never will. */
	rc = status_read(agent, id, ret_state, err);
	if (rc != -ENOENT)
		return rc;
	*ret_state = (struct job_state){.lost = true, .code = CODE_LOST};
	return 0;
}

void job_state_reply(struct reply *reply, const struct job_state *state)
{
	reply_set(reply, "state", json_string(state->running ? "running" : "exited"));
	reply_set(reply, "code", json_integer(state->code));
	reply_set(reply, "signal", json_integer(state->signal));
	if (state->lost)
		reply_set(reply, "message",
			  json_string("the job's keeper was killed, so its end is unknown"));
}

int job_group_read(const struct agent *agent, const char *id, pid_t *ret_group, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	char path[IO_PATH_MAX];
	size_t len = 0;
	long group;
	int rc;

	rc = job_dir_path(agent, id, JOB_PID, path, err);
	if (rc == 0)
		rc = io_read_file(path, SMALL_FILE_BYTES, &text, &len, err);
	if (rc < 0)
		return rc;
	group = strtol(text, NULL, 10);
	if (group <= 1 || group > INT_MAX)
		return err_set(err, EIO, "%s does not hold a process group", path);
	*ret_group = (pid_t)group;
	return 0;
}

int job_dir_compare(const void *left, const void *right)
{
	const struct dirent *const *a = left;
	const struct dirent *const *b = right;

	return strcmp((*a)->d_name, (*b)->d_name);
}
