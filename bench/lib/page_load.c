/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest's load: holds so much memory with contents of its own and rewrites so many MiB of it
 * each second, in pages spread at random.
 *
 *   page_load MIB DIRTY_MIB_PER_S
 *
 * Half of a page is random, so that it compresses as real data do, to about a half. Each
 * page's two ends hold what the page and its generation say; a page is checked before it is
 * rewritten. Prints, as memory_counter does, a random number that only this process knows, and
 * a count that goes on, and the MiB that were rewritten so far; "corrupt" when memory is not
 * what was written.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

enum { PAGE = 4096, WORDS = PAGE / 8, TICKS = 50, TICK_NS = 1000000000 / TICKS };

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static void page_write(uint64_t *page, uint64_t seed)
{
	uint64_t x = seed | 1;

	for (int i = 0; i < WORDS / 2; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		page[i] = x;
	}
	page[0] = page[WORDS - 1] = seed;
}

int main(int argc, char *argv[])
{
	size_t pages = (size_t)(argc > 2 ? atoi(argv[1]) : 0) << 8;
	size_t rate = (size_t)(argc > 2 ? atoi(argv[2]) : 0) << 8; /* pages a second */
	struct timespec next, now;
	unsigned char *memory = pages ? aligned_alloc(PAGE, pages * PAGE) : NULL;
	uint32_t *generation = pages ? calloc(pages, sizeof(*generation)) : NULL;
	uint64_t number, random = 88172645463325252ULL, written = 0;

	if (!memory || !generation || getrandom(&number, sizeof(number), 0) != sizeof(number))
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t at = 0; at < pages; at++) {
		uint64_t *page = (uint64_t *)(memory + at * PAGE);

		page_write(page, mix(number + at));
		for (int i = WORDS / 2; i < WORDS - 1; i++)
			page[i] = 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (uint64_t tick = 0;; tick++) {
		for (size_t i = 0; i < rate / TICKS; i++) {
			uint64_t *page;
			size_t at;

			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			at = random % pages;
			page = (uint64_t *)(memory + at * PAGE);
			if (page[0] != mix(number + at + ((uint64_t)generation[at] << 32)) ||
			    page[WORDS - 1] != page[0]) {
				printf("corrupt %zu\n", at);
				return 2;
			}
			generation[at]++;
			page_write(page, mix(number + at + ((uint64_t)generation[at] << 32)));
			written++;
		}
		if (tick % (TICKS / 5) == 0)
			printf("%016llx %llu %llu\n", (unsigned long long)number,
			       (unsigned long long)tick, (unsigned long long)(written >> 8));
		/* Not so fast as asked: then without a rest, but never to catch up. */
		next.tv_nsec += TICK_NS;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec > next.tv_sec ||
		    (now.tv_sec == next.tv_sec && now.tv_nsec > next.tv_nsec))
			next = now;
		else
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
}
