/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the parts of a checkpoint take alone, over the same bytes on the same cores, as bounds
 * for an engine that does them together. Each mode prints JSON.
 *
 *   hashzip process THREADS LEVEL HASH_BYTES ZIP_BYTES FILE[:OLD]...
 *       SHA-256 of each 4 KiB page of HASH_BYTES, zstd of ZIP_BYTES in frames of 256 KiB
 *   hashzip write THREADS BYTES PASSES DIRECTORY
 *       raw O_DIRECT writes of 1 MiB blocks to a file that has its blocks already
 *   hashzip differ LEVEL FILE[:OLD]...
 *       pages that truly differ, each distinct content once, and what zstd makes of them
 *   hashzip pack LEVEL OUT FILE...
 *       distinct pages that are not zero, as frames of 256 KiB in one file, for expand
 *   hashzip expand THREADS PASSES PACKED
 *       reading (from the page cache) and decompressing: into scratch memory, and into fresh
 *
 * FILE is a dump of a guest's RAM; holes and pages of zeros count for nothing. With OLD, an
 * earlier dump, only pages that differ from it count.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

enum {
	PAGE = 4096,
	FRAME = 256 << 10,
	BLOCK = 1 << 20,
	THREADS_MAX = 256,
	HASH = 32,
};

static void fail(const char *what)
{
	fprintf(stderr, "hashzip: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *allocate(size_t size)
{
	void *memory = NULL;

	if (posix_memalign(&memory, PAGE, size ? size : 1) != 0) {
		errno = ENOMEM;
		fail("memory");
	}
	return memory;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* ---- pages of dumps ---- */

struct page {
	const unsigned char *at;
	unsigned char hash[HASH];
};

static struct {
	struct page *pages;
	size_t count, room;
	uint64_t nonzero; /* of all files, whether they differ or not */
} found;

static const unsigned char zeros[PAGE];

static const unsigned char *map_file(const char *path, size_t *ret_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *map;

	if (fd < 0 || fstat(fd, &st) < 0)
		fail(path);
	*ret_size = (size_t)st.st_size / PAGE * PAGE;
	map = mmap(NULL, *ret_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		fail(path);
	close(fd);
	return map;
}

static void page_hash(const unsigned char *page, unsigned char *ret_hash, EVP_MD_CTX *context)
{
	unsigned int size;

	if (!EVP_DigestInit_ex(context, EVP_sha256(), NULL) ||
	    !EVP_DigestUpdate(context, page, PAGE) ||
	    !EVP_DigestFinal_ex(context, ret_hash, &size)) {
		errno = EIO;
		fail("SHA-256");
	}
}

static void collect(char *files[], int count)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();

	for (int i = 0; i < count; i++) {
		const unsigned char *now, *old = NULL;
		size_t size, old_size = 0;
		char *colon = strchr(files[i], ':');

		if (colon) {
			*colon = '\0';
			old = map_file(colon + 1, &old_size);
		}
		now = map_file(files[i], &size);
		for (size_t at = 0; at < size; at += PAGE) {
			bool zero = memcmp(now + at, zeros, PAGE) == 0;

			found.nonzero += !zero;
			if (zero || (at < old_size && memcmp(now + at, old + at, PAGE) == 0))
				continue;
			if (found.count == found.room) {
				found.room = found.room ? 2 * found.room : 65536;
				found.pages =
					realloc(found.pages, found.room * sizeof(*found.pages));
				if (!found.pages)
					fail("memory");
			}
			found.pages[found.count].at = now + at;
			page_hash(now + at, found.pages[found.count++].hash, context);
		}
	}
	EVP_MD_CTX_free(context);
}

/* The pages' contents one behind the other, each once. */
static unsigned char *distinct(size_t *ret_bytes)
{
	size_t slots = 1, used = 0;
	unsigned char *data = allocate(found.count * PAGE);
	size_t *table;

	while (slots < 2 * found.count + 2)
		slots *= 2;
	table = calloc(slots, sizeof(*table));
	if (!table)
		fail("memory");
	for (size_t i = 0; i < found.count; i++) {
		size_t slot;

		memcpy(&slot, found.pages[i].hash, sizeof(slot));
		for (slot &= slots - 1; table[slot]; slot = (slot + 1) & (slots - 1))
			if (!memcmp(found.pages[table[slot] - 1].hash, found.pages[i].hash,
				    HASH))
				break;
		if (table[slot])
			continue;
		table[slot] = i + 1;
		memcpy(data + used, found.pages[i].at, PAGE);
		used += PAGE;
	}
	free(table);
	*ret_bytes = used;
	return data;
}

/* ---- threads ---- */

struct job {
	void (*work)(struct job *job, size_t index);
	size_t threads;
	pthread_barrier_t barrier;
	int level, fd;
	const unsigned char *hash_data, *zip_data;
	size_t hash_bytes, hash_have, zip_bytes, zip_have;
	size_t next, end; /* what is handed out */
	size_t zipped;
	/* Each thread's own, so that it does not matter when main gets its turn. */
	int64_t begins[THREADS_MAX], ends[THREADS_MAX];
	const uint64_t *frames; /* offset and size of each */
	unsigned char *target;
};

static struct job job;

static void *worker(void *arg)
{
	size_t index = (size_t)arg;

	pthread_barrier_wait(&job.barrier);
	job.begins[index] = now_ns();
	job.work(&job, index);
	job.ends[index] = now_ns();
	return NULL;
}

/* Nanoseconds from the start of all to the end of the last. */
static int64_t run_all(void (*work)(struct job *job, size_t index), size_t threads)
{
	pthread_t ids[THREADS_MAX];
	int64_t begin = INT64_MAX, end = 0;

	job.work = work;
	job.threads = threads;
	job.next = job.zipped = 0;
	pthread_barrier_init(&job.barrier, NULL, (unsigned int)threads);
	for (size_t i = 0; i < threads; i++)
		if (pthread_create(&ids[i], NULL, worker, (void *)i))
			fail("threads");
	for (size_t i = 0; i < threads; i++) {
		pthread_join(ids[i], NULL);
		begin = job.begins[i] < begin ? job.begins[i] : begin;
		end = job.ends[i] > end ? job.ends[i] : end;
	}
	pthread_barrier_destroy(&job.barrier);
	return end - begin;
}

static size_t take(size_t step)
{
	return __atomic_fetch_add(&job.next, step, __ATOMIC_RELAXED);
}

static size_t threads_of(const char *text)
{
	size_t threads = strtoul(text, NULL, 10);

	if (threads < 1 || threads > THREADS_MAX) {
		fprintf(stderr, "hashzip: %s threads\n", text);
		exit(2);
	}
	return threads;
}

/* ---- process ---- */

/* More bytes than there are begin again at the front; so many pages that no cache helps. */
static void hash_work(struct job *all, size_t index)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned char hash[HASH];
	size_t at;

	(void)index;
	while ((at = take(FRAME)) < all->hash_bytes)
		for (size_t page = at; page < at + FRAME && page < all->hash_bytes;
		     page += PAGE)
			page_hash(all->hash_data + page % all->hash_have, hash, context);
	EVP_MD_CTX_free(context);
}

static void zip_work(struct job *all, size_t index)
{
	ZSTD_CCtx *context = ZSTD_createCCtx();
	size_t bound = ZSTD_compressBound(FRAME), at;
	unsigned char *out = allocate(bound);

	(void)index;
	while ((at = take(FRAME)) < all->zip_bytes) {
		size_t begin = at % all->zip_have, size = FRAME;

		if (size > all->zip_bytes - at)
			size = all->zip_bytes - at;
		if (size > all->zip_have - begin)
			size = all->zip_have - begin;
		size = ZSTD_compressCCtx(context, out, bound, all->zip_data + begin, size,
					 all->level);
		__atomic_fetch_add(&all->zipped, size, __ATOMIC_RELAXED);
	}
	ZSTD_freeCCtx(context);
	free(out);
}

static int process_main(int argc, char *argv[])
{
	size_t threads = threads_of(argv[0]), bytes;
	int64_t hash_ns = 0, zip_ns = 0;
	unsigned char *all;

	job.level = atoi(argv[1]);
	job.hash_bytes = strtoull(argv[2], NULL, 10) / PAGE * PAGE;
	job.zip_bytes = strtoull(argv[3], NULL, 10) / PAGE * PAGE;
	collect(argv + 4, argc - 4);
	if (!found.count) /* nothing differs, nothing to do */
		job.hash_bytes = job.zip_bytes = 0;
	job.zip_data = distinct(&job.zip_have);
	job.hash_have = found.count * PAGE;
	all = allocate(job.hash_have);
	for (size_t i = 0; i < found.count; i++)
		memcpy(all + i * PAGE, found.pages[i].at, PAGE);
	job.hash_data = all;
	/* A warm-up, then what counts. */
	bytes = job.hash_bytes;
	job.hash_bytes = bytes < 8 * FRAME ? bytes : 8 * FRAME;
	run_all(hash_work, threads);
	job.hash_bytes = bytes;
	if (job.hash_bytes)
		hash_ns = run_all(hash_work, threads);
	if (job.zip_bytes)
		zip_ns = run_all(zip_work, threads);
	printf("{\"threads\": %zu, \"level\": %d, \"hash_bytes\": %zu, \"hash_have\": %zu, "
	       "\"hash_ns\": %" PRId64
	       ", \"zip_bytes\": %zu, \"zip_have\": %zu, \"zip_ns\": %" PRId64
	       ", \"zipped_bytes\": %zu, \"total_ns\": %" PRId64 "}\n",
	       threads, job.level, job.hash_bytes, job.hash_have, hash_ns, job.zip_bytes,
	       job.zip_have, zip_ns, job.zipped, hash_ns + zip_ns);
	return 0;
}

/* ---- write ---- */

static void write_work(struct job *all, size_t index)
{
	unsigned char *block = allocate(BLOCK);
	uint64_t x = index * 0x9e3779b97f4a7c15ULL + 1;
	size_t at;

	for (size_t i = 0; i < BLOCK / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		((uint64_t *)block)[i] = x;
	}
	while ((at = take(BLOCK)) < all->end)
		if (pwrite(all->fd, block, BLOCK, (off_t)at) != BLOCK)
			fail("O_DIRECT write");
	free(block);
}

static int write_main(int argc, char *argv[])
{
	size_t threads = threads_of(argv[0]);
	int passes = atoi(argv[2]);
	char path[4096];

	(void)argc;
	job.end = (strtoull(argv[1], NULL, 10) + BLOCK - 1) / BLOCK * BLOCK;
	snprintf(path, sizeof(path), "%s/hashzip.%d", argv[3], (int)getpid());
	job.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600);
	if (job.fd < 0)
		fail(path);
	unlink(path);
	if (posix_fallocate(job.fd, 0, (off_t)job.end) != 0)
		fail("fallocate");
	run_all(write_work, threads); /* blocks that were never written are slower */
	printf("{\"threads\": %zu, \"bytes\": %zu, \"write_ns\": [", threads, job.end);
	for (int pass = 0; pass < passes; pass++)
		printf("%s%" PRId64, pass ? ", " : "", run_all(write_work, threads));
	printf("]}\n");
	return 0;
}

/* ---- differ ---- */

static size_t zip_once(const void *data, size_t size, int level)
{
	size_t bound = ZSTD_compressBound(size);
	void *out = allocate(bound);

	size = ZSTD_compress(out, bound, data, size, level);
	free(out);
	return size;
}

static int differ_main(int argc, char *argv[])
{
	unsigned char *data;
	size_t bytes;

	job.level = atoi(argv[0]);
	collect(argv + 1, argc - 1);
	data = distinct(&bytes);
	job.zip_data = data;
	job.zip_bytes = job.zip_have = bytes;
	if (bytes)
		run_all(zip_work, 1);
	printf("{\"level\": %d, \"nonzero_bytes\": %" PRIu64
	       ", \"differing_bytes\": %zu, \"distinct_bytes\": %zu, \"stream_bytes\": %zu, "
	       "\"frames_bytes\": %zu}\n",
	       job.level, found.nonzero * PAGE, found.count * PAGE, bytes,
	       bytes ? zip_once(data, bytes, job.level) : 0, job.zipped);
	return 0;
}

/* ---- pack and expand ---- */

static int pack_main(int argc, char *argv[])
{
	size_t bytes, bound = ZSTD_compressBound(FRAME), total = 0;
	unsigned char *data, *out = allocate(bound);
	FILE *file = fopen(argv[1], "wb");
	int level = atoi(argv[0]);

	if (!file)
		fail(argv[1]);
	collect(argv + 2, argc - 2);
	data = distinct(&bytes);
	for (size_t at = 0; at < bytes; at += FRAME) {
		size_t size = bytes - at < FRAME ? bytes - at : FRAME;
		uint64_t packed = ZSTD_compress(out, bound, data + at, size, level);

		if (fwrite(&packed, sizeof(packed), 1, file) != 1 ||
		    fwrite(out, packed, 1, file) != 1)
			fail(argv[1]);
		total += packed + sizeof(packed);
	}
	if (fclose(file) != 0)
		fail(argv[1]);
	printf("{\"level\": %d, \"distinct_bytes\": %zu, \"packed_bytes\": %zu}\n", level,
	       bytes, total);
	return 0;
}

static void expand_work(struct job *all, size_t index)
{
	ZSTD_DCtx *context = ZSTD_createDCtx();
	unsigned char *in = allocate(ZSTD_compressBound(FRAME)), *out = allocate(FRAME);
	size_t at;

	(void)index;
	while ((at = take(1)) < all->end) {
		size_t size = all->frames[2 * at + 1];
		void *to = all->target ? all->target + at * FRAME : out;

		if (pread(all->fd, in, size, (off_t)all->frames[2 * at]) != (ssize_t)size ||
		    ZSTD_isError(ZSTD_decompressDCtx(context, to, FRAME, in, size)))
			fail("a frame");
	}
	ZSTD_freeDCtx(context);
	free(in);
	free(out);
}

static void expand_pass(size_t threads, bool fresh, int passes)
{
	printf("[");
	for (int pass = -1; pass < passes; pass++) {
		int64_t ns;

		if (fresh) {
			int fd = memfd_create("expand", MFD_CLOEXEC);

			if (fd < 0 || ftruncate(fd, (off_t)(job.end * FRAME)) < 0)
				fail("memfd");
			job.target = mmap(NULL, job.end * FRAME, PROT_READ | PROT_WRITE,
					  MAP_SHARED, fd, 0);
			if (job.target == MAP_FAILED)
				fail("mmap");
			close(fd);
		}
		ns = run_all(expand_work, threads);
		if (fresh)
			munmap(job.target, job.end * FRAME);
		job.target = NULL;
		if (pass >= 0) /* the first warms the page cache */
			printf("%s%" PRId64, pass ? ", " : "", ns);
	}
	printf("]");
}

static int expand_main(int argc, char *argv[])
{
	size_t threads = threads_of(argv[0]), room = 0;
	int passes = atoi(argv[1]);
	uint64_t *frames = NULL, size;
	off_t at = 0;

	(void)argc;
	job.fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (job.fd < 0)
		fail(argv[2]);
	while (pread(job.fd, &size, sizeof(size), at) == sizeof(size)) {
		if (job.end == room) {
			room = room ? 2 * room : 4096;
			frames = realloc(frames, room * 2 * sizeof(*frames));
			if (!frames)
				fail("memory");
		}
		frames[2 * job.end] = (uint64_t)at + sizeof(size);
		frames[2 * job.end++ + 1] = size;
		at += (off_t)(sizeof(size) + size);
	}
	job.frames = frames;
	printf("{\"threads\": %zu, \"packed_bytes\": %lld, \"scratch_ns\": ", threads,
	       (long long)at);
	expand_pass(threads, false, passes);
	printf(", \"fresh_ns\": ");
	expand_pass(threads, true, passes);
	printf("}\n");
	return 0;
}

int main(int argc, char *argv[])
{
	static const struct {
		const char *name;
		int least;
		int (*run)(int argc, char *argv[]);
	} modes[] = {
		{"process", 5, process_main}, {"write", 4, write_main},
		{"differ", 2, differ_main},   {"pack", 3, pack_main},
		{"expand", 3, expand_main},
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (argc >= 2 + modes[i].least && !strcmp(argv[1], modes[i].name))
			return modes[i].run(argc - 2, argv + 2);
	fprintf(stderr, "Usage: hashzip process|write|differ|pack|expand …, see hashzip.c\n");
	return 2;
}
