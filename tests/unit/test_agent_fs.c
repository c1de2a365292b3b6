/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the agent's operations on files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent_guest.h"
#include "base/io.h"

/* A path in the test's directory; the buffer is static and good until the next call but three.
 */
static const char *in_dir(const struct guest *guest, const char *name)
{
	static char paths[4][512];
	static int turn;

	turn = (turn + 1) % 4;
	snprintf(paths[turn], sizeof(paths[turn]), "%s/%s", guest->dir, name);
	return paths[turn];
}

static int write_part(struct guest *guest, const char *path, int64_t offset, const char *bytes,
		      size_t len, bool last)
{
	return guest_ask_blob(guest,
			      json_pack("{s:s,s:s,s:I,s:i,s:b}", "op", "fs.write", "path", path,
					"offset", (json_int_t)offset, "mode", 0640, "last",
					last),
			      bytes, len, NULL);
}

static int read_part(struct guest *guest, const char *path, int64_t offset,
		     struct rpc_msg *ret_msg)
{
	return guest_ask(guest,
			 json_pack("{s:s,s:s,s:I,s:i}", "op", "fs.read", "path", path, "offset",
				   (json_int_t)offset, "max", RPC_AGENT_BLOB_MAX),
			 ret_msg);
}

static int on_path(struct guest *guest, const char *op, const char *path)
{
	return guest_ask(
		guest, json_pack("{s:s,s:s,s:i}", "op", op, "path", path, "mode", 0750), NULL);
}

static void test_large_file(void **state)
{
	struct guest *guest = *state;
	const char *path = in_dir(guest, "five");
	size_t size = (5 << 20) + 17;
	char *data = malloc(size);
	struct rpc_msg msg;
	struct stat st;
	size_t len;

	for (size_t i = 0; i < size; i++)
		data[i] = (char)(i * 2654435761U >> 15);
	for (size_t at = 0; at < size; at += len) {
		len = size - at < RPC_AGENT_BLOB_MAX ? size - at : RPC_AGENT_BLOB_MAX;
		assert_int_equal(stat(path, &st), -1);
		assert_int_equal(
			write_part(guest, path, (int64_t)at, data + at, len, at + len == size),
			0);
	}
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_size, size);
	for (size_t at = 0; at < size; at += len) {
		assert_int_equal(read_part(guest, path, (int64_t)at, &msg), 0);
		assert_int_equal(member_int(&msg, "size"), size);
		len = msg.blob_len;
		assert_true(len > 0 && at + len <= size);
		assert_memory_equal(msg.blob, data + at, len);
		rpc_msg_clear(&msg);
	}
	assert_int_equal(read_part(guest, path, (int64_t)size, &msg), 0);
	assert_int_equal(msg.blob_len, 0);
	rpc_msg_clear(&msg);
	free(data);
}

static void test_write_is_whole_or_nothing(void **state)
{
	struct guest *guest = *state;
	const char *path = in_dir(guest, "file");
	char *content = NULL;
	size_t len = 0;

	assert_int_equal(write_part(guest, path, 0, "old", 3, true), 0);
	/* Half a new file leaves the old one; beginning anew forgets the half. */
	assert_int_equal(write_part(guest, path, 0, "long new content", 16, false), 0);
	assert_int_equal(io_read_file(path, 100, &content, &len, NULL), 0);
	assert_string_equal(content, "old");
	free(content);
	/* Another agent goes on where this one was killed. */
	agent_kill(guest, SIGKILL);
	agent_start(guest);
	guest_hello(guest);
	assert_int_equal(write_part(guest, path, 8, "!", 1, true), 0);
	assert_int_equal(io_read_file(path, 100, &content, &len, NULL), 0);
	assert_string_equal(content, "long new!");
	free(content);
	assert_int_equal(write_part(guest, path, 5, "x", 1, true), -ESTALE);
	assert_int_equal(write_part(guest, in_dir(guest, ""), 0, "x", 1, true), -EISDIR);
	assert_int_equal(write_part(guest, in_dir(guest, "no/such"), 0, "x", 1, true), -ENOENT);
	assert_int_equal(write_part(guest, path, 0, "", 0, true), 0);
}

static void test_directories_and_links(void **state)
{
	struct guest *guest = *state;
	const char *deep = in_dir(guest, "a/b/c");
	const char *link = in_dir(guest, "a/link");
	struct rpc_msg msg;

	assert_int_equal(on_path(guest, "fs.mkdir", deep), 0);
	assert_int_equal(on_path(guest, "fs.mkdir", deep), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			guest_ask(guest,
				  json_pack("{s:s,s:s,s:s}", "op", "fs.symlink", "path", link,
					    "target", i ? "b" : "elsewhere"),
				  NULL),
			0);
	assert_int_equal(
		guest_ask(guest, json_pack("{s:s,s:s}", "op", "fs.stat", "path", link), &msg),
		0);
	assert_string_equal(member_text(&msg, "kind"), "link");
	assert_string_equal(member_text(&msg, "target"), "b");
	rpc_msg_clear(&msg);
	assert_int_equal(guest_ask(guest,
				   json_pack("{s:s,s:s,s:s}", "op", "fs.symlink", "path", deep,
					     "target", "x"),
				   NULL),
			 -EEXIST);
	/* A link is removed, not what it points to. */
	assert_int_equal(on_path(guest, "fs.remove", link), 0);
	assert_int_equal(access(deep, F_OK), 0);
	assert_int_equal(on_path(guest, "fs.remove", in_dir(guest, "a")), 0);
	assert_int_equal(on_path(guest, "fs.remove", in_dir(guest, "a")), 0);
	assert_int_equal(on_path(guest, "fs.stat", in_dir(guest, "a")), -ENOENT);
	assert_int_equal(read_part(guest, guest->dir, 0, NULL), -EISDIR);
	assert_int_equal(mkfifo(in_dir(guest, "fifo"), 0600), 0);
	assert_int_equal(read_part(guest, in_dir(guest, "fifo"), 0, NULL), -EINVAL);
}

static void test_list_in_pages(void **state)
{
	struct guest *guest = *state;
	const char *dir = in_dir(guest, "many");
	char after[64] = "";
	bool more = true;
	int pages = 0;
	int next = 0;

	assert_int_equal(mkdir(dir, 0755), 0);
	for (int i = 0; i < 3000; i++) {
		char name[32];
		int fd;

		snprintf(name, sizeof(name), "many/f%05d", i);
		fd = open(in_dir(guest, name), O_CREAT | O_WRONLY, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
	/* An unfinished file is nobody's business. */
	assert_int_equal(write_part(guest, in_dir(guest, "many/f"), 0, "x", 1, false), 0);
	for (; more; pages++) {
		struct rpc_msg msg;
		const json_t *entries;
		size_t i;
		const json_t *entry;

		assert_int_equal(guest_ask(guest,
					   json_pack("{s:s,s:s,s:s}", "op", "fs.list", "path",
						     in_dir(guest, "many"), "after", after),
					   &msg),
				 0);
		entries = json_object_get(msg.json, "entries");
		json_array_foreach(entries, i, entry)
		{
			snprintf(after, sizeof(after), "f%05d", next++);
			assert_string_equal(json_string_value(json_object_get(entry, "name")),
					    after);
		}
		more = json_is_true(json_object_get(msg.json, "more"));
		rpc_msg_clear(&msg);
	}
	assert_int_equal(next, 3000);
	assert_true(pages > 1);
	assert_int_equal(mkdir(in_dir(guest, "bad\xff"), 0755), 0);
	assert_int_equal(guest_ask(guest,
				   json_pack("{s:s,s:s}", "op", "fs.list", "path", guest->dir),
				   NULL),
			 -EILSEQ);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		GUEST_TEST(test_large_file),
		GUEST_TEST(test_write_is_whole_or_nothing),
		GUEST_TEST(test_directories_and_links),
		GUEST_TEST(test_list_in_pages),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
