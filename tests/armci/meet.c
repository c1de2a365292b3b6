/* SPDX-License-Identifier: BSD-3-Clause */
/* How the processes of a test meet: all-gather over TCP through rank 0, on one machine or
 * several. */
#include "meet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static _Noreturn void give_up(const struct meet *meet, const char *what)
{
	fprintf(stderr, "rank %d: %s: %s\n", meet->rank, what, strerror(errno));
	_exit(1);
}

static void wait_fd(const struct meet *meet, int fd, short events, int64_t deadline)
{
	struct pollfd wait = {.fd = fd, .events = events};
	int n;

	do
		n = poll(&wait, 1, deadline_left_ms(deadline));
	while (n < 0 && errno == EINTR);
	if (n == 0)
		errno = ETIMEDOUT;
	if (n <= 0)
		give_up(meet, "waiting for the other ranks");
}

static void send_all(const struct meet *meet, int fd, const void *data, size_t bytes)
{
	const char *at = data;

	while (bytes) {
		ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			give_up(meet, "telling another rank");
		at += n;
		bytes -= (size_t)n;
	}
}

static void receive_all(const struct meet *meet, int fd, void *data, size_t bytes)
{
	int64_t deadline = deadline_in_ms(MEET_SECONDS * 1000);
	char *at = data;

	while (bytes) {
		ssize_t n;

		wait_fd(meet, fd, POLLIN, deadline);
		n = recv(fd, at, bytes, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ECONNRESET;
		if (n <= 0)
			give_up(meet, "hearing from another rank");
		at += n;
		bytes -= (size_t)n;
	}
}

int meet_listen(uint16_t port, uint16_t *ret_port)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
	socklen_t len = sizeof(name);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 ||
	    listen(fd, MEET_RANKS_MAX) < 0 ||
	    getsockname(fd, (struct sockaddr *)&name, &len) < 0) {
		perror("listening for the other ranks");
		exit(1);
	}
	*ret_port = ntohs(name.sin_port);
	return fd;
}

/* Rank 0 may not listen yet: try until the deadline. */
static int connect_to(const struct meet *meet, const char *host, uint16_t port)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
	int64_t deadline = deadline_in_ms(MEET_SECONDS * 1000);
	char service[8];

	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(host, service, &hints, &found) != 0) {
		errno = ENOENT;
		give_up(meet, host);
	}
	for (;;) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0)
			give_up(meet, "socket");
		if (connect(fd, found->ai_addr, found->ai_addrlen) == 0) {
			freeaddrinfo(found);
			return fd;
		}
		close(fd);
		if (deadline_left_ms(deadline) == 0)
			give_up(meet, "connecting to rank 0");
		nanosleep(&(struct timespec){.tv_nsec = 50 * NS_PER_MS}, NULL);
	}
}

static void no_delay(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void meet_open(struct meet *meet, int rank, int size, int listener, const char *host,
	       uint16_t port)
{
	uint32_t number = (uint32_t)rank;

	*meet = (struct meet){.rank = rank, .size = size};
	if (rank > 0) {
		meet->fds[0] = connect_to(meet, host, port);
		no_delay(meet->fds[0]);
		send_all(meet, meet->fds[0], &number, sizeof(number));
		return;
	}
	for (int i = 1; i < size; i++) {
		int fd;

		wait_fd(meet, listener, POLLIN, deadline_in_ms(MEET_SECONDS * 1000));
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			give_up(meet, "accepting a rank");
		no_delay(fd);
		receive_all(meet, fd, &number, sizeof(number));
		if (number == 0 || number >= (uint32_t)size || meet->fds[number]) {
			fprintf(stderr, "rank %u came twice or is none of %d\n", number, size);
			exit(1);
		}
		meet->fds[number] = fd;
	}
	close(listener);
}

void meet_close(struct meet *meet)
{
	for (int i = 0; i < meet->size; i++)
		if (meet->fds[i])
			close(meet->fds[i]);
	meet->size = 0;
}

void meet_gather(struct meet *meet, const void *mine, size_t bytes, void *all)
{
	char *at = all;

	if (meet->rank > 0) {
		send_all(meet, meet->fds[0], mine, bytes);
		receive_all(meet, meet->fds[0], all, bytes * (size_t)meet->size);
		return;
	}
	memcpy(at, mine, bytes);
	for (int i = 1; i < meet->size; i++)
		receive_all(meet, meet->fds[i], at + (size_t)i * bytes, bytes);
	for (int i = 1; i < meet->size; i++)
		send_all(meet, meet->fds[i], all, bytes * (size_t)meet->size);
}

void meet_barrier(struct meet *meet)
{
	char all[MEET_RANKS_MAX], mine = 0;

	meet_gather(meet, &mine, 1, all);
}

void meet_drop_last(struct meet *meet)
{
	meet->size--;
	if (meet->rank == 0) {
		close(meet->fds[meet->size]);
		meet->fds[meet->size] = 0;
	}
}
