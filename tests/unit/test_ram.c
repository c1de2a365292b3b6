/* SPDX-License-Identifier: BSD-3-Clause */
/* RAM capture and cloning against a guest's RAM that is dirtied, zeroed and punched at random.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vm/ram/capture.h"
#include "vm/ram/page.h"

enum {
	PAGES = 5000, /* not a multiple of a chunk or a word */
	BYTES = PAGES * RAM_PAGE_BYTES,
	ROUNDS = 24,
};

struct ram {
	int fd;
	unsigned char *map;
	unsigned int seed;
};

static unsigned int pick(struct ram *ram, unsigned int below)
{
	return (unsigned int)rand_r(&ram->seed) % below;
}

static void ram_setup(struct ram *ram, unsigned int seed)
{
	ram->fd = memfd_create("test-ram", MFD_CLOEXEC);
	assert_true(ram->fd >= 0);
	assert_int_equal(ftruncate(ram->fd, BYTES), 0);
	ram->map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ram->fd, 0);
	assert_ptr_not_equal(ram->map, MAP_FAILED);
	ram->seed = seed;
}

static void ram_teardown(struct ram *ram)
{
	munmap(ram->map, BYTES);
	close(ram->fd);
}

static void ram_change(struct ram *ram)
{
	unsigned int page = pick(ram, PAGES), run = 1 + pick(ram, 20);

	if (page + run > PAGES)
		run = PAGES - page;
	switch (pick(ram, 4)) {
	case 0: /* one byte, anywhere */
		ram->map[page * RAM_PAGE_BYTES + pick(ram, RAM_PAGE_BYTES)] =
			(unsigned char)pick(ram, 256);
		break;
	case 1:
		memset(ram->map + page * RAM_PAGE_BYTES, (int)pick(ram, 256),
		       run * RAM_PAGE_BYTES);
		break;
	case 2: /* zeroed, still populated */
		memset(ram->map + page * RAM_PAGE_BYTES, 0, run * RAM_PAGE_BYTES);
		break;
	default: /* given back, as by the balloon */
		assert_int_equal(fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   page * RAM_PAGE_BYTES, run * RAM_PAGE_BYTES),
				 0);
	}
}

/* What the capture hands out is RAM, page by page. */
static void assert_captured(const struct ram *ram, const struct ram_capture *capture)
{
	uint64_t offset = 0;
	CLEANUP_FREE unsigned char *built = calloc(1, BYTES);

	while ((offset = ram_capture_next_data(capture, offset)) != UINT64_MAX) {
		const unsigned char *bytes = ram_capture_bytes(capture, offset);

		assert_int_equal(offset % RAM_PAGE_BYTES, 0);
		memcpy(built + offset, bytes, RAM_PAGE_BYTES);
		offset += RAM_PAGE_BYTES;
	}
	assert_memory_equal(built, ram->map, BYTES);
	assert_memory_equal(ram_capture_bytes(capture, 0), ram->map, BYTES);
}

static void test_capture_follows_ram(void **state)
{
	(void)state;
	for (unsigned int seed = 1; seed <= 8; seed++) {
		struct ram ram;
		struct ram_capture *capture;
		struct ram_pass pass;
		struct err err = ERR_INIT;

		ram_setup(&ram, seed);
		assert_int_equal(ram_capture_create(ram.fd, BYTES, NULL, &capture, &err), 0);
		for (int round = 0; round < ROUNDS; round++) {
			for (unsigned int i = pick(&ram, 100); i > 0; i--)
				ram_change(&ram);
			assert_int_equal(
				ram_captures_pass(&capture, 1, seed % 4, seed % 2, &pass, &err),
				0);
			if (round % 8 == 7)
				assert_captured(&ram, capture);
		}
		assert_int_equal(ram_captures_pass(&capture, 1, 1, 0, &pass, &err), 0);
		assert_int_equal(pass.copied_bytes, 0);
		assert_captured(&ram, capture);
		ram_capture_destroy(capture);
		ram_teardown(&ram);
	}
}

static void test_holes_stay_holes(void **state)
{
	struct ram ram;
	struct ram_capture *capture;
	struct ram_pass pass;
	struct err err = ERR_INIT;
	uint64_t before, after;

	(void)state;
	ram_setup(&ram, 1);
	ram.map[100 * RAM_PAGE_BYTES] = 1;
	ram.map[4000 * RAM_PAGE_BYTES] = 1;
	memset(ram.map + 50 * RAM_PAGE_BYTES, 0, RAM_PAGE_BYTES);
	assert_int_equal(ram_populated_bytes(ram.fd, &before, &err), 0);
	assert_int_equal(before, 3 * RAM_PAGE_BYTES);
	assert_int_equal(ram_capture_create(ram.fd, BYTES, NULL, &capture, &err), 0);
	assert_int_equal(ram_captures_pass(&capture, 1, 2, 0, &pass, &err), 0);
	assert_int_equal(pass.read_bytes, 3 * RAM_PAGE_BYTES);
	assert_int_equal(pass.copied_bytes, 2 * RAM_PAGE_BYTES);
	assert_int_equal(ram_populated_bytes(ram.fd, &after, &err), 0);
	assert_int_equal(after, before);
	assert_int_equal(ram_capture_next_data(capture, 0), 100 * RAM_PAGE_BYTES);
	assert_int_equal(ram_capture_next_data(capture, 100 * RAM_PAGE_BYTES + 7),
			 100 * RAM_PAGE_BYTES + 7);
	assert_int_equal(ram_capture_next_data(capture, 101 * RAM_PAGE_BYTES),
			 4000 * RAM_PAGE_BYTES);
	assert_true(ram_capture_next_data(capture, 4001 * RAM_PAGE_BYTES) == UINT64_MAX);
	ram_capture_destroy(capture);
	ram_teardown(&ram);
}

static void test_clone_equals(void **state)
{
	struct ram from, to;
	struct err err = ERR_INIT;
	uint64_t from_bytes, to_bytes;

	(void)state;
	for (unsigned int threads = 0; threads < 3; threads++) {
		ram_setup(&from, 77 + threads);
		ram_setup(&to, 0);
		for (int i = 0; i < 300; i++)
			ram_change(&from);
		assert_int_equal(ram_populated_bytes(from.fd, &from_bytes, &err), 0);
		assert_int_equal(ram_clone(from.fd, to.fd, BYTES, threads, &err), 0);
		assert_int_equal(ram_populated_bytes(to.fd, &to_bytes, &err), 0);
		assert_true(to_bytes <= from_bytes);
		assert_memory_equal(from.map, to.map, BYTES);
		ram_teardown(&from);
		ram_teardown(&to);
	}
}

static void test_wrong_size_is_refused(void **state)
{
	struct ram ram;
	struct ram_capture *capture;
	struct err err = ERR_INIT;

	(void)state;
	ram_setup(&ram, 1);
	assert_int_equal(
		ram_capture_create(ram.fd, BYTES + RAM_PAGE_BYTES, NULL, &capture, &err),
		-EINVAL);
	assert_int_equal(ram_capture_create(ram.fd, 0, NULL, &capture, &err), -EINVAL);
	assert_int_equal(ram_clone(ram.fd, ram.fd, BYTES / 2, 1, &err), -EINVAL);
	ram_teardown(&ram);
}

static void fill(struct ram *ram, unsigned char *page)
{
	for (unsigned int i = 0; i < RAM_PAGE_BYTES; i++)
		page[i] = (unsigned char)pick(ram, 256);
}

/* Every implementation sees any single bit, has the same hash as the others, and copies all. */
static void test_page_ops(void **state)
{
	struct ram random = {.seed = 5};
	unsigned char *a = aligned_alloc(RAM_PAGE_BYTES, RAM_PAGE_BYTES);
	unsigned char *b = aligned_alloc(RAM_PAGE_BYTES, RAM_PAGE_BYTES);
	unsigned char secret[PAGE_SECRET_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (unsigned char)pick(&random, 256);
	for (const struct page_ops *const *ops = page_ops_all(); *ops; ops++) {
		struct page_hash zero, hash, plain;

		memset(a, 0, RAM_PAGE_BYTES);
		assert_true((*ops)->is_zero(a));
		zero = (*ops)->hash(a, secret);
		for (unsigned int bit = 0; bit < RAM_PAGE_BYTES * 8; bit += 3) {
			a[bit / 8] = (unsigned char)(1U << (bit % 8));
			assert_false((*ops)->is_zero(a));
			hash = (*ops)->hash(a, secret);
			assert_true(hash.low != zero.low && hash.high != zero.high);
			a[bit / 8] = 0;
		}
		fill(&random, a);
		hash = (*ops)->hash(a, secret);
		plain = page_ops_plain.hash(a, secret);
		assert_memory_equal(&hash, &plain, sizeof(hash));
		secret[100] ^= 1;
		hash = (*ops)->hash(a, secret);
		assert_true(hash.low != plain.low || hash.high != plain.high);
		memset(b, 0, RAM_PAGE_BYTES);
		(*ops)->copy_away(b, a);
		assert_memory_equal(a, b, RAM_PAGE_BYTES);
	}
	free(a);
	free(b);
}

/* Several VMs in one pass: each staging has its own VM's RAM, and the pass tells their sums. */
static void test_one_pass_over_many(void **state)
{
	enum { VMS = 5 };
	struct ram rams[VMS];
	struct ram_capture *captures[VMS];
	struct ram_pass pass;
	struct err err = ERR_INIT;
	uint64_t populated = 0, bytes;

	(void)state;
	for (unsigned int i = 0; i < VMS; i++) {
		ram_setup(&rams[i], 10 + i);
		assert_int_equal(
			ram_capture_create(rams[i].fd, BYTES, NULL, &captures[i], &err), 0);
	}
	for (int round = 0; round < 10; round++) {
		for (unsigned int i = 0; i < VMS; i++)
			for (unsigned int n = 20 * i; n > 0; n--)
				ram_change(&rams[i]);
		assert_int_equal(ram_captures_pass(captures, VMS, 3, round % 3, &pass, &err),
				 0);
	}
	for (unsigned int i = 0; i < VMS; i++) {
		assert_int_equal(ram_populated_bytes(rams[i].fd, &bytes, &err), 0);
		populated += bytes;
	}
	assert_int_equal(pass.read_bytes, populated);
	for (unsigned int i = 0; i < VMS; i++) {
		assert_captured(&rams[i], captures[i]);
		ram_capture_destroy(captures[i]);
		ram_teardown(&rams[i]);
	}
}

/* Passes while somebody writes: torn pages are mended by the pass after the last write. */
static atomic_bool writer_stop;

static void *writer(void *arg)
{
	struct ram *ram = arg;

	while (!atomic_load(&writer_stop)) {
		unsigned int page = pick(ram, 200);

		for (unsigned int i = 0; i < RAM_PAGE_BYTES; i += 8)
			*(volatile uint64_t *)(ram->map + page * RAM_PAGE_BYTES + i) = page % 5;
	}
	return NULL;
}

static void test_capture_beside_a_writer(void **state)
{
	struct ram ram;
	struct ram_capture *capture;
	struct ram_pass pass;
	struct err err = ERR_INIT;
	pthread_t thread;

	(void)state;
	ram_setup(&ram, 3);
	assert_int_equal(ram_capture_create(ram.fd, BYTES, NULL, &capture, &err), 0);
	for (int round = 0; round < 3; round++) {
		atomic_store(&writer_stop, false);
		assert_int_equal(pthread_create(&thread, NULL, writer, &ram), 0);
		for (int i = 0; i < 10; i++)
			assert_int_equal(ram_captures_pass(&capture, 1, 2, 0, &pass, &err), 0);
		atomic_store(&writer_stop, true);
		pthread_join(thread, NULL);
		assert_int_equal(ram_captures_pass(&capture, 1, 2, 0, &pass, &err), 0);
		assert_captured(&ram, capture);
	}
	ram_capture_destroy(capture);
	ram_teardown(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capture_follows_ram),
		cmocka_unit_test(test_holes_stay_holes),
		cmocka_unit_test(test_clone_equals),
		cmocka_unit_test(test_wrong_size_is_refused),
		cmocka_unit_test(test_page_ops),
		cmocka_unit_test(test_one_pass_over_many),
		cmocka_unit_test(test_capture_beside_a_writer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
