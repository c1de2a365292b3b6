/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the agent's sessions, phases, relays and refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent_guest.h"
#include "armci/suspend/control.h"

static void test_sessions(void **state)
{
	struct guest *guest = *state;
	char *bytes = NULL;
	size_t len = 0;
	json_t *json = json_pack("{s:i,s:s}", "id", 1, "op", "ping");

	assert_int_equal(guest_ask_text(guest, "{\"op\":\"ping\"}"), 0);
	/* A stream cut inside a frame, then a new session. */
	assert_int_equal(rpc_encode(json, "abc", 3, RPC_AGENT_FRAME_MAX, &bytes, &len, NULL),
			 0);
	for (size_t cut = 1; cut < len; cut += 9) {
		guest_send_bytes(guest, bytes, cut);
		guest_hello(guest);
		assert_int_equal(guest_ask_text(guest, "{\"op\":\"ping\"}"), 0);
	}
	/* The host goes away in the middle of a frame and comes back. */
	guest_send_bytes(guest, bytes, len / 2);
	agent_disconnect(guest);
	agent_accept(guest);
	guest_hello(guest);
	assert_int_equal(guest_ask_text(guest, "{\"op\":\"ping\"}"), 0);
	assert_int_equal(guest_ask_text(guest,
					"{\"op\":\"hello\",\"nonce\":\"0123456789abcdef\","
					"\"version\":2}"),
			 -EPROTONOSUPPORT);
	json_decref(json);
	free(bytes);
}

static void test_phases(void **state)
{
	struct guest *guest = *state;
	static const struct {
		const char *phase, *ckpt;
		int rc;
	} steps[] = {
		{"release", "c1", -EPROTO}, {"drain", "c1", 0},
		{"drain", "c1", 0},         {"drain", "c2", -EBUSY},
		{"release", "c1", 0},       {"drain", "c1", -EPROTO},
		{"connect", "c1", -EPROTO}, {"reopen", "c1", 0},
		{"reopen", "c1", 0},        {"release", "c1", -EPROTO},
		{"connect", "c1", 0},       {"connect", "c1", 0},
		{"drain", "c2", 0},         {"abort", "c3", 0},
		{"abort", "c3", 0},         {"drain", "c4", 0},
		{"reopen", "other", 0},     {"connect", "other", 0},
		{"thaw", "c1", -EINVAL},    {"drain", "../x", -EINVAL},
	};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		assert_int_equal(guest_ask(guest,
					   json_pack("{s:s,s:s,s:s,s:i}", "op", "phase",
						     "phase", steps[i].phase, "ckpt",
						     steps[i].ckpt, "deadline_ms", 1000),
					   NULL),
				 steps[i].rc);
}

/* A process with libarmci, played by the test. */
static int process_join(const struct guest *guest, int rank)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct control_hello hello = {.magic = CONTROL_MAGIC,
				      .version = CONTROL_VERSION,
				      .job = "a job of two",
				      .rank = rank,
				      .ranks = 2,
				      .state = CONTROL_OPEN};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s" CONTROL_SOCKET, guest->dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(send(fd, &hello, sizeof(hello), 0), sizeof(hello));
	return fd;
}

static struct control_order process_order(int fd, int *ret_table_fd)
{
	struct control_order order;
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} extra;
	struct iovec iov = {.iov_base = &order, .iov_len = sizeof(order)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &extra,
			     .msg_controllen = sizeof(extra)};

	assert_int_equal(recvmsg(fd, &msg, MSG_CMSG_CLOEXEC), sizeof(order));
	*ret_table_fd = -1;
	if (CMSG_FIRSTHDR(&msg))
		memcpy(ret_table_fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return order;
}

static void process_report(int fd, const struct control_order *order, int status,
			   enum control_state now, const char *text, const char *card)
{
	struct {
		struct control_report head;
		char card[16];
	} packet = {.head = {.kind = order->kind,
			     .serial = order->serial,
			     .status = status,
			     .state = now,
			     .duration_ns = 1000,
			     .card_bytes = (uint32_t)strlen(card)}};
	size_t len = sizeof(packet.head) + strlen(card);

	snprintf(packet.head.text, sizeof(packet.head.text), "%s", text);
	memcpy(packet.card, card, strlen(card));
	assert_int_equal(send(fd, &packet, len, 0), len);
}

static int64_t phase_ask(struct guest *guest, const char *phase)
{
	return guest_request(guest,
			     json_pack("{s:s,s:s,s:s,s:i}", "op", "phase", "phase", phase,
				       "ckpt", "c1", "deadline_ms", 20000),
			     NULL, 0);
}

/* All processes obey one phase. */
static struct rpc_msg phase_obeyed(struct guest *guest, const char *phase,
				   enum control_kind kind, const int fds[2],
				   enum control_state now, const char *const cards[2])
{
	int64_t id = phase_ask(guest, phase);

	for (int i = 0; i < 2; i++) {
		int table_fd;
		struct control_order order = process_order(fds[i], &table_fd);

		assert_int_equal(order.kind, kind);
		assert_int_equal(order.deadline_ms, 20000);
		assert_int_equal(table_fd >= 0, kind == CONTROL_CONNECT);
		if (table_fd >= 0) {
			struct control_table head;
			struct control_row rows[2];

			assert_int_equal(pread(table_fd, &head, sizeof(head), 0), sizeof(head));
			assert_int_equal(head.ranks, 2);
			assert_int_equal(pread(table_fd, rows, sizeof(rows), sizeof(head)),
					 sizeof(rows));
			assert_int_equal(rows[0].bytes, 4);
			assert_memory_equal(rows[0].card, "zero", 4);
			assert_int_equal(rows[1].bytes, 5);
			assert_memory_equal(rows[1].card, "other", 5);
			close(table_fd);
		}
		process_report(fds[i], &order, 0, now, "", cards ? cards[i] : "");
	}
	return guest_await(guest, "ok", id);
}

/* Until the agent has seen that many processes. */
static void processes_await(struct guest *guest, int count)
{
	struct rpc_msg reply;
	int64_t seen;

	do {
		assert_int_equal(guest_ask(guest, json_pack("{s:s}", "op", "ping"), &reply), 0);
		seen = member_int(&reply, "processes");
		rpc_msg_clear(&reply);
	} while (seen != count);
}

/* Two processes through a whole suspension; the other guest's card of rank 1 comes from the
 * host. */
static void test_processes(void **state)
{
	struct guest *guest = *state;
	static const char *const cards[] = {"zero", "one"};
	int fds[2] = {process_join(guest, 0), process_join(guest, 1)};
	struct rpc_msg reply;
	json_t *array;

	processes_await(guest, 2);
	reply = phase_obeyed(guest, "drain", CONTROL_DRAIN, fds, CONTROL_DRAINED, NULL);
	assert_true(json_is_true(json_object_get(reply.json, "ok")));
	assert_int_equal(member_int(&reply, "processes"), 2);
	rpc_msg_clear(&reply);
	reply = phase_obeyed(guest, "release", CONTROL_RELEASE, fds, CONTROL_RELEASED, NULL);
	rpc_msg_clear(&reply);
	reply = phase_obeyed(guest, "reopen", CONTROL_REOPEN, fds, CONTROL_REOPENED, cards);
	assert_string_equal(member_text(&reply, "state"), "reopened");
	array = json_object_get(reply.json, "cards");
	assert_int_equal(json_array_size(array), 2);
	rpc_msg_clear(&reply);
	assert_int_equal(guest_ask_blob(guest,
					json_pack("{s:s,s:s,s:i,s:i}", "op", "cards", "job",
						  "61206a6f62206f662074776f00000000", "ranks",
						  2, "first", 1),
					"\5\0other", 7, NULL),
			 0);
	assert_int_equal(guest_ask_blob(guest,
					json_pack("{s:s,s:s,s:i,s:i}", "op", "cards", "job",
						  "61206a6f62206f662074776f00000000", "ranks",
						  2, "first", 1),
					"\6\0other", 7, NULL),
			 -EBADMSG);
	reply = phase_obeyed(guest, "connect", CONTROL_CONNECT, fds, CONTROL_OPEN, NULL);
	assert_string_equal(member_text(&reply, "state"), "open");
	rpc_msg_clear(&reply);
	close(fds[0]);
	close(fds[1]);
	processes_await(guest, 0);
}

/* A rank that fails is named; one that ends meanwhile, too; nonsense ends the connection. */
static void test_processes_fail(void **state)
{
	struct guest *guest = *state;
	int fds[2] = {process_join(guest, 0), process_join(guest, 1)}, table_fd;
	struct control_order order;
	struct rpc_msg reply;
	int64_t id;
	char byte;

	processes_await(guest, 2);
	id = phase_ask(guest, "drain");
	order = process_order(fds[0], &table_fd);
	process_report(fds[0], &order, 0, CONTROL_DRAINED, "", "");
	order = process_order(fds[1], &table_fd);
	process_report(fds[1], &order, -ETIMEDOUT, CONTROL_OPEN, "it has been in a lock", "");
	reply = guest_await(guest, "ok", id);
	assert_true(json_is_false(json_object_get(reply.json, "ok")));
	assert_non_null(strstr(member_text(&reply, "message"), "rank 1 "));
	assert_non_null(strstr(member_text(&reply, "message"), "it has been in a lock"));
	rpc_msg_clear(&reply);
	id = phase_ask(guest, "abort");
	order = process_order(fds[0], &table_fd);
	assert_int_equal(order.kind, CONTROL_ABORT);
	process_report(fds[0], &order, 0, CONTROL_OPEN, "", "");
	close(fds[1]);
	reply = guest_await(guest, "ok", id);
	assert_non_null(strstr(member_text(&reply, "message"), "it has ended"));
	rpc_msg_clear(&reply);
	assert_int_equal(send(fds[0], "nonsense", 8, 0), 8);
	assert_int_equal(recv(fds[0], &byte, 1, 0), 0);
	close(fds[0]);
}

static void test_relay(void **state)
{
	struct guest *guest = *state;
	char rsh[128];
	char socket_setting[160];
	char *const argv[] = {"/usr/bin/env", socket_setting, rsh,     "-x",   "-l", "root",
			      "vm1",          "A=1;",         "orted", "--up", NULL};
	struct rpc_msg relay;
	char id[64];
	int64_t ask_id;
	int status;
	pid_t pid;

	snprintf(rsh, sizeof(rsh), "%s/run/stasis/bin/stasis-rsh", guest->dir);
	snprintf(socket_setting, sizeof(socket_setting),
		 "STASIS_AGENT_SOCKET=%s/run/stasis/agent.sock", guest->dir);
	pid = process_spawn(argv);
	relay = guest_await(guest, "op", 0);
	assert_string_equal(member_text(&relay, "op"), "relay");
	assert_string_equal(member_text(&relay, "vm"), "vm1");
	assert_string_equal(
		json_string_value(json_array_get(json_object_get(relay.json, "argv"), 2)),
		"A=1; orted --up");
	snprintf(id, sizeof(id), "%s", member_text(&relay, "relay"));
	rpc_msg_clear(&relay);
	/* A new session gets it again, and so does the host of a new agent, under the same id.
	 */
	guest_hello(guest);
	relay = guest_await(guest, "op", 0);
	assert_string_equal(member_text(&relay, "relay"), id);
	rpc_msg_clear(&relay);
	agent_kill(guest, SIGKILL);
	agent_start(guest);
	guest_hello(guest);
	relay = guest_await(guest, "op", 0);
	assert_string_equal(member_text(&relay, "relay"), id);
	ask_id = member_int(&relay, "id");
	rpc_msg_clear(&relay);
	guest_send_json(guest,
			json_pack("{s:I,s:b,s:i,s:i}", "id", (json_int_t)ask_id, "ok", 1,
				  "code", 9, "signal", 0),
			"", 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 9);
}

/* Run stasis-rsh as a job and answer its relay with `reply`, taking over the reference. */
static void relay_in_job(struct guest *guest, const char *job, json_t *reply,
			 const char *output, const char *expected_out, int expected_code)
{
	struct rpc_msg relay;

	assert_int_equal(job_begin(guest, job, "stasis-rsh vm2 hostname", false), 0);
	relay = guest_await(guest, "op", 0);
	json_object_set(reply, "id", json_object_get(relay.json, "id"));
	rpc_msg_clear(&relay);
	guest_send_json(guest, reply, output, strlen(output));
	job_expect_end(guest, job, expected_out, expected_code == 255 ? NULL : "",
		       expected_code, 0);
}

static void test_relay_answers(void **state)
{
	struct guest *guest = *state;

	relay_in_job(guest, "r1", json_pack("{s:b,s:i,s:i}", "ok", 1, "code", 0, "signal", 0),
		     "vm2\n", "vm2\n", 0);
	relay_in_job(guest, "r2", json_pack("{s:b,s:i,s:i}", "ok", 1, "code", 0, "signal", 9),
		     "", "", 137);
	relay_in_job(
		guest, "r3",
		json_pack("{s:b,s:i,s:s}", "ok", 0, "errno", ENOENT, "message", "no such VM"),
		"", "", 255);
	assert_int_equal(job_begin(guest, "r4", "stasis-rsh 'no/host' true", false), 0);
	job_expect_end(guest, "r4", "", NULL, 255, 0);
	assert_int_equal(job_begin(guest, "r5", "stasis-rsh", false), 0);
	job_expect_end(guest, "r5", "", NULL, 255, 0);
}

static void test_refusals(void **state)
{
	struct guest *guest = *state;
	static const struct {
		const char *request;
		int rc;
	} cases[] = {
		{"{\"op\":\"format.disk\"}", -ENOSYS},
		{"{\"op\":7}", -EPROTO},
		{"{\"op\":\"job.start\",\"job\":\"../x\",\"argv\":[\"true\"]}", -EINVAL},
		{"{\"op\":\"job.start\",\"job\":\".x\",\"argv\":[\"true\"]}", -EINVAL},
		{"{\"op\":\"job.start\",\"job\":\"\",\"argv\":[\"true\"]}", -EINVAL},
		{"{\"op\":\"job.start\",\"job\":\"x\",\"argv\":[]}", -EINVAL},
		{"{\"op\":\"job.start\",\"job\":\"x\",\"argv\":[\"\"]}", -EINVAL},
		{"{\"op\":\"job.start\",\"job\":\"x\",\"argv\":[\"a\",1]}", -EINVAL},
		{"{\"op\":\"job.start\",\"job\":\"x\",\"argv\":[\"a\"],\"env\":{\"a=b\":\"\"}}",
		 -EINVAL},
		{"{\"op\":\"job.start\",\"job\":\"x\",\"argv\":[\"a\"],\"cwd\":\"tmp\"}",
		 -EINVAL},
		{"{\"op\":\"job.poll\",\"job\":\"none\",\"out\":0,\"err\":0}", -ENOENT},
		{"{\"op\":\"job.poll\",\"job\":\"none\",\"out\":-1,\"err\":0}", -EPROTO},
		{"{\"op\":\"job.poll\",\"job\":\"none\",\"out\":0,\"err\":0,\"max\":65537}",
		 -EPROTO},
		{"{\"op\":\"job.signal\",\"job\":\"none\",\"signal\":15}", -ENOENT},
		{"{\"op\":\"fs.stat\",\"path\":\"relative\"}", -EINVAL},
		{"{\"op\":\"fs.stat\"}", -EPROTO},
		{"{\"op\":\"fs.remove\",\"path\":\"/\"}", -EINVAL},
		{"{\"op\":\"fs.remove\",\"path\":\"/../.\"}", -EINVAL},
		{"{\"op\":\"fs.mkdir\",\"path\":\"/x\",\"mode\":99999}", -EPROTO},
		{"{\"op\":\"clock.set\",\"realtime_ns\":-1,\"entropy\":\"\"}", -EPROTO},
		{"{\"op\":\"clock.set\",\"realtime_ns\":1,\"entropy\":\"abc\"}", -EINVAL},
		{"{\"op\":\"clock.set\",\"realtime_ns\":1,\"entropy\":\"zz\"}", -EINVAL},
		{"{\"op\":\"clock.set\",\"realtime_ns\":1,\"entropy\":\"\"}", -EPERM},
		{"{\"op\":\"power\",\"action\":\"explode\"}", -EINVAL},
		{"{\"op\":\"power\",\"action\":\"off\"}", -EPERM},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(guest_ask_text(guest, cases[i].request), cases[i].rc);
	/* Data where none is taken. */
	assert_int_equal(guest_ask_blob(guest, json_pack("{s:s}", "op", "ping"), "x", 1, NULL),
			 -EMSGSIZE);
}

/* A good configuration with one member replaced; it is refused before anything is touched. */
static int configure_with(struct guest *guest, const char *key, const char *value)
{
	json_t *json =
		json_pack("{s:s,s:s,s:i,s:s,s:s,s:i,s:i,s:s,s:I,s:b,s:[{s:s,s:s,s:i}]}", "op",
			  "configure", "name", "vm0", "index", 0, "mac", "52:54:00:00:00:02",
			  "address", "10.77.0.2", "prefix", 24, "mtu", 1500, "entropy", "00ff",
			  "realtime_ns", (json_int_t)1, "rdma", 0, "peers", "name", "vm0",
			  "address", "10.77.0.2", "slots", 1);

	if (key)
		json_object_set_new(json, key, json_loads(value, JSON_DECODE_ANY, NULL));
	return guest_ask(guest, json, NULL);
}

static void test_configure_is_checked_first(void **state)
{
	struct guest *guest = *state;
	static const char *const bad[][2] = {
		{"name", "\"vm_0\""},
		{"name", "\"\""},
		{"name", "\"a b\""},
		{"mac", "\"52:54:00:00:00\""},
		{"mac", "\"53:54:00:00:00:02\""},
		{"mac", "\"52-54-00-00-00-02\""},
		{"address", "\"10.77.0\""},
		{"prefix", "33"},
		{"mtu", "100"},
		{"index", "-1"},
		{"rdma", "\"yes\""},
		{"peers", "{}"},
		{"peers", "[1]"},
		{"peers", "[{\"name\":\"a\\nb\",\"address\":\"10.0.0.1\",\"slots\":1}]"},
		{"peers", "[{\"name\":\"a\",\"address\":\"10.0.0.1\",\"slots\":0}]"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int rc = configure_with(guest, bad[i][0], bad[i][1]);

		assert_true(rc == -EINVAL || rc == -EPROTO);
	}
	/* A good one reaches the agent's rule that only a guest may be changed. */
	assert_int_equal(configure_with(guest, NULL, NULL), -EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		GUEST_TEST(test_sessions),  GUEST_TEST(test_phases),
		GUEST_TEST(test_processes), GUEST_TEST(test_processes_fail),
		GUEST_TEST(test_relay),     GUEST_TEST(test_relay_answers),
		GUEST_TEST(test_refusals),  GUEST_TEST(test_configure_is_checked_first),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
