/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A checksummed TCP stream between two guests: `tcp_stream listen PORT` checks what `tcp_stream
 * send ADDRESS PORT` derives from each word's position, so that a byte lost, doubled or torn
 * shows. Both say how far they are.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 1024, REPORT_WORDS = 64 * WORDS };

/* The word at a position of the stream (splitmix64). */
static uint64_t word_at(uint64_t position)
{
	uint64_t z = (position + 1) * 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static int do_send(const char *address, int port)
{
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct timespec tick = {.tv_nsec = 2000000};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	uint64_t block[WORDS], position = 0;

	inet_pton(AF_INET, address, &peer.sin_addr);
	if (connect(fd, (struct sockaddr *)&peer, sizeof(peer)) < 0) {
		perror("connect");
		return 1;
	}
	for (;;) {
		size_t done = 0;

		for (int i = 0; i < WORDS; i++)
			block[i] = word_at(position++);
		while (done < sizeof(block)) {
			ssize_t n = send(fd, (char *)block + done, sizeof(block) - done,
					 MSG_NOSIGNAL);

			if (n < 0) {
				perror("send");
				return 1;
			}
			done += (size_t)n;
		}
		nanosleep(&tick, NULL);
		if (position % REPORT_WORDS == 0)
			printf("sent %llu\n", (unsigned long long)position);
	}
}

static int do_listen(int port)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int on = 1, fd, listener = socket(AF_INET, SOCK_STREAM, 0);
	uint64_t word, position = 0;
	FILE *stream;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&own, sizeof(own)) < 0 ||
	    listen(listener, 1) < 0) {
		perror("listen");
		return 1;
	}
	printf("listening\n");
	fd = accept(listener, NULL, NULL);
	stream = fd < 0 ? NULL : fdopen(fd, "r");
	if (!stream) {
		perror("accept");
		return 1;
	}
	while (fread(&word, sizeof(word), 1, stream) == 1) {
		if (word != word_at(position)) {
			printf("wrong at word %llu\n", (unsigned long long)position);
			return 2;
		}
		position++;
		if (position % REPORT_WORDS == 0)
			printf("checked %llu\n", (unsigned long long)position);
	}
	printf("the stream ended at word %llu\n", (unsigned long long)position);
	return 1;
}

int main(int argc, char *argv[])
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && !strcmp(argv[1], "listen"))
		return do_listen(atoi(argv[2]));
	if (argc == 4 && !strcmp(argv[1], "send"))
		return do_send(argv[2], atoi(argv[3]));
	fprintf(stderr, "usage: tcp_stream listen PORT | send ADDRESS PORT\n");
	return 2;
}
