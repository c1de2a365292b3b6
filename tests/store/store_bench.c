/* SPDX-License-Identifier: BSD-3-Clause */
/* Hashing and compression of a file's pages alone, on several threads. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/parallel.h"
#include "store/chunk_hash.h"
#include "store/segment.h"
#include "store_tool.h"

struct bench {
	int fd;
	uint64_t bytes;
	unsigned int threads;
	struct governor governor;
	atomic_uint_fast64_t next, stored;
	atomic_int_fast64_t hash_ns, compress_ns;
};

/* One segment's worth of the file. */
static int part_do(struct bench *bench, struct chunk_hasher *hasher, struct segment *segment,
		   uint8_t *buf, uint64_t offset, struct err *err)
{
	uint64_t left = bench->bytes - offset;
	size_t len = left < SEGMENT_RAW_MAX ? (size_t)left : SEGMENT_RAW_MAX;
	int rc = io_pread_all(bench->fd, buf, len, (off_t)offset, err);
	int64_t begin_ns = clock_mono_ns(), hashed_ns;
	struct segment_image image;

	for (size_t at = 0; at < len && rc == 0; at += PAGE_BYTES) {
		size_t page = len - at < PAGE_BYTES ? len - at : PAGE_BYTES;
		struct chunk_id id;

		rc = chunk_hasher_id(hasher, buf + at, page, &id, err);
		segment_add(segment, &id, buf + at, page);
	}
	hashed_ns = clock_mono_ns();
	segment_finish(segment, &bench->governor, bench->threads, &image);
	segment_reset(segment);
	bench->hash_ns += hashed_ns - begin_ns;
	bench->compress_ns += clock_mono_ns() - hashed_ns;
	bench->stored += image.entry.stored_bytes;
	return rc;
}

static int bench_worker(size_t index, void *arg, struct err *err)
{
	struct bench *bench = arg;
	CLEANUP_FREE uint8_t *buf = malloc(SEGMENT_RAW_MAX);
	struct chunk_hasher *hasher = NULL;
	struct segment *segment = NULL;
	int rc = buf ? chunk_hasher_create(NULL, &hasher, err) : err_sys(err, ENOMEM, "buffer");

	(void)index;
	if (rc == 0)
		rc = segment_create(true, &segment, err);
	while (rc == 0) {
		uint64_t offset = atomic_fetch_add(&bench->next, SEGMENT_RAW_MAX);

		if (offset >= bench->bytes)
			break;
		rc = part_do(bench, hasher, segment, buf, offset, err);
	}
	segment_destroy(segment);
	chunk_hasher_destroy(hasher);
	return rc;
}

int tool_hash(struct tool *tool, const char *path)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	unsigned int threads =
		tool->work.threads ? tool->work.threads : (unsigned int)parallel_cpus();
	struct bench bench = {.fd = fd, .bytes = (uint64_t)end, .threads = threads};
	int64_t begin_ns = clock_mono_ns();
	double seconds;
	int rc;

	if (end < 0)
		return err_sys(&tool->err, errno, "cannot open %s", path);
	governor_init(&bench.governor, tool->config.level);
	rc = parallel_for(threads, threads, bench_worker, &bench, &tool->err);
	governor_destroy(&bench.governor);
	seconds = (double)(clock_mono_ns() - begin_ns) / 1e9;
	if (rc == 0)
		printf("%u threads, %.3f s, %.0f MB/s; hashing %.0f MB/s, compression %.0f MB/s a "
		       "thread; %" PRIu64 " of %" PRIu64 " bytes\n",
		       threads, seconds, (double)bench.bytes / 1e6 / seconds,
		       (double)bench.bytes * 1e3 / (double)bench.hash_ns,
		       (double)bench.bytes * 1e3 / (double)bench.compress_ns,
		       (uint64_t)bench.stored, bench.bytes);
	return rc;
}
