/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands run for the host: starting, listing, signalling and removing them. */
#include "agent/job.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/job_dir.h"
#include "agent/shim.h"
#include "base/cleanup.h"

enum {
	LIST_BYTES = 96 << 10, /* of JSON in one reply */
	LIST_ARGV_BYTES = 4 << 10,
};

int job_init(struct agent *agent, struct err *err)
{
	int rc = io_path(agent->jobs_dir, sizeof(agent->jobs_dir) - 128, err,
			 "%s/var/lib/stasis/jobs", agent->root);

	if (rc == 0)
		rc = io_mkdir_all(agent->jobs_dir, 0755, err);
	if (rc == 0)
		job_sweep(agent);
	return rc;
}

/* Remove a directory that is no job any more, unless its shim still lives. */
static void dir_sweep(struct agent *agent, const char *name)
{
	char path[IO_PATH_MAX];
	struct err err = ERR_INIT;

	if (io_path(path, sizeof(path), NULL, "%s/%s", agent->jobs_dir, name) < 0)
		return;
	if (job_dir_locked(path) || io_remove_all(path, &err) < 0)
		agent->sweep_due = true;
}

void job_sweep(struct agent *agent)
{
	CLEANUP_CLOSEDIR DIR *dir = opendir(agent->jobs_dir);
	const struct dirent *entry;

	agent->sweep_due = false;
	while (dir && (entry = readdir(dir)))
		if (strncmp(entry->d_name, JOB_DIR_NEW, strlen(JOB_DIR_NEW)) == 0 ||
		    strncmp(entry->d_name, JOB_DIR_OLD, strlen(JOB_DIR_OLD)) == 0)
			dir_sweep(agent, entry->d_name);
}

int job_watch(const struct agent *agent, const char *id, int inotify_fd)
{
	char path[IO_PATH_MAX];
	int wd;

	if (job_dir_path(agent, id, NULL, path, NULL) < 0)
		return -ENAMETOOLONG;
	/* CLOSE_WRITE is of the lock, when a shim has been killed; MOVE_SELF is the job's
	 * removal. */
	wd = inotify_add_watch(inotify_fd, path,
			       IN_MODIFY | IN_MOVED_TO | IN_CLOSE_WRITE | IN_MOVE_SELF);
	return wd < 0 ? -errno : wd;
}

/* The command's environment: the agent's own, then what the request sets. NULL: no memory. */
static char **environment_make(const json_t *env)
{
	size_t own = 0;
	size_t count = 0;
	const char *key;
	json_t *value;
	char **envp;

	while (environ[own])
		own++;
	envp = calloc(own + json_object_size(env) + 1, sizeof(*envp));
	if (!envp)
		return NULL;
	for (size_t i = 0; i < own; i++) {
		size_t len = strcspn(environ[i], "=");
		char name[256];

		if (len < sizeof(name)) {
			memcpy(name, environ[i], len);
			name[len] = '\0';
			if (json_object_get(env, name))
				continue;
		}
		envp[count++] = environ[i];
	}
	json_object_foreach((json_t *)env, key, value)
	{
		if (asprintf(&envp[count], "%s=%s", key, json_string_value(value)) >= 0)
			count++;
	}
	envp[count] = NULL;
	return envp;
}

static void environment_destroy(char **envp)
{
	size_t own = 0;

	while (envp && environ[own])
		own++;
	for (size_t i = 0; envp && envp[i]; i++) {
		bool borrowed = false;

		for (size_t j = 0; j < own && !borrowed; j++)
			borrowed = envp[i] == environ[j];
		if (!borrowed)
			free(envp[i]);
	}
	free(envp);
}

/* Write the specification for job.list and for whoever looks into the directory. */
static int spec_write(const char *dir, const struct request *request, struct err *err)
{
	char path[IO_PATH_MAX];
	json_t *spec = json_object();
	int rc;

	rc = io_path(path, sizeof(path), err, "%s/" JOB_SPEC, dir);
	if (rc == 0 &&
	    (json_object_set(spec, "argv", (json_t *)request->argv) < 0 ||
	     (request->env && json_object_set(spec, "env", (json_t *)request->env) < 0) ||
	     json_object_set_new(spec, "cwd", json_string(request->cwd)) < 0 ||
	     json_object_set_new(spec, "stdin", json_boolean(request->with_stdin)) < 0))
		rc = err_set(err, ENOMEM, "no memory for the job");
	if (rc == 0 && json_dump_file(spec, path, JSON_COMPACT) < 0)
		rc = err_set(err, EIO, "cannot write %s: is the guest's disk full?", path);
	json_decref(spec);
	return rc;
}

static int job_launch(const struct agent *agent, const struct request *request, const char *dir,
		      struct err *err)
{
	size_t argc = json_array_size(request->argv);
	CLEANUP_FREE char **argv = calloc(argc + 1, sizeof(*argv));
	char **envp = environment_make(request->env);
	struct shim_spec spec = {argv, envp, request->cwd, request->with_stdin};
	char new_dir[IO_PATH_MAX];
	int rc;

	if (!argv || !envp) {
		environment_destroy(envp);
		return err_set(err, ENOMEM, "no memory for the job");
	}
	for (size_t i = 0; i < argc; i++)
		argv[i] = (char *)json_string_value(json_array_get(request->argv, i));
	rc = io_path(new_dir, sizeof(new_dir), err, "%s/" JOB_DIR_NEW "XXXXXX",
		     agent->jobs_dir);
	if (rc == 0 && !mkdtemp(new_dir))
		rc = err_sys(err, errno, "cannot make a directory for the job");
	if (rc == 0) {
		rc = spec_write(new_dir, request, err);
		if (rc == 0)
			rc = shim_start(new_dir, dir, &spec, err);
		if (rc < 0)
			io_remove_all(new_dir, NULL);
	}
	environment_destroy(envp);
	return rc;
}

int job_start(struct agent *agent, const struct request *request, struct reply *reply,
	      struct err *err)
{
	struct job_state state;
	char dir[IO_PATH_MAX];
	int rc;

	rc = job_dir_path(agent, request->job, NULL, dir, err);
	if (rc < 0)
		return rc;
	if (access(dir, F_OK) < 0) {
		rc = job_launch(agent, request, dir, err);
		if (rc < 0 && rc != -EEXIST)
			return rc;
	}
	rc = job_state_read(agent, request->job, &state, err);
	if (rc == 0)
		job_state_reply(reply, &state);
	return rc;
}

int job_signal(struct agent *agent, const struct request *request, struct reply *reply,
	       struct err *err)
{
	struct job_state state;
	pid_t group = 0;
	int rc = job_state_read(agent, request->job, &state, err);

	(void)reply;
	if (rc < 0)
		return rc;
	if (!state.running)
		return err_set(err, ESRCH, "job %s has ended", request->job);
	rc = job_group_read(agent, request->job, &group, err);
	if (rc == 0 && kill(-group, request->signal) < 0)
		rc = err_sys(err, errno, "cannot signal job %s", request->job);
	return rc;
}

/* A job's argv for the list; a long one is left out. */
static json_t *listed_argv(const struct agent *agent, const char *id)
{
	CLEANUP_FREE char *text = NULL;
	char path[IO_PATH_MAX];
	size_t len = 0;
	json_t *spec;
	json_t *argv;

	if (job_dir_path(agent, id, JOB_SPEC, path, NULL) < 0 ||
	    io_read_file(path, RPC_AGENT_FRAME_MAX, &text, &len, NULL) < 0)
		return json_array();
	spec = json_loadb(text, len, 0, NULL);
	argv = json_incref(json_object_get(spec, "argv"));
	json_decref(spec);
	if (argv && json_dumpb(argv, NULL, 0, JSON_COMPACT) <= LIST_ARGV_BYTES)
		return argv;
	json_decref(argv);
	return json_array();
}

static int list_add(const struct agent *agent, const char *id, json_t *jobs, size_t *bytes)
{
	struct reply entry = {.json = json_object()};
	struct job_state state;

	if (job_state_read(agent, id, &state, NULL) < 0) {
		json_decref(entry.json);
		return 0; /* removed meanwhile */
	}
	reply_set(&entry, "job", json_string(id));
	reply_set(&entry, "argv", listed_argv(agent, id));
	job_state_reply(&entry, &state);
	*bytes += json_dumpb(entry.json, NULL, 0, JSON_COMPACT) + 1;
	return json_array_append_new(jobs, entry.json);
}

int job_list(struct agent *agent, const struct request *request, struct reply *reply,
	     struct err *err)
{
	struct dirent **names = NULL;
	int count = scandir(agent->jobs_dir, &names, NULL, NULL);
	json_t *jobs = json_array();
	size_t bytes = 0;
	bool more = false;

	if (count < 0) {
		json_decref(jobs);
		return err_sys(err, errno, "cannot list %s", agent->jobs_dir);
	}
	qsort(names, (size_t)count, sizeof(*names), job_dir_compare);
	for (int i = 0; i < count; i++) {
		const char *id = names[i]->d_name;

		if (request_id_valid(id) && strcmp(id, request->after) > 0) {
			more = more || bytes >= LIST_BYTES;
			if (!more && list_add(agent, id, jobs, &bytes) < 0)
				reply->incomplete = true;
		}
		free(names[i]);
	}
	free(names);
	reply_set(reply, "jobs", jobs);
	reply_set(reply, "more", json_boolean(more));
	return 0;
}

int job_remove(struct agent *agent, const struct request *request, struct reply *reply,
	       struct err *err)
{
	struct job_state state;
	char dir[IO_PATH_MAX];
	char old_dir[IO_PATH_MAX];
	pid_t group;
	int rc;

	(void)reply;
	rc = job_dir_path(agent, request->job, NULL, dir, err);
	if (rc < 0)
		return rc;
	rc = job_state_read(agent, request->job, &state, err);
	if (rc == -ENOENT)
		return 0; /* asked again: it is gone */
	if (rc == 0 && state.running && job_group_read(agent, request->job, &group, err) == 0)
		kill(-group, SIGKILL);
	rc = io_path(old_dir, sizeof(old_dir), err, "%s/" JOB_DIR_OLD "XXXXXX",
		     agent->jobs_dir);
	if (rc == 0 && (!mkdtemp(old_dir) || rename(dir, old_dir) < 0))
		rc = err_sys(err, errno, "cannot remove job %s", request->job);
	job_sweep(agent);
	return rc;
}
