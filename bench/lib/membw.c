/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How fast the threads of this machine together read memory: the bound of a capture that looks
 * at every page.
 *
 *   membw MIB THREADS PASSES
 *
 * A memfd, as guests' RAM is one, is mapped shared, populated and filled. In each pass every
 * thread reads its own part once with the widest loads the processor has, and does nothing with
 * it but what keeps the loads from being left out. Prints JSON: bytes per second of each pass.
 */
#include <immintrin.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MAX = 256, PASSES_MAX = 1000, STEP = 512 };

typedef uint64_t (*read_fn)(const unsigned char *from, size_t size);

static struct {
	unsigned char *memory;
	size_t part;
	int passes;
	read_fn read;
	pthread_barrier_t barrier;
} run;

static uint64_t sink[THREADS_MAX * 8]; /* a cache line each */
/* Of the pass: each thread's own, so that it does not matter when main gets its turn. */
static int64_t begins[THREADS_MAX * 8], ends[THREADS_MAX * 8];

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

__attribute__((target("avx512f"))) static uint64_t read_avx512(const unsigned char *from,
							       size_t size)
{
	__m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;

	for (size_t at = 0; at < size; at += STEP) {
		const __m512i *p = (const __m512i *)(from + at);

		a = _mm512_or_si512(a, _mm512_or_si512(p[0], p[1]));
		b = _mm512_or_si512(b, _mm512_or_si512(p[2], p[3]));
		c = _mm512_or_si512(c, _mm512_or_si512(p[4], p[5]));
		d = _mm512_or_si512(d, _mm512_or_si512(p[6], p[7]));
	}
	a = _mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d));
	return (uint64_t)_mm512_reduce_or_epi64(a);
}

__attribute__((target("avx2"))) static uint64_t read_avx2(const unsigned char *from,
							  size_t size)
{
	__m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
	uint64_t words[4];

	for (size_t at = 0; at < size; at += STEP / 2) {
		const __m256i *p = (const __m256i *)(from + at);

		a = _mm256_or_si256(a, _mm256_or_si256(p[0], p[1]));
		b = _mm256_or_si256(b, _mm256_or_si256(p[2], p[3]));
		c = _mm256_or_si256(c, _mm256_or_si256(p[4], p[5]));
		d = _mm256_or_si256(d, _mm256_or_si256(p[6], p[7]));
	}
	a = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
	memcpy(words, &a, sizeof(words));
	return words[0] | words[1] | words[2] | words[3];
}

static uint64_t read_words(const unsigned char *from, size_t size)
{
	const uint64_t *words = (const uint64_t *)from;
	uint64_t a = 0, b = 0, c = 0, d = 0;

	for (size_t at = 0; at < size / 8; at += 4) {
		a |= words[at];
		b |= words[at + 1];
		c |= words[at + 2];
		d |= words[at + 3];
	}
	return a | b | c | d;
}

static void *reader(void *arg)
{
	size_t index = (size_t)arg;
	unsigned char *mine = run.memory + index * run.part;

	/* Not zeros, and each page its own, on the thread's own node. */
	for (size_t at = 0; at < run.part; at += 8)
		*(uint64_t *)(mine + at) = (at + 1) * 0x9e3779b97f4a7c15ULL;
	for (int pass = 0; pass < run.passes; pass++) {
		pthread_barrier_wait(&run.barrier);
		begins[index * 8] = now_ns();
		sink[index * 8] |= run.read(mine, run.part);
		ends[index * 8] = now_ns();
		pthread_barrier_wait(&run.barrier);
	}
	return NULL;
}

int main(int argc, char *argv[])
{
	static const char *widths[] = {"64", "256", "512"};
	size_t mib = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
	size_t threads = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
	int width = 0, fd;
	pthread_t ids[THREADS_MAX];
	size_t bytes;

	run.passes = argc == 4 ? atoi(argv[3]) : 0;
	if (mib < 1 || threads < 1 || threads > THREADS_MAX || run.passes < 1 ||
	    run.passes > PASSES_MAX) {
		fprintf(stderr, "Usage: membw MIB THREADS PASSES\n");
		return 2;
	}
	run.part = (mib << 20) / threads / 4096 * 4096;
	bytes = run.part * threads;
	run.read = read_words;
	if (__builtin_cpu_supports("avx2")) {
		run.read = read_avx2;
		width = 1;
	}
	if (__builtin_cpu_supports("avx512f")) {
		run.read = read_avx512;
		width = 2;
	}
	fd = memfd_create("membw", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0) {
		perror("membw: memfd");
		return 1;
	}
	run.memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (run.memory == MAP_FAILED) {
		perror("membw: mmap");
		return 1;
	}
	pthread_barrier_init(&run.barrier, NULL, (unsigned int)threads + 1);
	for (size_t i = 0; i < threads; i++) {
		if (pthread_create(&ids[i], NULL, reader, (void *)i)) {
			fprintf(stderr, "membw: no threads\n");
			return 1;
		}
	}
	printf("{\"bytes\": %zu, \"threads\": %zu, \"width\": %s, \"bytes_per_s\": [", bytes,
	       threads, widths[width]);
	for (int pass = 0; pass < run.passes; pass++) {
		int64_t begin = INT64_MAX, end = 0;

		pthread_barrier_wait(&run.barrier);
		pthread_barrier_wait(&run.barrier);
		for (size_t i = 0; i < threads; i++) {
			begin = begins[i * 8] < begin ? begins[i * 8] : begin;
			end = ends[i * 8] > end ? ends[i * 8] : end;
		}
		/* Nobody begins the next pass before all are at the barrier, main too. */
		printf("%s%.0f", pass ? ", " : "", (double)bytes * 1e9 / (double)(end - begin));
	}
	printf("]}\n");
	for (size_t i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	return sink[0] == 42; /* never, but the compiler does not know */
}
