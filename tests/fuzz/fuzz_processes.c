/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: what processes of a guest tell its agent; input is a row of actions, each a
 * byte: an order to all, or the next packet of one of two processes (its length in two bytes).
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/agent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PROCESSES = 2, ORDER = 0x80, DEADLINE_MS = 60000 };

static struct agent agent;
static char path[64];
static int orders_done;

static void cleanup(void)
{
	unlink(path);
}

static void start(void)
{
	if (agent.epoll_fd > 0)
		return;
	snprintf(path, sizeof(path), "/tmp/fuzz-processes-%d.sock", (int)getpid());
	agent.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (agent.epoll_fd < 0 || processes_open(&agent, path, NULL) < 0)
		abort();
	atexit(cleanup);
}

/* Everything that is there is taken. */
static void turn(void)
{
	struct epoll_event event;

	while (epoll_wait(agent.epoll_fd, &event, 1, 0) == 1) {
		struct watch *watch = event.data.ptr;

		watch->ready(&agent, watch, event.events);
	}
}

static int join(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		abort();
	turn();
	return fd;
}

static void order_done(struct agent *which, const struct processes_outcome *outcome)
{
	if (which != &agent || (outcome->rc < 0 && outcome->err.msg[0] == '\0'))
		abort();
	orders_done++;
}

static void check_cards(void)
{
	json_t *cards = processes_cards(&agent.processes);

	if (!cards || processes_greeted(&agent.processes) > PROCESSES ||
	    processes_state(&agent.processes) >= CONTROL_STATES)
		abort();
	json_decref(cards);
}

/* The bytes of a packet; what the process itself has to read is thrown away. */
static size_t packet(int fd, const uint8_t *data, size_t size)
{
	size_t len = size >= 2 ? (size_t)data[0] | (size_t)data[1] << 8 : 0;
	char orders[256];

	if (size < 2)
		return size;
	if (len > size - 2)
		len = size - 2;
	send(fd, data + 2, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	turn();
	while (recv(fd, orders, sizeof(orders), MSG_DONTWAIT) > 0)
		;
	return 2 + len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fds[PROCESSES], given = 0;

	start();
	orders_done = 0;
	agent.processes.serial = 0; /* as reports in the corpus say */
	for (int i = 0; i < PROCESSES; i++)
		fds[i] = join();
	for (size_t at = 0; at < size;) {
		uint8_t action = data[at++];

		if (action & ORDER)
			given += processes_order(
					 &agent,
					 (enum control_kind)((action & 0x7f) % CONTROL_KINDS),
					 DEADLINE_MS, order_done, NULL) == 0;
		else
			at += packet(fds[action % PROCESSES], data + at, size - at);
		turn();
		check_cards();
	}
	for (int i = 0; i < PROCESSES; i++)
		close(fds[i]);
	turn();
	if (agent.processes.first || agent.processes.done || orders_done != given)
		abort();
	cards_clear(&agent.processes.cards);
	return 0;
}
