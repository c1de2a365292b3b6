/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis-agent: options, environment, and the event loop that composes its parts. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/job.h"
#include "agent/rsh.h"
#include "base/clock.h"
#include "base/log.h"

enum { SWEEP_MS = 200, EXIT_USAGE = 2 };

struct options {
	const char *port;
	const char *root;
	bool local;
};

static void log_to_stderr(enum log_level level, const char *line, void *arg)
{
	(void)arg;
	fprintf(stderr, "stasis-agent: %s: %s\n", log_level_name(level), line);
}

static int usage(FILE *out, int code)
{
	fprintf(out,
		"Usage: stasis-agent [--port PATH | --local] [--root DIR]\n"
		"Serve the host's requests in a guest of Stasis.\n"
		"  --port PATH  a unix socket or a character device in place of the virtio port\n"
		"               stasis.agent.0\n"
		"  --local      no host: take phases (drain, release, reopen, connect, abort) from\n"
		"               standard input, for the processes with libarmci of this machine\n"
		"  --root DIR   keep files under DIR in place of /, and never change the machine\n"
		"  --help       show this and exit\n"
		"  --version    show the version and exit\n");
	return code;
}

/* -1: go on; else the exit code. */
static int options_parse(int argc, char **argv, struct options *ret_options)
{
	static const struct option table[] = {
		{"port", required_argument, NULL, 'p'}, {"root", required_argument, NULL, 'r'},
		{"local", no_argument, NULL, 'l'},      {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},    {NULL, 0, NULL, 0},
	};
	int option;

	*ret_options = (struct options){.root = ""};
	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (option) {
		case 'p': ret_options->port = optarg; break;
		case 'r': ret_options->root = optarg; break;
		case 'l': ret_options->local = true; break;
		case 'h': return usage(stdout, 0);
		case 'v': printf("stasis-agent %s\n", STASIS_VERSION); return 0;
		default: return usage(stderr, EXIT_USAGE);
		}
	}
	return optind < argc ? usage(stderr, EXIT_USAGE) : -1;
}

/* What jobs inherit: enough for mpirun to find its peers and its way to them. */
static int environment_set(const struct agent *agent, const char *socket, struct err *err)
{
	static const char *const settings[][2] = {
		{"HOME", "/root"},
		{"USER", "root"},
		{"LOGNAME", "root"},
		{"SHELL", "/bin/sh"},
		{"LANG", "C.UTF-8"},
		{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
		{"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
		{"OMPI_MCA_plm_rsh_agent", RSH_NAME},
		{"OMPI_MCA_orte_default_hostfile", "/etc/stasis/hostfile"},
	};
	char path[IO_PATH_MAX];
	int rc;

	rc = io_path(
		path, sizeof(path), err,
		"%s/run/stasis/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:"
		"/bin",
		agent->root);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (setenv(settings[i][0], settings[i][1], 1) < 0)
			return err_sys(err, errno, "cannot set the environment");
	if (setenv("PATH", path, 1) < 0 || setenv(RELAY_SOCKET_ENV, socket, 1) < 0)
		return err_sys(err, errno, "cannot set the environment");
	return 0;
}

/* Give this binary its other name, stasis-rsh, in the directory that is first in the jobs'
 * PATH. */
static int rsh_link(const struct agent *agent, struct err *err)
{
	char bin[IO_PATH_MAX - 64];
	char path[IO_PATH_MAX];
	char self[IO_PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int rc;

	if (len < 0)
		return err_sys(err, errno, "cannot find this program's own path");
	self[len] = '\0';
	rc = io_path(bin, sizeof(bin), err, "%s/run/stasis/bin", agent->root);
	if (rc == 0)
		rc = io_mkdir_all(bin, 0755, err);
	if (rc == 0)
		rc = io_path(path, sizeof(path), err, "%s/" RSH_NAME, bin);
	if (rc < 0)
		return rc;
	unlink(path);
	if (symlink(self, path) < 0)
		return err_sys(err, errno, "cannot make the link %s", path);
	return 0;
}

static int processes_listen(struct agent *agent, struct err *err)
{
	char dir[IO_PATH_MAX - 32], socket[IO_PATH_MAX];
	int rc = io_path(dir, sizeof(dir), err, "%s/run/stasis", agent->root);

	if (rc == 0)
		rc = io_mkdir_all(dir, 0755, err);
	if (rc == 0)
		rc = io_path(socket, sizeof(socket), err, "%s" CONTROL_SOCKET, agent->root);
	return rc < 0 ? rc : processes_open(agent, socket, err);
}

static int agent_open(struct agent *agent, const struct options *options, struct err *err)
{
	char socket[IO_PATH_MAX];
	int rc;

	agent->relays.listener.fd = -1;
	agent->processes.listener.fd = -1;
	agent->local.watch.fd = -1;
	agent->session.inotify.fd = -1;
	agent->port.watch.fd = -1;
	agent->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (agent->epoll_fd < 0)
		return err_sys(err, errno, "cannot make an event loop");
	rc = io_path(agent->root, sizeof(agent->root), err, "%s", options->root);
	if (rc == 0)
		rc = io_path(socket, sizeof(socket), err, "%s" RELAY_SOCKET, agent->root);
	if (rc == 0)
		rc = processes_listen(agent, err);
	if (rc == 0 && options->local)
		return local_open(agent, err);
	if (rc == 0)
		rc = rsh_link(agent, err);
	if (rc == 0)
		rc = environment_set(agent, socket, err);
	if (rc == 0)
		rc = job_init(agent, err);
	if (rc == 0)
		rc = session_create(agent, err);
	if (rc == 0)
		rc = relay_open(agent, socket, err);
	if (rc == 0)
		rc = port_create(&agent->port, options->port, err);
	return rc;
}

static void agent_close(struct agent *agent)
{
	relay_close(agent);
	processes_close(agent);
	session_destroy(agent);
	port_destroy(&agent->port);
	if (agent->epoll_fd >= 0)
		close(agent->epoll_fd);
}

/* Ask PID 1 to end the machine once the answer is out, or has had its time. */
static void power_work(struct agent *agent)
{
	if (!agent->power_signal ||
	    (agent->port.queued_bytes > 0 && deadline_left_ms(agent->power_deadline_ns) > 0))
		return;
	log_info("the host asks for the machine's end");
	kill(1, agent->power_signal);
	agent->power_signal = 0;
}

static int least(int left, int right)
{
	return left < right ? left : right;
}

static int agent_timeout_ms(const struct agent *agent)
{
	int ms = least(session_timeout_ms(&agent->session),
		       processes_timeout_ms(&agent->processes));

	if (!agent->local.on)
		ms = least(ms, port_timeout_ms(&agent->port));
	if (agent->sweep_due)
		ms = least(ms, SWEEP_MS);
	if (agent->power_signal)
		ms = least(ms, deadline_left_ms(agent->power_deadline_ns));
	return ms;
}

static volatile sig_atomic_t stopping;

static void on_terminate(int number)
{
	(void)number;
	stopping = 1;
}

static int agent_run(struct agent *agent, struct err *err)
{
	while (!stopping && !(agent->local.ended && !agent->local.busy)) {
		struct epoll_event event;
		int n = epoll_wait(agent->epoll_fd, &event, 1, agent_timeout_ms(agent));

		if (n < 0 && errno != EINTR)
			return err_sys(err, errno, "cannot wait for events");
		if (n > 0) {
			struct watch *watch = event.data.ptr;

			watch->ready(agent, watch, event.events);
		}
		processes_work(agent);
		session_work(agent);
		if (agent->local.on)
			local_work(agent);
		else
			port_work(agent);
		if (agent->sweep_due)
			job_sweep(agent);
		power_work(agent);
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct agent agent;
	const char *name = strrchr(argv[0], '/');
	struct options options;
	struct err err = ERR_INIT;
	int rc;

	if (strcmp(name ? name + 1 : argv[0], RSH_NAME) == 0)
		return rsh_main(argc, argv);
	rc = options_parse(argc, argv, &options);
	if (rc >= 0)
		return rc;
	log_set_sink(log_to_stderr, NULL, LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_terminate}, NULL);
	umask(0);
	agent.epoll_fd = -1;
	rc = agent_open(&agent, &options, &err);
	if (rc == 0)
		rc = agent_run(&agent, &err);
	agent_close(&agent);
	if (rc < 0)
		log_error("%s", err.msg);
	return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
