/* SPDX-License-Identifier: BSD-3-Clause */
/* QMP client against a scripted server at the other end of a socket pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "vm/qmp/decode.h"
#include "vm/qmp/qmp.h"

#define GREETING \
	"{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7}}, \"capabilities\": []}}\r\n"

/* One step of the server: wait for a line (unless `silent`), then send the text; %d becomes the
 * line's id. */
struct step {
	const char *text;
	bool silent;
};

struct server {
	int fd;
	const struct step *steps; /* ended by a NULL text */
	pthread_t thread;
	char line[4096];  /* the last line read */
	int passed_bytes; /* size of the last file whose descriptor came along, or -1 */
};

static void server_note_fd(struct server *server, struct msghdr *msg)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(msg);
	int fd;

	if (!header || header->cmsg_type != SCM_RIGHTS)
		return;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	server->passed_bytes = (int)lseek(fd, 0, SEEK_END);
	close(fd);
}

static bool server_read_line(struct server *server)
{
	size_t used = 0;

	while (used < sizeof(server->line) - 1) {
		char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
		struct iovec iov = {.iov_base = server->line + used, .iov_len = 1};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control,
				     .msg_controllen = sizeof(control)};

		if (recvmsg(server->fd, &msg, 0) <= 0)
			return false;
		server_note_fd(server, &msg);
		if (server->line[used] == '\n')
			break;
		used++;
	}
	server->line[used] = '\0';
	return true;
}

static void server_send(struct server *server, const char *text)
{
	const char *hole = strstr(text, "%d");
	char whole[8192];
	int id = 0;

	if (hole && strstr(server->line, "\"id\":"))
		id = atoi(strstr(server->line, "\"id\":") + 5);
	if (hole)
		snprintf(whole, sizeof(whole), "%.*s%d%s", (int)(hole - text), text, id,
			 hole + 2);
	else
		snprintf(whole, sizeof(whole), "%s", text);
	for (size_t at = 0, len = strlen(whole); at < len;
	     at += 7) { /* in pieces, as a stream may come */
		size_t piece = len - at < 7 ? len - at : 7;

		if (send(server->fd, whole + at, piece, MSG_NOSIGNAL) < 0)
			return;
	}
}

static void *server_run(void *arg)
{
	struct server *server = arg;

	for (const struct step *step = server->steps; step->text; step++) {
		if (!step->silent && !server_read_line(server))
			break;
		server_send(server, step->text);
	}
	shutdown(server->fd, SHUT_WR);
	while (server_read_line(server))
		;
	return NULL;
}

static int server_start(struct server *server, const struct step *steps)
{
	int ends[2];

	*server = (struct server){.steps = steps, .passed_bytes = -1};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	server->fd = ends[1];
	assert_int_equal(pthread_create(&server->thread, NULL, server_run, server), 0);
	return ends[0];
}

static void server_stop(struct server *server)
{
	pthread_join(server->thread, NULL);
	close(server->fd);
}

#define HELLO                                             \
	{GREETING, true},                                 \
	{                                                 \
		"{\"return\": {}, \"id\": %d}\r\n", false \
	}
#define END                \
	{                  \
		NULL, true \
	}

static struct qmp *client_open(struct server *server, const struct step *steps)
{
	struct qmp *qmp;
	struct err err = ERR_INIT;

	assert_int_equal(
		qmp_open(server_start(server, steps), deadline_in_ms(5000), &qmp, &err), 0);
	return qmp;
}

static bool match_name(const char *name, const json_t *data, void *arg)
{
	(void)data;
	return !strcmp(name, arg);
}

static void test_value_and_events(void **state)
{
	static const struct step steps[] = {
		HELLO,
		{"{\"event\": \"STOP\", \"data\": {}}\r\n{\"return\": {\"status\": \"paused\"}, \"id\": %d}\r\n"
		 "{\"event\": \"RESUME\"}\r\n",
		 false},
		{"{\"event\": \"LATE\", \"data\": {\"n\": 3}}\n", true},
		END,
	};
	struct server server;
	struct qmp *qmp = client_open(&server, steps);
	struct err err = ERR_INIT;
	json_t *value, *event;

	(void)state;
	assert_int_equal(qmp_execute(qmp, "query-status", json_object(), deadline_in_ms(5000),
				     &value, &err),
			 0);
	assert_string_equal(json_string_value(json_object_get(value, "status")), "paused");
	json_decref(value);
	/* the later one first: the other one stays */
	assert_int_equal(
		qmp_wait_event(qmp, match_name, "LATE", deadline_in_ms(5000), &event, &err), 0);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(event, "data"), "n")), 3);
	json_decref(event);
	assert_int_equal(
		qmp_wait_event(qmp, match_name, "STOP", deadline_in_ms(5000), &event, &err), 0);
	json_decref(event);
	qmp_drop_events(qmp);
	assert_int_equal(
		qmp_wait_event(qmp, match_name, "RESUME", deadline_in_ms(5000), &event, &err),
		-ECONNRESET);
	qmp_close(qmp);
	server_stop(&server);
}

/* Two commands under way: each gets its own answer, also when the first is not waited for. */
static void test_send_then_collect(void **state)
{
	static const struct step steps[] = {
		HELLO,
		{"{\"return\": {\"n\": 1}, \"id\": %d}\r\n", false},
		{"{\"event\": \"STOP\"}\r\n{\"return\": {\"n\": 2}, \"id\": %d}\r\n", false},
		{"{\"return\": {\"n\": 3}, \"id\": %d}\r\n", false},
		{"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": %d}\r\n",
		 false},
		END,
	};
	struct server server;
	struct qmp *qmp = client_open(&server, steps);
	int64_t deadline_ns = deadline_in_ms(5000), ids[4];
	struct err err = ERR_INIT;
	json_t *value;

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(
			qmp_send(qmp, "stop", json_object(), deadline_ns, &ids[i], &err), 0);
	assert_int_equal(qmp_collect(qmp, ids[0], "stop", deadline_ns, &value, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(value, "n")), 1);
	json_decref(value);
	assert_int_equal(qmp_collect(qmp, ids[2], "stop", deadline_ns, &value, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(value, "n")), 3);
	json_decref(value);
	assert_int_equal(qmp_collect(qmp, ids[3], "stop", deadline_ns, NULL, &err), -EIO);
	assert_string_equal(err.msg, "QEMU refused stop: no");
	qmp_close(qmp);
	server_stop(&server);
}

static void test_errors_become_sentences(void **state)
{
	static const struct step steps[] = {
		HELLO,
		{"{\"error\": {\"class\": \"GenericError\", \"desc\": \"No space left\"}, \"id\": %d}\n",
		 false},
		{"{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no such\"}, \"id\": %d}\n",
		 false},
		{"{\"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"no disk\"}, \"id\": %d}\n",
		 false},
		{"{\"error\": {}, \"id\": %d}\n", false},
		END,
	};
	static const int codes[] = {-EIO, -ENOSYS, -ENODEV, -EIO};
	static const char *const words[] = {
		"QEMU refused migrate: No space left",
		"QEMU refused migrate: no such",
		"QEMU refused migrate: no disk",
		"QEMU refused migrate: no reason given",
	};
	struct server server;
	struct qmp *qmp = client_open(&server, steps);
	struct err err;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		err = ERR_INIT;
		assert_int_equal(qmp_execute(qmp, "migrate", json_object(),
					     deadline_in_ms(5000), NULL, &err),
				 codes[i]);
		assert_string_equal(err.msg, words[i]);
	}
	qmp_close(qmp);
	server_stop(&server);
}

static void test_arguments_that_are_not_utf8(void **state)
{
	static const struct step steps[] = {HELLO, END};
	struct server server;
	struct qmp *qmp = client_open(&server, steps);
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(qmp_execute(qmp, "blockdev-add",
				     json_pack("{s:s}", "filename", "\xff"),
				     deadline_in_ms(5000), NULL, &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "blockdev-add"));
	qmp_close(qmp);
	server_stop(&server);
}

/* A reply that comes after its deadline is not taken for the next one's. */
static void test_deadline(void **state)
{
	static const struct step steps[] = {
		HELLO,
		{"", false},
		{"{\"return\": \"stale\", \"id\": 2}\n{\"return\": \"fresh\", \"id\": %d}\n",
		 false},
		END,
	};
	struct server server;
	struct qmp *qmp = client_open(&server, steps);
	struct err err = ERR_INIT;
	json_t *value;
	int64_t start_ns = clock_mono_ns();

	(void)state;
	assert_int_equal(
		qmp_execute(qmp, "stop", json_object(), deadline_in_ms(50), NULL, &err),
		-ETIMEDOUT);
	assert_true(clock_mono_ns() - start_ns >= 50 * NS_PER_MS);
	assert_string_equal(err.msg, "QEMU did not answer stop in time");
	assert_int_equal(
		qmp_execute(qmp, "cont", json_object(), deadline_in_ms(5000), &value, &err), 0);
	assert_string_equal(json_string_value(value), "fresh");
	json_decref(value);
	qmp_close(qmp);
	server_stop(&server);
}

/* What QEMU had to say to a client that was killed, its last line cut, comes in front of the
 * greeting. */
static void test_stale_lines_before_the_greeting(void **state)
{
	const struct step steps[] = {{"urn\": {}}\n", true},
				     {"{\"return\": {}, \"id\": 1}\n", true},
				     {GREETING, true},
				     {"{\"return\": {}, \"id\": 1}\n", false},
				     END};
	struct server server;
	struct err err = ERR_INIT;
	struct qmp *qmp;
	int fd = server_start(&server, steps);

	(void)state;
	assert_int_equal(qmp_open(fd, deadline_in_ms(5000), &qmp, &err), 0);
	qmp_close(qmp);
	server_stop(&server);
}

static void test_broken_peers(void **state)
{
	static const struct {
		struct step steps[4];
		int code;
	} cases[] = {
		{{END}, -ECONNRESET},
		{{{"{\"QMP\"", true}, END}, -ECONNRESET},
		{{{"SSH-2.0-OpenSSH\r\n", true}, END}, -ECONNRESET},
		{{{"[1]\n", true}, END}, -ECONNRESET},
		{{{"{\"hello\": 1}\n", true}, END}, -ECONNRESET},
		{{{"{\"QMP\": {}, \"QMP\": {}}\n", true}, END}, -ECONNRESET},
		{{{"\xc3\x28\n", true}, END}, -ECONNRESET},
		{{{GREETING, true}, END}, -ECONNRESET},
		{{{GREETING, true}, {"{\"return\": \n", false}, END}, -EPROTO},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct server server;
		struct err err = ERR_INIT;
		struct qmp *qmp;
		int fd = server_start(&server, cases[i].steps);

		assert_int_equal(qmp_open(fd, deadline_in_ms(5000), &qmp, &err), cases[i].code);
		assert_true(err.msg[0] != '\0');
		server_stop(&server);
	}
}

static void test_pass_fd(void **state)
{
	static const struct step steps[] = {
		HELLO, {"{\"return\": {}, \"id\": %d}\n", false}, END};
	struct server server;
	struct qmp *qmp = client_open(&server, steps);
	struct err err = ERR_INIT;
	int fd = memfd_create("passed", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(ftruncate(fd, 4711), 0);
	assert_int_equal(qmp_pass_fd(qmp, "state", fd, deadline_in_ms(5000), &err), 0);
	close(fd);
	qmp_close(qmp);
	server_stop(&server);
	assert_int_equal(server.passed_bytes, 4711);
}

static void test_event_flood_keeps_the_newest(void **state)
{
	static char flood[8000];
	static struct step steps[] = {HELLO,
				      {flood, false},
				      {flood, true},
				      {flood, true},
				      {"{\"event\": \"LAST\"}\n"
				       "{\"return\": 1, \"id\": 2}\n",
				       true},
				      END};
	struct server server;
	struct qmp *qmp;
	struct err err = ERR_INIT;
	json_t *event;

	(void)state;
	while (strlen(flood) + 20 < sizeof(flood))
		strcat(flood, "{\"event\": \"E\"}\n");
	qmp = client_open(&server, steps);
	assert_int_equal(
		qmp_execute(qmp, "stop", json_object(), deadline_in_ms(5000), NULL, &err), 0);
	assert_int_equal(
		qmp_wait_event(qmp, match_name, "LAST", deadline_in_ms(5000), &event, &err), 0);
	json_decref(event);
	for (int i = 1; i < QMP_EVENTS_MAX; i++) {
		assert_int_equal(qmp_wait_event(qmp, match_name, "E", deadline_in_ms(5000),
						&event, &err),
				 0);
		json_decref(event);
	}
	assert_int_equal(
		qmp_wait_event(qmp, match_name, "E", deadline_in_ms(5000), &event, &err),
		-ECONNRESET);
	qmp_close(qmp);
	server_stop(&server);
}

static void test_decoder_bounds(void **state)
{
	static char block[1 << 20];
	struct qmp_decoder *decoder = qmp_decoder_create();
	struct err err = ERR_INIT;
	json_t *object;

	(void)state;
	memset(block, ' ', sizeof(block));
	for (int i = 0; i < QMP_LINE_MAX / (int)sizeof(block); i++) {
		assert_int_equal(qmp_decoder_feed(decoder, block, sizeof(block), &err), 0);
		assert_int_equal(qmp_decoder_next(decoder, &object, &err), 0);
	}
	assert_int_equal(qmp_decoder_feed(decoder, "{", 1, &err), -EMSGSIZE);
	qmp_decoder_destroy(decoder);
	qmp_decoder_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_value_and_events),
		cmocka_unit_test(test_send_then_collect),
		cmocka_unit_test(test_errors_become_sentences),
		cmocka_unit_test(test_arguments_that_are_not_utf8),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_stale_lines_before_the_greeting),
		cmocka_unit_test(test_broken_peers),
		cmocka_unit_test(test_pass_fd),
		cmocka_unit_test(test_event_flood_keeps_the_newest),
		cmocka_unit_test(test_decoder_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
