/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection to stasisd: starts the daemon when none answers, shows the progress of
 * requests. */
#include "cli/client.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/paths.h"

enum { START_MS = 20000, HELLO_MS = 20000, START_POLL_MS = 10 };

static int client_hello(struct rpc_conn *conn, struct err *err)
{
	json_t *request = json_pack("{s:s, s:i}", "op", "hello", "version", RPC_VERSION);
	struct rpc_msg reply = {0};
	int64_t version = 0;
	int rc = rpc_call(conn, request, NULL, 0, deadline_in_ms(HELLO_MS), NULL, NULL, &reply,
			  err);

	json_decref(request);
	if (rc < 0)
		return err_prefix(err, "stasisd does not answer");
	rc = rpc_get_int(reply.json, "version", 0, INT32_MAX, &version, err);
	rpc_msg_clear(&reply);
	if (rc == 0 && version != RPC_VERSION)
		rc = err_set(
			err, EPROTONOSUPPORT,
			"stasisd speaks version %d of the protocol, this stasis version %d; end the old "
			"daemon (kill its pid; VMs live on) or use the stasis that came with it",
			(int)version, RPC_VERSION);
	return rc;
}

/* In the child: become stasisd. Only async-signal-safe calls. */
static _Noreturn void daemon_exec(const char *program, int log_fd)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (null_fd >= 0) {
		dup2(null_fd, STDIN_FILENO);
		dup2(null_fd, STDOUT_FILENO);
	}
	if (log_fd >= 0)
		dup2(log_fd, STDERR_FILENO);
	execl(program, program, "--background", (char *)NULL);
	_exit(127);
}

/* The last line that the daemon wrote, for the error's sentence. */
static void daemon_last_line(int log_fd, char *ret_line, size_t size)
{
	char log[4096];
	ssize_t n = pread(log_fd, log, sizeof(log) - 1, 0);
	char *at;

	if (n < 0)
		n = 0;
	log[n] = '\0';
	while (n > 0 && log[n - 1] == '\n')
		log[--n] = '\0';
	at = strrchr(log, '\n');
	snprintf(ret_line, size, "%.500s", at ? at + 1 : log);
}

static int daemon_wait(pid_t pid, const char *program, int log_fd, struct err *err)
{
	int64_t deadline_ns = deadline_in_ms(START_MS);
	char line[512];
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		const struct timespec pause = {.tv_nsec = START_POLL_MS * NS_PER_MS};

		if (deadline_left_ms(deadline_ns) == 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			return err_set(err, ETIMEDOUT, "%.300s did not come up within %d s",
				       program, START_MS / 1000);
		}
		nanosleep(&pause, NULL);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	daemon_last_line(log_fd, line, sizeof(line));
	return err_set(err, ECHILD, "%.300s could not start: %s", program,
		       line[0] ? line : "it ended without a word");
}

/* Run `stasisd --background`, which ends well once its socket answers. */
static int daemon_start(struct err *err)
{
	/* A file takes its words: a pipe would break when this process ends before it. */
	CLEANUP_CLOSE int log_fd = memfd_create("stasisd-start", MFD_CLOEXEC);
	char program[IO_PATH_MAX];
	pid_t pid;
	int rc = paths_program("stasisd", program, sizeof(program), err);

	if (rc < 0)
		return rc;
	pid = fork();
	if (pid < 0)
		return err_sys(err, errno, "cannot start %.300s", program);
	if (pid == 0)
		daemon_exec(program, log_fd);
	return daemon_wait(pid, program, log_fd, err);
}

static int client_connect_once(const char *socket, bool start, struct rpc_conn **ret_conn,
			       struct err *err)
{
	struct rpc_conn *conn = NULL;
	int rc = rpc_connect_unix(socket, RPC_FRAME_MAX, &conn, err);

	if (start && (rc == -ENOENT || rc == -ECONNREFUSED)) {
		/* Another command may have started the daemon in the same moment: one of the
		 * two is refused. */
		int rc_start = daemon_start(err);

		rc = rpc_connect_unix(socket, RPC_FRAME_MAX, &conn, rc_start < 0 ? NULL : err);
		if (rc < 0 && rc_start < 0)
			return err_prefix(err, "no daemon answers at %.200s", socket);
	}
	if (rc == 0)
		rc = client_hello(conn, err);
	if (rc < 0) {
		rpc_conn_close(conn);
		return rc;
	}
	*ret_conn = conn;
	return 0;
}

int client_connect(bool start, struct rpc_conn **ret_conn, struct err *err)
{
	int64_t deadline_ns = deadline_in_ms(START_MS);
	const struct timespec pause = {.tv_nsec = START_POLL_MS * NS_PER_MS};
	char socket[IO_PATH_MAX];
	int rc = paths_socket(socket, sizeof(socket), err);

	if (rc < 0)
		return rc;
	/* A daemon that was just killed takes connections a moment longer, and resets them. */
	while ((rc = client_connect_once(socket, start, ret_conn, err)) == -ECONNRESET &&
	       start && deadline_left_ms(deadline_ns) > 0)
		nanosleep(&pause, NULL);
	return rc;
}

int client_open(struct client *ret_client, const struct cli *cli)
{
	struct err err = ERR_INIT;

	ret_client->conn = NULL;
	progress_init(&ret_client->progress, cli);
	if (client_connect(true, &ret_client->conn, &err) < 0)
		return cli_error(cli, CLI_NO_DAEMON, &err);
	return CLI_OK;
}

void client_close(struct client *client)
{
	progress_end(&client->progress);
	rpc_conn_close(client->conn);
	client->conn = NULL;
}

int client_reopen(struct client *client, struct err *err)
{
	rpc_conn_close(client->conn);
	client->conn = NULL;
	return client_connect(true, &client->conn, err);
}

static void on_event(const struct rpc_msg *event, void *arg)
{
	progress_event(arg, event->json);
}

int client_call(struct client *client, json_t *request, json_t **ret_reply, struct err *err)
{
	struct rpc_msg reply = {0};
	int rc;

	if (!request)
		return err_sys(err, ENOMEM, "cannot make a request");
	if (!client->conn) {
		rc = client_reopen(client, err);
		if (rc < 0) {
			json_decref(request);
			return rc;
		}
	}
	rc = rpc_call(client->conn, request, NULL, 0, INT64_MAX, on_event, &client->progress,
		      &reply, err);
	progress_end(&client->progress);
	if (rc == -ECONNRESET)
		err_set(err, ECONNRESET,
			"stasisd ended in the middle of '%s'; stasis status starts a new one and shows what has "
			"become of it",
			json_string_value(json_object_get(request, "op")));
	json_decref(request);
	if (rc == 0 && ret_reply)
		*ret_reply = json_incref(reply.json);
	rpc_msg_clear(&reply);
	return rc;
}

int client_cluster(struct client *client, const char *name, json_t **ret_cluster,
		   struct err *err)
{
	json_t *reply = NULL, *clusters;
	int rc;

	if (name && !name[0])
		name = NULL;
	rc = client_call(client,
			 json_pack("{s:s, s:s*}", "op", "cluster.status", "cluster", name),
			 &reply, err);
	if (rc < 0)
		return rc;
	clusters = json_object_get(reply, "clusters");
	if (json_array_size(clusters) == 1 &&
	    json_is_string(json_object_get(json_array_get(clusters, 0), "name")))
		*ret_cluster = json_incref(json_array_get(clusters, 0));
	else if (json_array_size(clusters) == 0)
		rc = err_set(err, ENOENT, "%s%s%s; stasis up -c FILE starts one",
			     name ? "there is no cluster '" : "no cluster runs",
			     name ? name : "", name ? "'" : "");
	else
		rc = err_set(
			err, EINVAL,
			"%zu clusters run: say which one is meant (stasis status lists them)",
			json_array_size(clusters));
	json_decref(reply);
	return rc;
}
