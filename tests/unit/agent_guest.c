/* SPDX-License-Identifier: BSD-3-Clause */
/* For the agent's tests: starts the agent, talks to it as the host does, runs jobs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent_guest.h"
#include "base/io.h"

enum { ANSWER_MS = 20000 };

pid_t process_spawn(char *const argv[])
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nothing running */
		execv(argv[0], argv);
		_exit(127);
	}
	assert_true(pid > 0);
	return pid;
}

static const char *agent_path(void)
{
	const char *path = getenv("STASIS_AGENT");

	return path ? path : STASIS_AGENT_PATH;
}

void agent_accept(struct guest *guest)
{
	struct pollfd pfd = {.fd = guest->listener, .events = POLLIN};

	assert_int_equal(poll(&pfd, 1, ANSWER_MS), 1);
	guest->fd = accept(guest->listener, NULL, NULL);
	assert_true(guest->fd >= 0);
	guest->decoder = rpc_decoder_create(RPC_AGENT_FRAME_MAX, true);
}

void agent_start(struct guest *guest)
{
	char *const argv[] = {(char *)agent_path(), "--port", guest->port, "--root",
			      guest->dir,           NULL};

	guest->pid = process_spawn(argv);
	agent_accept(guest);
}

void agent_disconnect(struct guest *guest)
{
	close(guest->fd);
	rpc_decoder_destroy(guest->decoder);
	while (guest->kept_count > 0)
		rpc_msg_clear(&guest->kept[--guest->kept_count]);
}

void agent_kill(struct guest *guest, int number)
{
	int status;

	kill(guest->pid, number);
	assert_int_equal(waitpid(guest->pid, &status, 0), guest->pid);
	/* Asked to end, it ends well: that is where a sanitizer reports leaks. */
	assert_true(number == SIGKILL || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	agent_disconnect(guest);
}

void guest_send_bytes(struct guest *guest, const void *bytes, size_t len)
{
	assert_int_equal(io_write_all(guest->fd, bytes, len, NULL), 0);
}

void guest_send_json(struct guest *guest, json_t *json, const void *blob, size_t blob_len)
{
	char *bytes = NULL;
	size_t len = 0;

	assert_non_null(json);
	assert_int_equal(
		rpc_encode(json, blob, blob_len, RPC_AGENT_FRAME_MAX, &bytes, &len, NULL), 0);
	guest_send_bytes(guest, bytes, len);
	json_decref(json);
	free(bytes);
}

/* The next message from the port. */
static struct rpc_msg receive(struct guest *guest)
{
	static char buf[64 << 10];
	struct rpc_msg msg = {0};
	int rc;

	while ((rc = rpc_decoder_next(guest->decoder, &msg, NULL)) == 0) {
		struct pollfd pfd = {.fd = guest->fd, .events = POLLIN};
		ssize_t n;

		assert_int_equal(poll(&pfd, 1, ANSWER_MS), 1);
		n = read(guest->fd, buf, sizeof(buf));
		assert_true(n > 0);
		assert_int_equal(rpc_decoder_feed(guest->decoder, buf, (size_t)n, NULL), 0);
	}
	assert_int_equal(rc, 1);
	return msg;
}

struct rpc_msg guest_await(struct guest *guest, const char *key, int64_t id)
{
	for (int i = 0;; i++) {
		struct rpc_msg msg = i < guest->kept_count ? guest->kept[i] : receive(guest);

		if (json_object_get(msg.json, key) &&
		    (id == 0 || json_integer_value(json_object_get(msg.json, "id")) == id)) {
			if (i < guest->kept_count)
				guest->kept[i] = guest->kept[--guest->kept_count];
			return msg;
		}
		if (i < guest->kept_count)
			continue;
		assert_true(guest->kept_count < KEPT_MAX);
		guest->kept[guest->kept_count++] = msg;
	}
}

int64_t guest_request(struct guest *guest, json_t *json, const void *blob, size_t blob_len)
{
	assert_int_equal(json_object_set_new(json, "id", json_integer(++guest->last_id)), 0);
	guest_send_json(guest, json, blob, blob_len);
	return guest->last_id;
}

int guest_ask_blob(struct guest *guest, json_t *json, const void *blob, size_t blob_len,
		   struct rpc_msg *ret_reply)
{
	struct err err = ERR_INIT;
	struct rpc_msg reply =
		guest_await(guest, "ok", guest_request(guest, json, blob, blob_len));
	int rc = rpc_reply_check(reply.json, &err);

	assert_true(rc == 0 || strlen(err.msg) > 0);
	if (ret_reply)
		*ret_reply = reply;
	else
		rpc_msg_clear(&reply);
	return rc;
}

int guest_ask(struct guest *guest, json_t *json, struct rpc_msg *ret_reply)
{
	return guest_ask_blob(guest, json, NULL, 0, ret_reply);
}

int guest_ask_text(struct guest *guest, const char *text)
{
	return guest_ask(guest, json_loads(text, 0, NULL), NULL);
}

int64_t member_int(const struct rpc_msg *msg, const char *key)
{
	assert_true(json_is_integer(json_object_get(msg->json, key)));
	return json_integer_value(json_object_get(msg->json, key));
}

const char *member_text(const struct rpc_msg *msg, const char *key)
{
	assert_true(json_is_string(json_object_get(msg->json, key)));
	return json_string_value(json_object_get(msg->json, key));
}

void guest_hello(struct guest *guest)
{
	static const char zeros[RPC_AGENT_FRAME_MAX];
	struct rpc_msg reply;

	guest_send_bytes(guest, zeros, sizeof(zeros));
	assert_int_equal(guest_ask(guest,
				   json_pack("{s:s,s:s,s:i}", "op", "hello", "nonce",
					     "0123456789abcdef", "version", RPC_VERSION),
				   &reply),
			 0);
	assert_string_equal(member_text(&reply, "event"), "hello");
	assert_string_equal(member_text(&reply, "nonce"), "0123456789abcdef");
	assert_true(member_int(&reply, "session") > 0);
	rpc_msg_clear(&reply);
}

int guest_setup(void **state)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	assert_non_null(guest);
	strcpy(guest->dir, "/tmp/stasis-test-agent-XXXXXX");
	assert_non_null(mkdtemp(guest->dir));
	snprintf(guest->port, sizeof(guest->port), "%s/port", guest->dir);
	memcpy(addr.sun_path, guest->port, strlen(guest->port) + 1);
	guest->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(guest->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(guest->listener, 4), 0);
	agent_start(guest);
	guest_hello(guest);
	*state = guest;
	return 0;
}

int guest_teardown(void **state)
{
	struct guest *guest = *state;

	agent_kill(guest, SIGTERM);
	close(guest->listener);
	/* The keeper of a job that was just removed may still be writing in its directory. */
	for (int i = 0; i < 100 && io_remove_all(guest->dir, NULL) == -ENOTEMPTY; i++)
		usleep(20000);
	assert_int_equal(access(guest->dir, F_OK), -1);
	free(guest);
	return 0;
}

int job_begin(struct guest *guest, const char *job, const char *command, bool with_stdin)
{
	return guest_ask(guest,
			 json_pack("{s:s,s:s,s:[s,s,s],s:{s:s},s:s,s:b}", "op", "job.start",
				   "job", job, "argv", "/bin/sh", "-c", command, "env",
				   "COLOUR", "green", "cwd", guest->dir, "stdin", with_stdin),
			 NULL);
}

json_t *job_poll_request(const char *job, int64_t out, int64_t err, int wait_ms)
{
	return json_pack("{s:s,s:s,s:I,s:I,s:i,s:i}", "op", "job.poll", "job", job, "out",
			 (json_int_t)out, "err", (json_int_t)err, "max", RPC_AGENT_BLOB_MAX,
			 "wait_ms", wait_ms);
}

struct job_end job_run_out(struct guest *guest, const char *job, bool kill_agent_once)
{
	struct job_end end = {.out = calloc(1, 16 << 20), .err = calloc(1, 1 << 20)};

	for (;;) {
		struct rpc_msg msg;
		size_t out_bytes;
		bool done;

		assert_int_equal(guest_ask(guest,
					   job_poll_request(job, (int64_t)end.out_len,
							    (int64_t)end.err_len, 5000),
					   &msg),
				 0);
		out_bytes = (size_t)member_int(&msg, "out_bytes");
		assert_int_equal(msg.blob_len,
				 out_bytes + (size_t)member_int(&msg, "err_bytes"));
		if (msg.blob) {
			memcpy(end.out + end.out_len, msg.blob, out_bytes);
			memcpy(end.err + end.err_len, msg.blob + out_bytes,
			       msg.blob_len - out_bytes);
		}
		end.out_len += out_bytes;
		end.err_len += msg.blob_len - out_bytes;
		end.code = (int)member_int(&msg, "code");
		end.signal = (int)member_int(&msg, "signal");
		done = strcmp(member_text(&msg, "state"), "exited") == 0 &&
		       (int64_t)end.out_len == member_int(&msg, "out_size") &&
		       (int64_t)end.err_len == member_int(&msg, "err_size");
		rpc_msg_clear(&msg);
		if (done)
			return end;
		if (kill_agent_once) {
			kill_agent_once = false;
			agent_kill(guest, SIGKILL);
			agent_start(guest);
			guest_hello(guest);
		}
	}
}

void job_expect_end(struct guest *guest, const char *job, const char *out, const char *err,
		    int code, int number_of_signal)
{
	struct job_end end = job_run_out(guest, job, false);

	assert_string_equal(end.out, out);
	if (err)
		assert_string_equal(end.err, err);
	else
		assert_true(end.err_len > 0);
	assert_int_equal(end.code, code);
	assert_int_equal(end.signal, number_of_signal);
	free(end.out);
	free(end.err);
}
