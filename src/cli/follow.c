/* SPDX-License-Identifier: BSD-3-Clause */
/* Following jobs in guests: their output as it comes, and signals for them, until they have
 * ended. */
#include "cli/follow.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "cli/follow_input.h"

/*
 * Each VM has one long poll outstanding on a connection of its own; standard input, signals and
 * questions about the cluster's state go over the client's. A poll that fails is asked again
 * while the cluster is being checkpointed or restarted, or the daemon is being replaced; jobs
 * live in the guests and miss none of it. All offsets are kept here, so that asking again is
 * always right, and a guest that was rolled back shows by an output that is shorter than what
 * was shown.
 */

enum { POLL_WAIT_MS = 1000, RETRY_MS = 300, STATUS_MS = 2000, LINE_BYTES_MAX = 8192 };

/* An offset past any output that an agent still takes for one. */
#define BEYOND_END (INT64_MAX / 4)

int follow_exit_code(const struct follow_vm *vm)
{
	return vm->signal ? 128 + vm->signal : vm->code;
}

static sigset_t followed_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	return set;
}

int follow_init(struct follow *follow, struct err *err)
{
	sigset_t set = followed_signals();

	follow->signal_fd = -1;
	follow->vms = calloc(follow->agents->count, sizeof(*follow->vms));
	if (!follow->vms)
		return err_sys(err, ENOMEM, "cannot follow the job");
	if (follow->new_only) {
		size_t i;

		/* Beyond any end: the first reply sets both back to where the output stands. */
		for (i = 0; i < follow->agents->count; i++)
			follow->vms[i].out.offset = follow->vms[i].err.offset = BEYOND_END;
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	follow->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (follow->signal_fd < 0)
		return err_sys(err, errno, "cannot take signals");
	follow->status_ns = deadline_in_ms(STATUS_MS);
	return 0;
}

void follow_clear(struct follow *follow)
{
	sigset_t set = followed_signals();
	size_t i;

	if (follow->signal_fd >= 0)
		close(follow->signal_fd);
	follow->signal_fd = -1;
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	for (i = 0; follow->vms && i < follow->agents->count; i++) {
		free(follow->vms[i].out.line);
		free(follow->vms[i].err.line);
	}
	free(follow->vms);
	follow->vms = NULL;
	free(follow->input_buf);
	follow->input_buf = NULL;
}

/* With --json stdout is kept for the result. */
static int stream_fd(const struct follow *follow, bool is_err)
{
	return is_err || follow->cli->json ? STDERR_FILENO : STDOUT_FILENO;
}

/* Write a whole line with its VM's name in front. */
static int write_line(const char *vm, const char *line, size_t len, int fd, struct err *err)
{
	char out[64 + 2 + LINE_BYTES_MAX + 1];
	int at = snprintf(out, sizeof(out), "%s: ", vm);

	memcpy(out + at, line, len);
	out[(size_t)at + len] = '\n';
	return io_write_all(fd, out, (size_t)at + len + 1, err);
}

static int flush_line(const char *vm, struct follow_stream *stream, int fd, struct err *err)
{
	int rc = stream->line_len ? write_line(vm, stream->line, stream->line_len, fd, err) : 0;

	stream->line_len = 0;
	return rc;
}

/* Show bytes, line by line with a prefix when several VMs are followed. */
static int stream_show(struct follow *follow, const char *vm, struct follow_stream *stream,
		       int fd, const char *bytes, size_t len, struct err *err)
{
	size_t i;
	int rc = 0;

	stream->offset += (int64_t)len;
	if (!follow->prefix)
		return len ? io_write_all(fd, bytes, len, err) : 0;
	if (!stream->line)
		stream->line = malloc(LINE_BYTES_MAX);
	if (!stream->line)
		return err_sys(err, ENOMEM, "cannot show output");
	for (i = 0; i < len && rc == 0; i++) {
		if (bytes[i] != '\n')
			stream->line[stream->line_len++] = bytes[i];
		else if (stream->line_len == 0)
			rc = write_line(vm, "", 0, fd, err);
		if (bytes[i] == '\n' || stream->line_len == LINE_BYTES_MAX)
			rc = rc ? rc : flush_line(vm, stream, fd, err);
	}
	return rc;
}

struct poll_reply {
	int64_t out_bytes, err_bytes, out_size, err_size, code, signal;
	const char *state;
};

static int poll_reply_parse(const struct rpc_msg *msg, struct poll_reply *ret_reply,
			    struct err *err)
{
	int rc = rpc_get_int(msg->json, "out_bytes", 0, RPC_FRAME_MAX, &ret_reply->out_bytes,
			     err);

	if (rc == 0)
		rc = rpc_get_int(msg->json, "err_bytes", 0, RPC_FRAME_MAX,
				 &ret_reply->err_bytes, err);
	if (rc == 0)
		rc = rpc_get_int(msg->json, "out_size", 0, INT64_MAX, &ret_reply->out_size,
				 err);
	if (rc == 0)
		rc = rpc_get_int(msg->json, "err_size", 0, INT64_MAX, &ret_reply->err_size,
				 err);
	if (rc == 0)
		rc = rpc_get_str(msg->json, "state", &ret_reply->state, err);
	if (rc == 0)
		rc = rpc_opt_int(msg->json, "code", 0, 255, &ret_reply->code, err);
	if (rc == 0)
		rc = rpc_opt_int(msg->json, "signal", 0, 127, &ret_reply->signal, err);
	if (rc == 0 && (uint64_t)(ret_reply->out_bytes + ret_reply->err_bytes) != msg->blob_len)
		rc = err_set(err, EPROTO, "the agent's output has another length than it says");
	return rc;
}

/* After a restart the output can be shorter than what was shown. */
static void follow_rollback(struct follow *follow, struct follow_vm *vm,
			    const struct poll_reply *reply)
{
	bool shorter = reply->out_size < vm->out.offset || reply->err_size < vm->err.offset;

	if (!shorter)
		return;
	if (vm->out.offset != BEYOND_END)
		cli_note(
			follow->cli,
			"stasis: the job was taken back to a checkpoint; the output goes on from there");
	if (reply->out_size < vm->out.offset)
		vm->out.offset = reply->out_size;
	if (reply->err_size < vm->err.offset)
		vm->err.offset = reply->err_size;
}

static int follow_reply(struct follow *follow, size_t index, const struct rpc_msg *msg,
			struct err *err)
{
	const char *name = follow->agents->list[index].vm;
	struct follow_vm *vm = &follow->vms[index];
	struct poll_reply reply = {0};
	const char *err_at;
	int rc = poll_reply_parse(msg, &reply, err);

	if (rc < 0)
		return rc;
	if (reply.out_size < vm->out.offset || reply.err_size < vm->err.offset) {
		follow_rollback(follow, vm, &reply);
		return 0;
	}
	err_at = msg->blob ? msg->blob + reply.out_bytes : NULL;
	rc = stream_show(follow, name, &vm->out, stream_fd(follow, false), msg->blob,
			 (size_t)reply.out_bytes, err);
	if (rc == 0)
		rc = stream_show(follow, name, &vm->err, stream_fd(follow, true), err_at,
				 (size_t)reply.err_bytes, err);
	if (rc < 0 || strcmp(reply.state, "exited") != 0 || vm->out.offset < reply.out_size ||
	    vm->err.offset < reply.err_size)
		return rc;
	vm->exited = true;
	vm->code = (int)reply.code;
	vm->signal = (int)reply.signal;
	rc = flush_line(name, &vm->out, stream_fd(follow, false), err);
	return rc < 0 ? rc : flush_line(name, &vm->err, stream_fd(follow, true), err);
}

static int follow_lose(struct follow *follow, enum follow_end *ret_end, const char *why)
{
	snprintf(follow->lost, sizeof(follow->lost), "%s", why);
	*ret_end = FOLLOW_LOST;
	return 1;
}

/* Whether one of the VMs that an object of cluster.status names has died. */
static bool any_dead(const json_t *cluster)
{
	const json_t *vm;
	size_t i;

	json_array_foreach(json_object_get(cluster, "vms"), i, vm)
	{
		const char *state = json_string_value(json_object_get(vm, "state"));

		if (state && strcmp(state, "dead") == 0)
			return true;
	}
	return false;
}

/*
 * Look at the cluster: 1 when it is lost. `job_error` (may be NULL) is an agent's refusal:
 * while the cluster runs as it should, -ENOENT means that there is no such job any more.
 */
static int follow_look(struct follow *follow, const struct err *job_error,
		       enum follow_end *ret_end, struct err *err)
{
	json_t *cluster = NULL;
	const char *state, *message;
	int rc = client_cluster(follow->client, follow->agents->cluster, &cluster, err);

	follow->status_ns = deadline_in_ms(STATUS_MS);
	if (rc == -ENOENT)
		return follow_lose(follow, ret_end, "the cluster was ended");
	if (rc < 0) {
		rpc_conn_close(
			follow->client
				->conn); /* the next look connects anew, starting a daemon */
		follow->client->conn = NULL;
		return rc == -ECONNRESET ? 0 : rc;
	}
	state = json_string_value(json_object_get(cluster, "state"));
	message = json_string_value(json_object_get(cluster, "message"));
	if (!state)
		rc = err_set(err, EPROTO, "stasisd does not tell the cluster's state");
	else if (strcmp(state, "dead") == 0 ||
		 (strcmp(state, "degraded") == 0 && any_dead(cluster)))
		rc = follow_lose(follow, ret_end,
				 message && *message ? message : "its VMs have died");
	else if (strcmp(state, "running") == 0 && job_error && job_error->code == ENOENT)
		rc = follow_lose(follow, ret_end,
				 "the cluster was taken back to before the job began");
	json_decref(cluster);
	return rc;
}

/* An agent's poll failed; ask again later unless all is lost. */
static int follow_trouble(struct follow *follow, size_t index, const struct err *job_error,
			  enum follow_end *ret_end, struct err *err)
{
	follow->vms[index].retry_ns = deadline_in_ms(RETRY_MS);
	return follow_look(follow, job_error, ret_end, err);
}

static int follow_ask(struct follow *follow, size_t index, enum follow_end *ret_end,
		      struct err *err)
{
	struct follow_vm *vm = &follow->vms[index];
	struct err poll_err = ERR_INIT;
	json_t *operation = json_pack("{s:s, s:s, s:I, s:I, s:i, s:i}", "op", "job.poll", "job",
				      follow->job, "out", (json_int_t)vm->out.offset, "err",
				      (json_int_t)vm->err.offset, "max",
				      (int)RPC_AGENT_BLOB_MAX, "wait_ms", POLL_WAIT_MS);
	int rc = agents_send(follow->agents, index, operation, NULL, 0, &poll_err);

	vm->waiting = rc == 0;
	return rc == 0 ? 0 : follow_trouble(follow, index, &poll_err, ret_end, err);
}

static int follow_take(struct follow *follow, size_t index, enum follow_end *ret_end,
		       struct err *err)
{
	struct err poll_err = ERR_INIT;
	struct rpc_msg msg = {0};
	int rc = agents_recv(follow->agents, index, clock_mono_ns(), &msg, &poll_err);

	if (rc == -EINPROGRESS)
		return 0; /* only a part of the reply is there */
	follow->vms[index].waiting = false;
	if (rc == 0)
		rc = follow_reply(follow, index, &msg, err);
	else
		rc = follow_trouble(follow, index, &poll_err, ret_end, err);
	rpc_msg_clear(&msg);
	return rc;
}

/* Pass a signal on to the jobs; the second SIGINT kills. Failures show in the polls. */
static void forward_signal(struct follow *follow, int signal)
{
	struct err ignored;
	size_t i;

	if (signal == SIGINT && ++follow->interrupts > 1)
		signal = SIGKILL;
	for (i = 0; i < follow->agents->count; i++) {
		json_t *operation = json_pack("{s:s, s:s, s:i}", "op", "job.signal", "job",
					      follow->job, "signal", signal);

		if (follow->vms[i].exited)
			json_decref(operation);
		else
			client_call(follow->client,
				    json_pack("{s:s, s:s, s:s, s:o}", "op", "agent", "cluster",
					      follow->agents->cluster, "vm",
					      follow->agents->list[i].vm, "request", operation),
				    NULL, &ignored);
	}
}

/* 1 when the following ends. */
static int follow_signals(struct follow *follow, enum follow_end *ret_end)
{
	struct signalfd_siginfo info;

	while (read(follow->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (follow->detach) {
			follow->signal = (int)info.ssi_signo;
			*ret_end = FOLLOW_DETACHED;
			return 1;
		}
		forward_signal(follow, (int)info.ssi_signo);
	}
	return 0;
}

/* Send what is due; returns the instant of the next thing to do, or -errno, or 1 when it is
 * over. */
static int follow_due(struct follow *follow, enum follow_end *ret_end, int64_t *ret_next_ns,
		      struct err *err)
{
	int64_t now_ns = clock_mono_ns();
	size_t i, exited = 0;
	int rc = 0;

	*ret_next_ns = follow->status_ns;
	if (now_ns >= follow->status_ns)
		rc = follow_look(follow, NULL, ret_end, err);
	for (i = 0; i < follow->agents->count && rc == 0; i++) {
		struct follow_vm *vm = &follow->vms[i];

		exited += vm->exited;
		if (!vm->exited && !vm->waiting && vm->retry_ns <= now_ns)
			rc = follow_ask(follow, i, ret_end, err);
		if (!vm->exited && !vm->waiting && vm->retry_ns < *ret_next_ns)
			*ret_next_ns = vm->retry_ns;
	}
	if (rc == 0 && exited == follow->agents->count) {
		*ret_end = FOLLOW_EXITED;
		rc = 1;
	}
	return rc;
}

/* Wait for a reply, a signal, input or the instant. */
static int follow_wait(struct follow *follow, struct pollfd *fds, int64_t next_ns,
		       struct err *err)
{
	size_t i, count = follow->agents->count;

	for (i = 0; i < count; i++) {
		const struct rpc_conn *conn = follow->agents->list[i].conn;

		fds[i] = (struct pollfd){
			.fd = follow->vms[i].waiting && conn ? rpc_conn_fd(conn) : -1,
			.events = POLLIN};
	}
	fds[count] = (struct pollfd){.fd = follow->signal_fd, .events = POLLIN};
	fds[count + 1] = (struct pollfd){.fd = follow_input_fd(follow), .events = POLLIN};
	next_ns = follow_input_next(follow, next_ns);
	if (poll(fds, count + 2, deadline_left_ms(next_ns)) < 0 && errno != EINTR)
		return err_sys(err, errno, "cannot wait for the job");
	return 0;
}

static int follow_events(struct follow *follow, const struct pollfd *fds,
			 enum follow_end *ret_end, struct err *err)
{
	size_t i, count = follow->agents->count;
	int rc = 0;

	if (fds[count].revents)
		rc = follow_signals(follow, ret_end);
	if (rc == 0)
		rc = follow_input_step(follow, fds[count + 1].revents != 0, err);
	for (i = 0; i < count && rc == 0; i++) {
		if (fds[i].revents)
			rc = follow_take(follow, i, ret_end, err);
	}
	return rc;
}

int follow_run(struct follow *follow, enum follow_end *ret_end, struct err *err)
{
	struct pollfd *fds = calloc(follow->agents->count + 2, sizeof(*fds));
	int64_t next_ns;
	int rc;

	if (!fds)
		return err_sys(err, ENOMEM, "cannot follow the job");
	do {
		rc = follow_due(follow, ret_end, &next_ns, err);
		if (rc == 0)
			rc = follow_wait(follow, fds, next_ns, err);
		if (rc == 0)
			rc = follow_events(follow, fds, ret_end, err);
	} while (rc == 0);
	free(fds);
	return rc < 0 ? rc : 0;
}
