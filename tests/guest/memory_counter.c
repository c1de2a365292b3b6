/* SPDX-License-Identifier: BSD-3-Clause */
/* Keeps a random number and a counter in memory only and shows both: a restored process goes
 * on, a new one would not. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

int main(int argc, char *argv[])
{
	/* Memory beyond the counter that changes all the time, in MiB. */
	size_t bytes = (size_t)(argc > 1 ? atoi(argv[1]) : 1) << 20;
	struct timespec tick = {.tv_nsec = 20000000};
	unsigned char *memory = malloc(bytes);
	uint64_t number;

	if (!memory || getrandom(&number, sizeof(number), 0) != sizeof(number))
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (uint64_t count = 0;; count++) {
		for (size_t at = 0; at < bytes; at += 4096)
			memory[at] = (unsigned char)(count + at / 4096);
		nanosleep(&tick, NULL);
		for (size_t at = 0; at < bytes; at += 4096) {
			if (memory[at] == (unsigned char)(count + at / 4096))
				continue;
			printf("corrupt %zu\n", at);
			return 2;
		}
		printf("%016llx %llu\n", (unsigned long long)number, (unsigned long long)count);
	}
}
