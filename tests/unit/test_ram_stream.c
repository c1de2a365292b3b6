/* SPDX-License-Identifier: BSD-3-Clause */
/* The decoder of a background snapshot's stream, with streams made by hand: whole ones in
 * pieces of every size, cut ones, and ones that say what does not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vm/ram/capture.h"
#include "vm/ram/receive.h"
#include "vm/ram/stream.h"

enum {
	PAGES = 5,
	RAM_BYTES = PAGES * RAM_PAGE_BYTES,
	ROM_BYTES = 2 * RAM_PAGE_BYTES,
	TEXT_MAX = 64 << 10,
	SECTION = 2,
	BLOCKS = 0x04,
	ZERO = 0x02,
	PAGE = 0x08,
	EOS = 0x10,
	SAME = 0x20,
};

/* A stream as it is made. */
struct text {
	size_t len;
	uint8_t bytes[TEXT_MAX];
};

/* What came out of it. */
struct seen {
	unsigned int pages, zeros;
	uint8_t ram[RAM_BYTES];
	size_t device_len;
	uint8_t devices[256];
};

static void put(struct text *text, const void *bytes, size_t len)
{
	assert_true(text->len + len <= TEXT_MAX);
	memcpy(text->bytes + text->len, bytes, len);
	text->len += len;
}

static void put_u8(struct text *text, uint8_t value)
{
	put(text, &value, sizeof(value));
}

static void put_u32(struct text *text, uint32_t value)
{
	value = htobe32(value);
	put(text, &value, sizeof(value));
}

static void put_u64(struct text *text, uint64_t value)
{
	value = htobe64(value);
	put(text, &value, sizeof(value));
}

static void put_name(struct text *text, const char *name)
{
	put_u8(text, (uint8_t)strlen(name));
	put(text, name, strlen(name));
}

static void put_head(struct text *text)
{
	put(text, "QEVM\0\0\0\3", 8);
	put_u8(text, 7);
	put_u32(text, 10);
	put(text, "pc-q35-7.2", 10);
}

static void put_start(struct text *text, const char *name, uint32_t version)
{
	put_u8(text, 1);
	put_u32(text, SECTION);
	put_name(text, name);
	put_u32(text, 0);
	put_u32(text, version);
}

static void put_block(struct text *text, const char *name, uint64_t bytes)
{
	put_name(text, name);
	put_u64(text, bytes);
}

static void put_footer(struct text *text, uint32_t section)
{
	put_u64(text, EOS);
	put_u8(text, 0x7e);
	put_u32(text, section);
}

static void put_part(struct text *text)
{
	put_u8(text, 2);
	put_u32(text, SECTION);
}

static void put_page(struct text *text, const char *block, uint64_t offset, int fill)
{
	char page[RAM_PAGE_BYTES];

	put_u64(text, offset | PAGE | (block ? 0 : SAME));
	if (block)
		put_name(text, block);
	memset(page, fill, sizeof(page));
	put(text, page, sizeof(page));
}

static void put_zero(struct text *text, const char *block, uint64_t offset)
{
	put_u64(text, offset | ZERO | (block ? 0 : SAME));
	if (block)
		put_name(text, block);
	put_u8(text, 0);
}

/* Up to the end of the table of blocks. */
static void put_tables(struct text *text)
{
	text->len = 0;
	put_head(text);
	put_start(text, "ram", 4);
	put_u64(text, (RAM_BYTES + ROM_BYTES) | BLOCKS);
	put_block(text, "ram0", RAM_BYTES);
	put_block(text, "pc.rom", ROM_BYTES);
	put_footer(text, SECTION);
}

/* Pages in two parts, not in their order; page p is filled with p, page 0 is zero. */
static void put_ram(struct text *text)
{
	put_part(text);
	put_page(text, "ram0", 3 * RAM_PAGE_BYTES, 3);
	put_page(text, NULL, RAM_PAGE_BYTES, 1);
	put_page(text, "pc.rom", 0, 'r');
	put_zero(text, NULL, RAM_PAGE_BYTES);
	put_footer(text, SECTION);
	put_part(text);
	put_zero(text, "ram0", 0);
	put_page(text, NULL, 4 * RAM_PAGE_BYTES, 4);
	put_page(text, NULL, 2 * RAM_PAGE_BYTES, 2);
	put_footer(text, SECTION);
}

static const char DEVICES[] = "\4 device \x7e and what else there is";

static void put_whole(struct text *text)
{
	put_tables(text);
	put_ram(text);
	put(text, DEVICES, sizeof(DEVICES));
}

static void take_page(void *arg, uint64_t offset, const void *page)
{
	struct seen *seen = arg;

	assert_true(offset % RAM_PAGE_BYTES == 0 && offset < RAM_BYTES);
	seen->pages++;
	seen->zeros += !page;
	if (page)
		memcpy(seen->ram + offset, page, RAM_PAGE_BYTES);
}

static int take_devices(void *arg, const void *bytes, size_t len, struct err *err)
{
	struct seen *seen = arg;

	if (seen->device_len + len > sizeof(seen->devices))
		return err_set(err, ENOSPC, "no room for devices");
	memcpy(seen->devices + seen->device_len, bytes, len);
	seen->device_len += len;
	return 0;
}

/* Decode the text, `piece` bytes more at a time, each piece in memory of just its size. */
static int decode(const struct text *text, size_t piece, struct seen *ret_seen, struct err *err)
{
	const struct ram_stream_sink sink = {
		.block = "ram0",
		.bytes = RAM_BYTES,
		.page = take_page,
		.devices = take_devices,
		.arg = ret_seen,
	};
	struct ram_stream *stream = ram_stream_create(&sink, err);
	size_t at = 0, have = 0;
	int rc = 0;

	assert_non_null(stream);
	memset(ret_seen, 0, sizeof(*ret_seen));
	while (rc == 0 && at + have < text->len) {
		size_t more = text->len - at - have < piece ? text->len - at - have : piece;
		uint8_t *exact = malloc(have + more);
		size_t used;

		assert_non_null(exact);
		memcpy(exact, text->bytes + at, have + more);
		rc = ram_stream_feed(stream, exact, have + more, &used, err);
		assert_true(used <= have + more);
		free(exact);
		have += more - used;
		at += used;
		assert_true(rc < 0 || have < RAM_STREAM_REST_MAX);
	}
	if (rc == 0)
		rc = ram_stream_end(stream, have, err);
	ram_stream_destroy(stream);
	return rc;
}

static struct text *text_new(void)
{
	struct text *text = calloc(1, sizeof(*text));

	assert_non_null(text);
	return text;
}

static void check_refused(const struct text *text, const char *why)
{
	static const size_t pieces[] = {1, 7, 4096, TEXT_MAX};

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct err err = ERR_INIT;
		struct seen seen;

		assert_int_equal(decode(text, pieces[i], &seen, &err), -EPROTO);
		if (!strstr(err.msg, why))
			fail_msg("'%s' does not say '%s'", err.msg, why);
	}
}

static void check_whole(const struct seen *seen)
{
	assert_int_equal(seen->pages, PAGES);
	assert_int_equal(seen->zeros, 1);
	for (unsigned int page = 0; page < PAGES; page++)
		for (unsigned int at = 0; at < RAM_PAGE_BYTES; at++)
			assert_int_equal(seen->ram[page * RAM_PAGE_BYTES + at], page);
	assert_int_equal(seen->device_len, sizeof(DEVICES));
	assert_memory_equal(seen->devices, DEVICES, sizeof(DEVICES));
}

static void test_whole_in_pieces(void **state)
{
	struct text *text = text_new();

	(void)state;
	put_whole(text);
	for (size_t piece = 1; piece < text->len + 100; piece += 1 + piece / 3) {
		struct err err = ERR_INIT;
		struct seen seen;

		assert_int_equal(decode(text, piece, &seen, &err), 0);
		check_whole(&seen);
	}
	free(text);
}

/* Wherever it is cut, it is seen not to be whole, but within the devices, which QEMU alone
 * knows. */
static void test_cut(void **state)
{
	struct text *text = text_new();
	size_t whole;

	(void)state;
	put_whole(text);
	whole = text->len - sizeof(DEVICES) + 1;
	for (size_t len = 0; len < whole; len += len < 200 ? 1 : 61) {
		text->len = len;
		check_refused(text, "ends too early");
	}
	text->len = whole - 1;
	check_refused(text, "ends too early");
	free(text);
}

static void test_heads(void **state)
{
	struct text *text = text_new();

	(void)state;
	put(text, "QEVM\0\0\0\4", 8);
	check_refused(text, "its head");
	text->len = 0;
	put(text, "GET / HTTP/1.1", 14);
	check_refused(text, "its head");
	put_tables(text);
	text->len = 8;
	put_u8(text, 7);
	put_u32(text, UINT32_MAX);
	check_refused(text, "the name of the machine");
	text->len = 8;
	put_u8(text, 5);
	check_refused(text, "a kind of section");
	text->len = 8;
	put_u8(text, 4);
	check_refused(text, "before all of the guest's RAM");
	text->len = 8;
	put_part(text);
	check_refused(text, "has not begun");
	text->len = 8;
	put_start(text, "dirty-bitmap", 1);
	check_refused(text, "something else than RAM");
	text->len = 8;
	put_start(text, "ram", 5);
	check_refused(text, "the version of RAM");
	put_tables(text);
	put_start(text, "ram", 4);
	check_refused(text, "something else than RAM");
	free(text);
}

static void begin_blocks(struct text *text, uint64_t bytes)
{
	text->len = 0;
	put_head(text);
	put_start(text, "ram", 4);
	put_u64(text, bytes | BLOCKS);
}

static void test_blocks(void **state)
{
	struct text *text = text_new();

	(void)state;
	begin_blocks(text, RAM_BYTES);
	put_block(text, "ram1", RAM_BYTES);
	check_refused(text, "the guest's RAM is not in it");
	begin_blocks(text, 2 * RAM_BYTES);
	put_block(text, "ram0", 2 * RAM_BYTES);
	check_refused(text, "another size");
	begin_blocks(text, RAM_BYTES);
	put_block(text, "rom", 0);
	check_refused(text, "the size of a block");
	begin_blocks(text, RAM_BYTES);
	put_block(text, "rom", 1);
	check_refused(text, "the size of a block");
	/* Sizes that would wrap around. */
	begin_blocks(text, RAM_BYTES + ROM_BYTES);
	put_block(text, "ram0", RAM_BYTES);
	put_block(text, "rom", UINT64_MAX - RAM_PAGE_BYTES + 1);
	check_refused(text, "the size of a block");
	begin_blocks(text, 2 * ROM_BYTES);
	put_block(text, "rom", ROM_BYTES);
	put_block(text, "rom", ROM_BYTES);
	check_refused(text, "one name");
	begin_blocks(text, 0);
	check_refused(text, "the table");
	put_tables(text);
	put_part(text);
	put_u64(text, RAM_BYTES | BLOCKS);
	check_refused(text, "the table");
	begin_blocks(text, 100 * RAM_PAGE_BYTES);
	for (int i = 0; i < 65; i++) {
		char name[8] = {'b', (char)('0' + i / 10), (char)('0' + i % 10)};

		put_block(text, name, RAM_PAGE_BYTES);
	}
	check_refused(text, "too many blocks");
	free(text);
}

static void test_pages(void **state)
{
	static const uint64_t behind[] = {RAM_BYTES, UINT64_MAX & ~(uint64_t)0xfff, 1ULL << 40};
	struct text *text = text_new();

	(void)state;
	for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
		put_tables(text);
		put_part(text);
		put_page(text, "ram0", behind[i], 1);
		check_refused(text, "behind the end");
		put_tables(text);
		put_part(text);
		put_zero(text, "ram0", behind[i]);
		check_refused(text, "behind the end");
	}
	put_tables(text);
	put_part(text);
	put_page(text, "pc.rom", ROM_BYTES, 1);
	check_refused(text, "behind the end");
	put_tables(text);
	put_part(text);
	put_page(text, "pc.bios", 0, 1);
	check_refused(text, "no block");
	put_tables(text);
	put_part(text);
	put_page(text, NULL, 0, 1);
	check_refused(text, "no block");
	put_tables(text);
	put_part(text);
	put_u64(text, 0 | ZERO);
	put_name(text, "ram0");
	put_u8(text, 1);
	check_refused(text, "something else than zeros");
	for (unsigned int flags = 0; flags < RAM_PAGE_BYTES; flags++) {
		if (flags == BLOCKS || flags == EOS || (flags & ~SAME) == PAGE ||
		    (flags & ~SAME) == ZERO)
			continue;
		put_tables(text);
		put_part(text);
		put_u64(text, flags);
		check_refused(text, "the flags of a page");
	}
	free(text);
}

static void test_order(void **state)
{
	struct text *text = text_new();

	(void)state;
	put_tables(text);
	put_part(text);
	put_footer(text, SECTION + 1);
	check_refused(text, "the end of a part");
	put_tables(text);
	put_u8(text, 2);
	put_u32(text, SECTION + 1);
	check_refused(text, "has not begun");
	/* A page twice does not stand for one that is missing. */
	put_tables(text);
	put_part(text);
	for (unsigned int i = 0; i < PAGES; i++)
		put_page(text, "ram0", 0, 1);
	put_footer(text, SECTION);
	put(text, DEVICES, sizeof(DEVICES));
	check_refused(text, "before all of the guest's RAM");
	free(text);
}

static void test_sink_fails(void **state)
{
	struct text *text = text_new();
	struct err err = ERR_INIT;
	struct seen seen;

	(void)state;
	put_whole(text);
	for (unsigned int i = 0; i < 20; i++)
		put(text, DEVICES, sizeof(DEVICES));
	assert_int_equal(decode(text, 1000, &seen, &err), -ENOSPC);
	free(text);
}

/* The whole way: out of a pipe into staging and a file. */

struct writer {
	const struct text *text;
	int fd;
};

static void *write_text(void *arg)
{
	const struct writer *writer = arg;
	size_t at = 0;

	while (at < writer->text->len) {
		size_t left = writer->text->len - at;
		ssize_t n =
			write(writer->fd, writer->text->bytes + at, left < 777 ? left : 777);

		if (n < 0)
			break;
		at += (size_t)n;
	}
	close(writer->fd);
	return NULL;
}

static int receive(const struct text *text, struct ram_capture *capture, int state_fd,
		   struct err *err)
{
	struct writer writer = {.text = text};
	pthread_t thread;
	int ends[2], rc;

	assert_int_equal(pipe(ends), 0);
	writer.fd = ends[1];
	assert_int_equal(pthread_create(&thread, NULL, write_text, &writer), 0);
	rc = ram_receive(ends[0], "ram0", capture, state_fd, NULL, NULL, err);
	if (rc < 0)
		while (read(ends[0], &(char[512]){0}, 512) > 0)
			;
	pthread_join(thread, NULL);
	close(ends[0]);
	return rc;
}

static int memory_file(off_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, bytes), 0);
	return fd;
}

static void test_receive(void **state)
{
	struct text *text = text_new();
	int ram_fd = memory_file(RAM_BYTES), state_fd = memory_file(3);
	struct ram_capture *capture, *next;
	struct err err = ERR_INIT;
	uint8_t bitmap[1] = {0};
	struct ram_trace *trace;
	char devices[sizeof(DEVICES)];

	(void)state;
	put_whole(text);
	assert_int_equal(ram_capture_create(ram_fd, RAM_BYTES, NULL, &capture, &err), 0);
	assert_int_equal(receive(text, capture, state_fd, &err), 0);
	assert_int_equal(ram_capture_next_data(capture, 0), RAM_PAGE_BYTES);
	for (unsigned int page = 1; page < PAGES; page++)
		assert_int_equal(*(const uint8_t *)ram_capture_bytes(
					 capture, page * RAM_PAGE_BYTES + 17),
				 page);
	assert_int_equal(pread(state_fd, devices, sizeof(devices), 3), sizeof(devices));
	assert_memory_equal(devices, DEVICES, sizeof(DEVICES));
	/* Of the next one, only a page that differs has changed. */
	trace = ram_capture_take_trace(capture);
	ram_capture_destroy(capture);
	put_tables(text);
	put_ram(text);
	put_part(text);
	put_page(text, "ram0", 2 * RAM_PAGE_BYTES, 9);
	put_footer(text, SECTION);
	put(text, DEVICES, sizeof(DEVICES));
	assert_int_equal(ram_capture_create(ram_fd, RAM_BYTES, trace, &next, &err), 0);
	assert_int_equal(receive(text, next, state_fd, &err), 0);
	assert_true(ram_capture_changed(next, 0, RAM_BYTES, bitmap));
	assert_int_equal(bitmap[0], 1 << 2);
	ram_capture_destroy(next);
	ram_trace_destroy(trace);
	/* One that breaks off. */
	text->len /= 2;
	assert_int_equal(ram_capture_create(ram_fd, RAM_BYTES, NULL, &capture, &err), 0);
	assert_int_equal(receive(text, capture, state_fd, &err), -EPROTO);
	ram_capture_destroy(capture);
	close(ram_fd);
	close(state_fd);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_in_pieces), cmocka_unit_test(test_cut),
		cmocka_unit_test(test_heads),           cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_pages),           cmocka_unit_test(test_order),
		cmocka_unit_test(test_sink_fails),      cmocka_unit_test(test_receive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
