/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How fast this host reads memory, hashes and copies pages, and captures RAM; see
 * bench/README.md.
 *
 * RAM is a memory file of random bytes in 4 KiB pages, as a guest's is. Each line of results is
 * "speed NAME THREADS MEDIAN BEST", in bytes of RAM a second.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/parallel.h"
#include "vm/ram/capture.h"
#include "vm/ram/file.h"
#include "vm/ram/page.h"

enum { ROUNDS_MAX = 100 };

static size_t bytes, rounds;
static int ram_fd;
static char *ram, *other;
static struct page_hash *hashes;
static char secret[PAGE_SECRET_BYTES];
static const struct page_ops *ops;
static atomic_ulong sink; /* what is computed is used, so it is not left out */

static void fail(const char *what)
{
	fprintf(stderr, "capture_ops: %s: %s\n", what, strerror(errno));
	exit(1);
}

__attribute__((target_clones("default", "avx2", "avx512f"), optimize("O3"))) static uint64_t
words_or(const char *from, size_t size)
{
	const uint64_t *words = (const uint64_t *)from;
	uint64_t any = 0;

	for (size_t i = 0; i < size / sizeof(*words); i++)
		any |= words[i];
	return any;
}

__attribute__((target_clones("default", "avx2", "avx512f"), optimize("O3"))) static uint64_t
words_differ(const char *one, const char *two, size_t size)
{
	const uint64_t *a = (const uint64_t *)one, *b = (const uint64_t *)two;
	uint64_t any = 0;

	for (size_t i = 0; i < size / sizeof(*a); i++)
		any |= a[i] ^ b[i];
	return any;
}

/* The works: each on one page of RAM. */

static uint64_t do_read(size_t at)
{
	return words_or(ram + at, RAM_PAGE_BYTES);
}

static uint64_t do_memcpy(size_t at)
{
	memcpy(other + at, ram + at, RAM_PAGE_BYTES);
	return 0;
}

static uint64_t do_compare(size_t at)
{
	return words_differ(ram + at, other + at, RAM_PAGE_BYTES);
}

static uint64_t do_hash(size_t at)
{
	struct page_hash hash = ops->hash(ram + at, secret);

	return hash.low != hashes[at / RAM_PAGE_BYTES].low;
}

static uint64_t do_copy_away(size_t at)
{
	ops->copy_away(other + at, ram + at);
	return 0;
}

struct work {
	uint64_t (*page)(size_t at);
};

static int do_piece(size_t index, void *arg, struct err *err)
{
	const struct work *work = arg;
	uint64_t any = 0;

	(void)err;
	for (size_t at = index * RAM_PIECE_BYTES; at < (index + 1) * RAM_PIECE_BYTES;
	     at += RAM_PAGE_BYTES) {
		page_prefetch(ram + at + RAM_PAGE_BYTES);
		any += work->page(at);
	}
	atomic_fetch_add(&sink, any);
	return 0;
}

static int descending(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left < right) - (left > right);
}

static void report(const char *name, size_t threads, double *speeds)
{
	qsort(speeds, rounds, sizeof(*speeds), descending);
	printf("speed\t%s\t%zu\t%.0f\t%.0f\n", name, threads, speeds[rounds / 2], speeds[0]);
	fflush(stdout);
}

static void measure(const char *name, uint64_t (*page)(size_t at), size_t threads)
{
	struct work work = {.page = page};
	double speeds[ROUNDS_MAX];

	for (size_t i = 0; i < rounds; i++) {
		int64_t begin_ns = clock_mono_ns();

		parallel_for(bytes / RAM_PIECE_BYTES, threads, do_piece, &work, NULL);
		speeds[i] = (double)bytes * 1e9 / (double)(clock_mono_ns() - begin_ns);
	}
	report(name, threads, speeds);
}

/* Change so many pages in a thousand, everywhere. */
static void dirty(unsigned int permille)
{
	static uint64_t seed = 1;

	for (size_t at = 0; at < bytes; at += RAM_PAGE_BYTES) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		if ((seed >> 33) % 1000 < permille)
			*(uint64_t *)(ram + at + (seed >> 43) % 512 * 8) = seed;
	}
}

static void capture(unsigned int permille, size_t threads)
{
	struct ram_capture *captured;
	struct ram_pass pass;
	double speeds[ROUNDS_MAX];
	char name[64];
	int64_t begin_ns;
	struct err err = ERR_INIT;

	if (ram_capture_create(ram_fd, bytes, &captured, &err) < 0)
		fail(err.msg);
	ram_captures_pass(&captured, 1, threads, 0, &pass, &err);
	for (size_t i = 0; i < rounds; i++) {
		dirty(permille);
		begin_ns = clock_mono_ns();
		if (ram_captures_pass(&captured, 1, threads, 0, &pass, &err) < 0)
			fail(err.msg);
		speeds[i] = (double)bytes * 1e9 / (double)(clock_mono_ns() - begin_ns);
	}
	if (memcmp(ram_capture_bytes(captured, 0), ram, bytes) != 0)
		fail("the capture differs from RAM");
	snprintf(name, sizeof(name), "capture %u", permille);
	report(name, threads, speeds);
	ram_capture_destroy(captured);
}

static void setup(void)
{
	uint64_t seed = 1;

	ram_fd = memfd_create("bench-ram", MFD_CLOEXEC);
	if (ram_fd < 0 || ftruncate(ram_fd, (off_t)bytes) < 0)
		fail("memory file");
	ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ram_fd, 0);
	other = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	hashes = calloc(bytes / RAM_PAGE_BYTES, sizeof(*hashes));
	if (ram == MAP_FAILED || other == MAP_FAILED || !hashes)
		fail("memory");
	for (size_t i = 0; i < bytes / sizeof(seed); i++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		((uint64_t *)ram)[i] = seed;
	}
	memcpy(secret, ram, sizeof(secret));
	memcpy(other, ram, bytes);
}

int main(int argc, char *argv[])
{
	static const unsigned int permilles[] = {0, 10, 100, 1000};
	char name[64];

	if (argc != 4)
		fail("arguments: MIB THREADS ROUNDS");
	bytes = strtoul(argv[1], NULL, 10) << 20;
	rounds = strtoul(argv[3], NULL, 10);
	setup();
	for (size_t threads = 1; threads <= strtoul(argv[2], NULL, 10); threads *= 2) {
		measure("read", do_read, threads);
		measure("memcpy", do_memcpy, threads);
		measure("compare", do_compare, threads);
		for (const struct page_ops *const *each = page_ops_all(); *each; each++) {
			ops = *each;
			snprintf(name, sizeof(name), "hash %s", ops->name);
			measure(name, do_hash, threads);
			snprintf(name, sizeof(name), "copy %s", ops->name);
			measure(name, do_copy_away, threads);
		}
		for (size_t i = 0; i < sizeof(permilles) / sizeof(permilles[0]); i++)
			capture(permilles[i], threads);
	}
	puts("verified");
	return 0;
}
