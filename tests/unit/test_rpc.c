/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of frames: round trips, damage, streams cut anywhere, limits, members, calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rpc.h"

struct bytes {
	char *data;
	size_t len;
};

static struct bytes frame_max(const char *json_text, const void *blob, size_t blob_len,
			      size_t max)
{
	json_t *json = json_loads(json_text, 0, NULL);
	struct bytes bytes = {0};

	assert_non_null(json);
	assert_int_equal(rpc_encode(json, blob, blob_len, max, &bytes.data, &bytes.len, NULL),
			 0);
	json_decref(json);
	return bytes;
}

static struct bytes frame(const char *json_text, const void *blob, size_t blob_len)
{
	return frame_max(json_text, blob, blob_len, RPC_AGENT_FRAME_MAX);
}

static const char *op_of(const struct rpc_msg *msg)
{
	return json_string_value(json_object_get(msg->json, "op"));
}

static void test_round_trip(void **state)
{
	const char blob[] = "bytes \0 and more";
	struct bytes one =
		frame("{\"id\":7,\"op\":\"a\",\"list\":[1,{\"x\":null}]}", blob, sizeof(blob));
	struct bytes two = frame("{\"op\":\"b\"}", NULL, 0);
	struct rpc_decoder *decoder = rpc_decoder_create(RPC_AGENT_FRAME_MAX, false);
	struct rpc_msg msg = {0};
	struct rpc_msg none = {0};

	(void)state;
	/* Byte by byte, two frames in a row. */
	for (size_t i = 0; i < one.len; i++) {
		assert_int_equal(rpc_decoder_next(decoder, &none, NULL), 0);
		assert_int_equal(rpc_decoder_feed(decoder, one.data + i, 1, NULL), 0);
	}
	assert_int_equal(rpc_decoder_feed(decoder, two.data, two.len, NULL), 0);
	assert_int_equal(rpc_decoder_next(decoder, &msg, NULL), 1);
	assert_string_equal(op_of(&msg), "a");
	assert_int_equal(msg.blob_len, sizeof(blob));
	assert_memory_equal(msg.blob, blob, sizeof(blob));
	rpc_msg_clear(&msg);
	assert_int_equal(rpc_decoder_next(decoder, &msg, NULL), 1);
	assert_string_equal(op_of(&msg), "b");
	assert_null(msg.blob);
	rpc_msg_clear(&msg);
	assert_int_equal(rpc_decoder_next(decoder, &msg, NULL), 0);
	rpc_decoder_destroy(decoder);
	rpc_decoder_destroy(NULL);
	free(one.data);
	free(two.data);
}

static void test_every_flipped_bit_is_detected(void **state)
{
	struct bytes good = frame("{\"id\":1,\"op\":\"ping\"}", "0123456789", 10);

	(void)state;
	for (size_t bit = 0; bit < good.len * 8; bit++) {
		struct rpc_decoder *decoder = rpc_decoder_create(RPC_AGENT_FRAME_MAX, false);
		struct rpc_msg msg = {0};
		struct err err = ERR_INIT;

		good.data[bit / 8] = (char)(good.data[bit / 8] ^ (1 << bit % 8));
		assert_int_equal(rpc_decoder_feed(decoder, good.data, good.len, NULL), 0);
		assert_int_equal(rpc_decoder_next(decoder, &msg, &err), -EPROTO);
		assert_true(strlen(err.msg) > 0);
		/* and for good */
		assert_int_equal(rpc_decoder_next(decoder, &msg, &err), -EPROTO);
		good.data[bit / 8] = (char)(good.data[bit / 8] ^ (1 << bit % 8));
		rpc_decoder_destroy(decoder);
	}
	free(good.data);
}

/* Feed a session's beginning behind `prefix`, then a ping: the hello and the ping must come,
 * nothing else. */
static void expect_resync(struct rpc_decoder *decoder, const struct bytes *prefix,
			  bool preamble)
{
	static const char zeros[RPC_AGENT_FRAME_MAX];
	struct bytes hello = frame("{\"id\":1,\"op\":\"hello\"}", NULL, 0);
	struct bytes ping = frame("{\"id\":2,\"op\":\"ping\"}", "x", 1);
	struct rpc_msg msg = {0};

	assert_int_equal(rpc_decoder_feed(decoder, prefix->data, prefix->len, NULL), 0);
	if (preamble)
		assert_int_equal(rpc_decoder_feed(decoder, zeros, sizeof(zeros), NULL), 0);
	assert_int_equal(rpc_decoder_feed(decoder, hello.data, hello.len, NULL), 0);
	assert_int_equal(rpc_decoder_feed(decoder, ping.data, ping.len, NULL), 0);
	assert_int_equal(rpc_decoder_next(decoder, &msg, NULL), 1);
	assert_string_equal(op_of(&msg), "hello");
	rpc_msg_clear(&msg);
	assert_int_equal(rpc_decoder_next(decoder, &msg, NULL), 1);
	assert_string_equal(op_of(&msg), "ping");
	rpc_msg_clear(&msg);
	assert_int_equal(rpc_decoder_next(decoder, &msg, NULL), 0);
	free(hello.data);
	free(ping.data);
}

/* Bring a resynchronizing decoder in step. */
static struct rpc_decoder *decoder_in_step(void)
{
	struct rpc_decoder *decoder = rpc_decoder_create(RPC_AGENT_FRAME_MAX, true);

	expect_resync(decoder, &(struct bytes){"", 0}, false);
	return decoder;
}

static void test_resync_after_a_cut_at_every_byte(void **state)
{
	struct bytes whole =
		frame("{\"id\":3,\"op\":\"fs.write\",\"path\":\"/x\"}", "some content", 12);

	(void)state;
	/* The head of a frame is left, in step and on the hunt; a whole frame is no damage and
	 * delivered in step. */
	for (size_t cut = 0; cut < whole.len; cut++) {
		struct rpc_decoder *decoder = decoder_in_step();

		expect_resync(decoder, &(struct bytes){whole.data, cut}, true);
		rpc_decoder_destroy(decoder);
		decoder = rpc_decoder_create(RPC_AGENT_FRAME_MAX, true);
		expect_resync(decoder, &(struct bytes){whole.data, cut}, true);
		rpc_decoder_destroy(decoder);
	}
	/* The tail of a frame is left: without a preamble on the hunt, with one in step. */
	for (size_t cut = 1; cut < whole.len; cut++) {
		struct bytes tail = {whole.data + cut, whole.len - cut};
		struct rpc_decoder *decoder = rpc_decoder_create(RPC_AGENT_FRAME_MAX, true);

		expect_resync(decoder, &tail, false);
		rpc_decoder_destroy(decoder);
		decoder = decoder_in_step();
		expect_resync(decoder, &tail, true);
		rpc_decoder_hunt(decoder);
		expect_resync(decoder, &tail, true);
		rpc_decoder_destroy(decoder);
	}
	free(whole.data);
}

static void test_largest_half_frame_is_filled_by_the_preamble(void **state)
{
	char *blob = calloc(1, RPC_AGENT_FRAME_MAX);
	struct bytes whole =
		frame("{\"op\":\"fs.write\"}", blob, RPC_AGENT_FRAME_MAX - 32 - 17);
	struct rpc_decoder *decoder = decoder_in_step();

	(void)state;
	assert_int_equal(whole.len, RPC_AGENT_FRAME_MAX);
	/* All but the head is zero, so only the lost last byte of the magic's frame could
	 * confuse: cut in the JSON. */
	expect_resync(decoder, &(struct bytes){whole.data, 40}, true);
	rpc_decoder_destroy(decoder);
	free(whole.data);
	free(blob);
}

static void test_frames_quoted_in_blobs(void **state)
{
	struct bytes hello = frame("{\"id\":9,\"op\":\"hello\"}", NULL, 0);
	struct bytes quoting = frame("{\"id\":3,\"op\":\"fs.write\"}", hello.data, hello.len);
	struct rpc_decoder *decoder = decoder_in_step();
	struct rpc_msg msg = {0};

	(void)state;
	/* In step, it is one message. */
	assert_int_equal(rpc_decoder_feed(decoder, quoting.data, quoting.len, NULL), 0);
	assert_int_equal(rpc_decoder_next(decoder, &msg, NULL), 1);
	assert_string_equal(op_of(&msg), "fs.write");
	assert_int_equal(msg.blob_len, hello.len);
	rpc_msg_clear(&msg);
	assert_int_equal(rpc_decoder_next(decoder, &msg, NULL), 0);
	/* On the hunt, the whole frame is skipped with its quotation. */
	rpc_decoder_hunt(decoder);
	expect_resync(decoder, &quoting, false);
	rpc_decoder_destroy(decoder);
	free(hello.data);
	free(quoting.data);
}

static void test_damage_in_step_goes_on_the_hunt(void **state)
{
	struct bytes bad = frame("{\"id\":3,\"op\":\"ping\"}", "y", 1);
	struct rpc_decoder *decoder = decoder_in_step();

	(void)state;
	bad.data[bad.len - 1] = 'z';
	expect_resync(decoder, &bad, false);
	rpc_decoder_destroy(decoder);
	free(bad.data);
}

static void test_sizes(void **state)
{
	char *blob = calloc(1, RPC_AGENT_FRAME_MAX);
	json_t *json = json_loads("{\"a\":1}", 0, NULL);
	size_t most = RPC_AGENT_FRAME_MAX - 32 - strlen("{\"a\":1}");
	struct bytes big;
	struct rpc_decoder *decoder = rpc_decoder_create(1024, false);
	struct err err = ERR_INIT;
	struct rpc_msg msg = {0};
	char *bytes;
	size_t len;

	(void)state;
	assert_int_equal(
		rpc_encode(json, blob, most + 1, RPC_AGENT_FRAME_MAX, &bytes, &len, &err),
		-EMSGSIZE);
	assert_int_equal(
		rpc_encode(json, blob, SIZE_MAX, RPC_AGENT_FRAME_MAX, &bytes, &len, &err),
		-EMSGSIZE);
	assert_int_equal(rpc_encode(NULL, NULL, 0, RPC_AGENT_FRAME_MAX, &bytes, &len, &err),
			 -EINVAL);
	big = frame("{\"a\":1}", blob, most);
	assert_int_equal(big.len, RPC_AGENT_FRAME_MAX);
	/* A decoder with a lower limit refuses by the header alone. */
	assert_int_equal(rpc_decoder_feed(decoder, big.data, 32, NULL), 0);
	assert_int_equal(rpc_decoder_next(decoder, &msg, &err), -EPROTO);
	rpc_decoder_destroy(decoder);
	decoder = rpc_decoder_create(RPC_AGENT_FRAME_MAX, false);
	assert_int_equal(rpc_decoder_feed(decoder, big.data, big.len, NULL), 0);
	assert_int_equal(rpc_decoder_next(decoder, &msg, &err), 1);
	assert_int_equal(msg.blob_len, most);
	rpc_msg_clear(&msg);
	rpc_decoder_destroy(decoder);
	json_decref(json);
	free(big.data);
	free(blob);
}

/* What a strict decoder says to a frame that holds a JSON value `depth` arrays deep, or
 * `values` numbers. */
static int decode_nested(size_t depth, size_t values)
{
	json_t *json = json_object();
	json_t *at = json_array();
	struct rpc_decoder *decoder = rpc_decoder_create(RPC_FRAME_MAX, false);
	struct rpc_msg msg = {0};
	char *bytes = NULL;
	size_t len = 0;
	int rc;

	json_object_set_new(json, "a", at);
	for (size_t i = 2; i < depth; i++) {
		json_t *inner = json_array();

		json_array_append_new(at, inner);
		at = inner;
	}
	for (size_t i = 0; i < values; i++)
		json_array_append_new(at, json_integer(0));
	assert_int_equal(rpc_encode(json, NULL, 0, RPC_FRAME_MAX, &bytes, &len, NULL), 0);
	assert_int_equal(rpc_decoder_feed(decoder, bytes, len, NULL), 0);
	rc = rpc_decoder_next(decoder, &msg, NULL);
	rpc_msg_clear(&msg);
	rpc_decoder_destroy(decoder);
	json_decref(json);
	free(bytes);
	return rc;
}

static void test_nesting(void **state)
{
	(void)state;
	assert_int_equal(decode_nested(32, 1), 1);
	assert_int_equal(decode_nested(33, 1), -EPROTO);
	assert_int_equal(decode_nested(2, 200000), 1);
	assert_int_equal(decode_nested(2, 300000), -EPROTO);
}

static void test_members(void **state)
{
	json_t *json = json_loads("{\"s\":\"text\",\"n\":5,\"b\":true,\"x\":null}", 0, NULL);
	struct err err = ERR_INIT;
	const char *text = "unset";
	int64_t number = -1;
	bool flag = false;

	(void)state;
	assert_int_equal(rpc_get_str(json, "s", &text, &err), 0);
	assert_string_equal(text, "text");
	assert_int_equal(rpc_get_str(json, "n", &text, &err), -EPROTO);
	assert_int_equal(rpc_get_str(json, "gone", &text, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "\"gone\""));
	assert_int_equal(rpc_opt_str(json, "gone", &text, &err), 0);
	assert_int_equal(rpc_opt_str(json, "x", &text, &err), -EPROTO);
	assert_int_equal(rpc_get_int(json, "n", 0, 5, &number, &err), 0);
	assert_int_equal(number, 5);
	assert_int_equal(rpc_get_int(json, "n", 6, 9, &number, &err), -EPROTO);
	assert_int_equal(rpc_get_int(json, "s", 0, 9, &number, &err), -EPROTO);
	assert_int_equal(rpc_get_int(json, "gone", 0, 9, &number, &err), -EPROTO);
	assert_int_equal(rpc_opt_int(json, "gone", 0, 9, &number, &err), 0);
	assert_int_equal(number, 5);
	assert_int_equal(rpc_opt_bool(json, "b", &flag, &err), 0);
	assert_true(flag);
	assert_int_equal(rpc_opt_bool(json, "n", &flag, &err), -EPROTO);
	assert_int_equal(rpc_opt_bool(json, "gone", &flag, &err), 0);
	json_decref(json);
}

static int check_text(const char *text, struct err *err)
{
	json_t *reply = json_loads(text, 0, NULL);
	int rc = rpc_reply_check(reply, err);

	json_decref(reply);
	return rc;
}

static void test_replies(void **state)
{
	json_t *request = json_loads("{\"id\":42,\"op\":\"x\"}", 0, NULL);
	json_t *reply = rpc_reply_ok(request);
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(json_integer_value(json_object_get(reply, "id")), 42);
	assert_int_equal(rpc_reply_check(reply, &err), 0);
	json_decref(reply);
	err_set(&err, ENOSPC, "the disk is full: \xff\x1b[1m");
	reply = rpc_reply_error(request, &err);
	assert_int_equal(rpc_reply_check(reply, &err), -ENOSPC);
	assert_string_equal(err.msg, "the disk is full: ??[1m");
	json_decref(reply);
	json_decref(request);
	assert_int_equal(check_text("{\"id\":1}", &err), -EPROTO);
	assert_int_equal(check_text("{\"ok\":1}", &err), -EPROTO);
	assert_int_equal(check_text("{\"ok\":false,\"message\":\"m\"}", &err), -EPROTO);
	assert_int_equal(check_text("{\"ok\":false,\"errno\":0,\"message\":\"m\"}", &err),
			 -EPROTO);
	assert_int_equal(check_text("{\"ok\":false,\"errno\":5}", &err), -EPROTO);
}

/* A listening socket in a directory of its own, and a client connected to it. */
struct link {
	char dir[64];
	char path[96];
	int listener;
	int peer;
	struct rpc_conn *conn;
};

static void link_open(struct link *link)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	strcpy(link->dir, "/tmp/stasis-test-rpc-XXXXXX");
	assert_non_null(mkdtemp(link->dir));
	snprintf(link->path, sizeof(link->path), "%s/s", link->dir);
	memcpy(addr.sun_path, link->path, strlen(link->path) + 1);
	link->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(link->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(link->listener, 1), 0);
	assert_int_equal(rpc_connect_unix(link->path, RPC_FRAME_MAX, &link->conn, NULL), 0);
	link->peer = accept(link->listener, NULL, NULL);
	assert_true(link->peer >= 0 && rpc_conn_fd(link->conn) >= 0);
}

static void link_close(struct link *link)
{
	rpc_conn_close(link->conn);
	close(link->peer);
	close(link->listener);
	unlink(link->path);
	rmdir(link->dir);
}

static void peer_say(const struct link *link, const char *json_text)
{
	struct bytes bytes = frame(json_text, NULL, 0);

	assert_int_equal(write(link->peer, bytes.data, bytes.len), bytes.len);
	free(bytes.data);
}

static void count_event(const struct rpc_msg *event, void *arg)
{
	assert_string_equal(json_string_value(json_object_get(event->json, "event")),
			    "progress");
	++*(int *)arg;
}

static void test_calls(void **state)
{
	json_t *request = json_loads("{\"op\":\"x\"}", 0, NULL);
	struct link link;
	struct rpc_msg reply = {0};
	struct err err = ERR_INIT;
	int events = 0;

	(void)state;
	link_open(&link);
	/* What is in the socket before the call is what a quick peer says; another call's late
	 * reply is ignored. */
	peer_say(&link, "{\"id\":77,\"ok\":true}");
	peer_say(&link, "{\"id\":1,\"event\":\"progress\"}");
	peer_say(&link, "{\"id\":1,\"event\":\"progress\"}");
	peer_say(&link, "{\"id\":1,\"ok\":true,\"value\":3}");
	assert_int_equal(rpc_call(link.conn, request, "b", 1, deadline_in_ms(5000), count_event,
				  &events, &reply, &err),
			 0);
	assert_int_equal(events, 2);
	assert_int_equal(json_integer_value(json_object_get(reply.json, "value")), 3);
	rpc_msg_clear(&reply);
	peer_say(&link, "{\"id\":2,\"ok\":false,\"errno\":2,\"message\":\"no such thing\"}");
	assert_int_equal(rpc_call(link.conn, request, NULL, 0, deadline_in_ms(5000), NULL, NULL,
				  &reply, &err),
			 -ENOENT);
	assert_string_equal(err.msg, "no such thing");
	assert_int_equal(rpc_call(link.conn, request, NULL, 0, deadline_in_ms(20), NULL, NULL,
				  &reply, &err),
			 -ETIMEDOUT);
	shutdown(link.peer, SHUT_RDWR);
	assert_int_equal(rpc_conn_recv(link.conn, INT64_MAX, &reply, &err), -ECONNRESET);
	assert_int_equal(rpc_conn_send(link.conn, request, NULL, 0, &err), -ECONNRESET);
	link_close(&link);
	assert_int_equal(rpc_connect_unix(link.path, RPC_FRAME_MAX, &link.conn, &err), -ENOENT);
	json_decref(request);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_every_flipped_bit_is_detected),
		cmocka_unit_test(test_resync_after_a_cut_at_every_byte),
		cmocka_unit_test(test_largest_half_frame_is_filled_by_the_preamble),
		cmocka_unit_test(test_frames_quoted_in_blobs),
		cmocka_unit_test(test_damage_in_step_goes_on_the_hunt),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
