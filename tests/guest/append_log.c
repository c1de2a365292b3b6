/* SPDX-License-Identifier: BSD-3-Clause */
/* Appends numbered, fsynced records to a file and acknowledges each: after any rollback the
 * file has no gap and no repeat. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
	struct timespec tick = {.tv_nsec = 10000000};
	char record[64];
	int fd;

	if (argc != 2)
		return 2;
	fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned long number = 0;; number++) {
		int len = snprintf(record, sizeof(record), "record %lu\n", number);

		if (write(fd, record, (size_t)len) != len || fsync(fd) < 0) {
			perror("write");
			return 1;
		}
		printf("%lu\n", number);
		nanosleep(&tick, NULL);
	}
}
