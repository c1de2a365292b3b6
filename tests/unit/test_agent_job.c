/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the agent's jobs: output, input, signals, ends, and an agent that dies meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_guest.h"
#include "base/clock.h"

static void test_job_lifecycle(void **state)
{
	struct guest *guest = *state;
	char expected[256];

	assert_int_equal(
		job_begin(guest, "one", "echo $COLOUR; pwd; echo oops >&2; exit 7", false), 0);
	snprintf(expected, sizeof(expected), "green\n%s\n", guest->dir);
	job_expect_end(guest, "one", expected, "oops\n", 7, 0);
	assert_int_equal(guest_ask(guest,
				   json_pack("{s:s,s:s,s:[s]}", "op", "job.start", "job",
					     "lost", "argv", "no-such-command"),
				   NULL),
			 0);
	job_expect_end(guest, "lost", "", NULL, 127, 0);
	assert_int_equal(job_begin(guest, "env",
				   "command -v stasis-rsh >/dev/null; echo $? $HOME", false),
			 0);
	job_expect_end(guest, "env", "0 /root\n", "", 0, 0);
}

static void test_long_poll(void **state)
{
	struct guest *guest = *state;
	struct rpc_msg msg;
	int64_t begin_ns;
	int64_t polled;

	assert_int_equal(job_begin(guest, "slow", "sleep 0.5; echo done; sleep 60", false), 0);
	begin_ns = clock_mono_ns();
	polled = guest_request(guest, job_poll_request("slow", 0, 0, 10000), NULL, 0);
	/* Others are answered meanwhile. */
	assert_int_equal(guest_ask_text(guest, "{\"op\":\"ping\"}"), 0);
	assert_true(clock_mono_ns() - begin_ns < 400 * NS_PER_MS);
	msg = guest_await(guest, "ok", polled);
	assert_int_equal(member_int(&msg, "out_bytes"), 5);
	assert_memory_equal(msg.blob, "done\n", 5);
	assert_true(clock_mono_ns() - begin_ns > 300 * NS_PER_MS);
	rpc_msg_clear(&msg);
	/* With nothing new it is answered at its deadline. */
	begin_ns = clock_mono_ns();
	assert_int_equal(guest_ask(guest, job_poll_request("slow", 5, 0, 100), &msg), 0);
	assert_true(clock_mono_ns() - begin_ns >= 100 * NS_PER_MS);
	assert_int_equal(msg.blob_len, 0);
	assert_string_equal(member_text(&msg, "state"), "running");
	rpc_msg_clear(&msg);
	/* A hello drops what waits. */
	polled = guest_request(guest, job_poll_request("slow", 5, 0, 100), NULL, 0);
	guest_hello(guest);
	usleep(200000);
	assert_int_equal(guest_ask_text(guest, "{\"op\":\"ping\"}"), 0);
	assert_int_equal(guest->kept_count, 0);
	/* A removed job ends the wait. */
	polled = guest_request(guest, job_poll_request("slow", 5, 0, 30000), NULL, 0);
	assert_int_equal(guest_ask_text(guest, "{\"op\":\"job.remove\",\"job\":\"slow\"}"), 0);
	msg = guest_await(guest, "ok", polled);
	rpc_msg_clear(&msg);
}

static int64_t feed(struct guest *guest, const char *job, int64_t offset, const char *bytes,
		    size_t len, bool eof)
{
	struct rpc_msg msg;
	int64_t accepted;
	int rc;

	rc = guest_ask_blob(guest,
			    json_pack("{s:s,s:s,s:I,s:b}", "op", "job.stdin", "job", job,
				      "offset", (json_int_t)offset, "eof", eof),
			    bytes, len, &msg);
	accepted = rc < 0 ? rc : member_int(&msg, "accepted");
	rpc_msg_clear(&msg);
	return accepted;
}

static void test_stdin(void **state)
{
	struct guest *guest = *state;
	size_t size = 3 << 20;
	char *data = malloc(size);
	int64_t offset = 0;
	struct job_end end;

	for (size_t i = 0; i < size; i++)
		data[i] = (char)(i * 2654435761U >> 13);
	assert_int_equal(job_begin(guest, "cat", "cat", true), 0);
	assert_int_equal(feed(guest, "cat", 10, data, 1, false), -ERANGE);
	while (offset < (int64_t)size) {
		int64_t left = (int64_t)size - offset;
		size_t len = left < RPC_AGENT_BLOB_MAX ? (size_t)left : RPC_AGENT_BLOB_MAX;

		offset = feed(guest, "cat", offset, data + offset, len, len == (size_t)left);
		assert_true(offset >= 0);
		/* Said again, it is taken once. */
		if (offset > 100 && offset < (int64_t)size)
			assert_true(feed(guest, "cat", offset - 100, data + offset - 100, 100,
					 false) == offset);
	}
	end = job_run_out(guest, "cat", false);
	assert_int_equal(end.out_len, size);
	assert_memory_equal(end.out, data, size);
	assert_int_equal(end.code, 0);
	assert_true(feed(guest, "cat", offset, data, 1, false) == -EPIPE);
	/* A command that takes nothing holds the host back. */
	assert_int_equal(job_begin(guest, "deaf", "sleep 60", true), 0);
	offset = 0;
	for (int i = 0; i < 40; i++)
		offset = feed(guest, "deaf", offset, data, RPC_AGENT_BLOB_MAX, false);
	assert_true(offset >= 1 << 20 && offset < 2 << 20);
	assert_int_equal(guest_ask_text(guest, "{\"op\":\"job.remove\",\"job\":\"deaf\"}"), 0);
	assert_int_equal(job_begin(guest, "none", "true", false), 0);
	assert_true(feed(guest, "none", 0, "x", 1, false) < 0);
	free(end.out);
	free(end.err);
	free(data);
}

static void test_signal(void **state)
{
	struct guest *guest = *state;
	const char *signal_it = "{\"op\":\"job.signal\",\"job\":\"sleep\",\"signal\":15}";

	assert_int_equal(job_begin(guest, "sleep", "sleep 61 & sleep 60; wait", false), 0);
	assert_int_equal(guest_ask_text(guest, signal_it), 0);
	job_expect_end(guest, "sleep", "", "", 128 + SIGTERM, SIGTERM);
	assert_int_equal(guest_ask_text(guest, signal_it), -ESRCH);
	assert_int_equal(
		guest_ask_text(guest,
			       "{\"op\":\"job.signal\",\"job\":\"sleep\",\"signal\":99}"),
		-EPROTO);
}

static void test_start_is_idempotent(void **state)
{
	struct guest *guest = *state;

	for (int i = 0; i < 3; i++)
		assert_int_equal(
			job_begin(guest, "once", "echo run >> count; cat count; exit 3", false),
			0);
	job_expect_end(guest, "once", "run\n", "", 3, 0);
	assert_int_equal(job_begin(guest, "once", "echo run >> count; cat count", false), 0);
	job_expect_end(guest, "once", "run\n", "", 3, 0);
}

static void test_jobs_outlive_the_agent(void **state)
{
	struct guest *guest = *state;
	struct job_end end;

	assert_int_equal(
		job_begin(
			guest, "long",
			"echo begin; for i in 1 2 3 4 5; do sleep 0.1; echo $i; done; exit 42",
			false),
		0);
	end = job_run_out(guest, "long", true);
	assert_string_equal(end.out, "begin\n1\n2\n3\n4\n5\n");
	assert_int_equal(end.code, 42);
	free(end.out);
	free(end.err);
	/* Ended while there was no agent. */
	assert_int_equal(job_begin(guest, "unseen", "sleep 0.1; echo gone; exit 5", false), 0);
	agent_kill(guest, SIGKILL);
	usleep(300000);
	agent_start(guest);
	guest_hello(guest);
	job_expect_end(guest, "unseen", "gone\n", "", 5, 0);
}

/* The process that keeps the job: the parent of its command. */
static pid_t keeper_of(const struct guest *guest, const char *job)
{
	char path[256];
	FILE *file;
	int pid = 0;
	int parent = 0;

	snprintf(path, sizeof(path), "%s/var/lib/stasis/jobs/%s/pid", guest->dir, job);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%d", &pid), 1);
	fclose(file);
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%*d (%*[^)]) %*c %d", &parent), 1);
	fclose(file);
	return parent;
}

static void test_lost_job(void **state)
{
	struct guest *guest = *state;
	struct rpc_msg msg;
	int64_t polled;

	assert_int_equal(job_begin(guest, "orphan", "sleep 1", false), 0);
	polled = guest_request(guest, job_poll_request("orphan", 0, 0, 10000), NULL, 0);
	usleep(50000);
	kill(keeper_of(guest, "orphan"), SIGKILL);
	msg = guest_await(guest, "ok", polled);
	assert_string_equal(member_text(&msg, "state"), "exited");
	assert_int_equal(member_int(&msg, "code"), 255);
	assert_true(strlen(member_text(&msg, "message")) > 0);
	rpc_msg_clear(&msg);
}

static void test_ten_megabytes_of_output(void **state)
{
	struct guest *guest = *state;
	struct job_end end;

	assert_int_equal(job_begin(guest, "big", "seq -f %09.0f 1 1048576", false), 0);
	end = job_run_out(guest, "big", true);
	assert_int_equal(end.out_len, 10 << 20);
	for (int i = 0; i < 1 << 20; i++) {
		char line[16];

		snprintf(line, sizeof(line), "%09d\n", i + 1);
		assert_memory_equal(end.out + 10 * i, line, 10);
	}
	free(end.out);
	free(end.err);
}

static size_t entries_in(const struct guest *guest, const char *dir)
{
	char path[256];
	const struct dirent *entry;
	size_t count = 0;
	DIR *stream;

	snprintf(path, sizeof(path), "%s/%s", guest->dir, dir);
	stream = opendir(path);
	assert_non_null(stream);
	while ((entry = readdir(stream)))
		count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(stream);
	return count;
}

static void test_list_and_remove(void **state)
{
	struct guest *guest = *state;
	struct rpc_msg msg;
	json_t *first;

	assert_int_equal(job_begin(guest, "b", "sleep 60", false), 0);
	assert_int_equal(job_begin(guest, "a", "exit 1", false), 0);
	job_expect_end(guest, "a", "", "", 1, 0);
	assert_int_equal(guest_ask(guest, json_pack("{s:s}", "op", "job.list"), &msg), 0);
	assert_int_equal(json_array_size(json_object_get(msg.json, "jobs")), 2);
	first = json_array_get(json_object_get(msg.json, "jobs"), 0);
	assert_string_equal(json_string_value(json_object_get(first, "job")), "a");
	assert_int_equal(json_integer_value(json_object_get(first, "code")), 1);
	assert_int_equal(json_array_size(json_object_get(first, "argv")), 3);
	rpc_msg_clear(&msg);
	assert_int_equal(guest_ask_text(guest, "{\"op\":\"job.remove\",\"job\":\"a\"}"), 0);
	assert_int_equal(guest_ask_text(guest, "{\"op\":\"job.remove\",\"job\":\"b\"}"), 0);
	assert_int_equal(guest_ask_text(guest, "{\"op\":\"job.remove\",\"job\":\"b\"}"), 0);
	assert_int_equal(guest_ask(guest, job_poll_request("b", 0, 0, 0), NULL), -ENOENT);
	for (int i = 0; i < 100 && entries_in(guest, "var/lib/stasis/jobs") > 0; i++)
		usleep(20000);
	assert_int_equal(entries_in(guest, "var/lib/stasis/jobs"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		GUEST_TEST(test_job_lifecycle),
		GUEST_TEST(test_long_poll),
		GUEST_TEST(test_stdin),
		GUEST_TEST(test_signal),
		GUEST_TEST(test_start_is_idempotent),
		GUEST_TEST(test_jobs_outlive_the_agent),
		GUEST_TEST(test_lost_job),
		GUEST_TEST(test_ten_megabytes_of_output),
		GUEST_TEST(test_list_and_remove),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
