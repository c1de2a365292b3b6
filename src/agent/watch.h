/* SPDX-License-Identifier: BSD-3-Clause */
/* A descriptor that the agent's event loop watches. */
#ifndef STASIS_AGENT_WATCH_H
#define STASIS_AGENT_WATCH_H

#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

#include "base/err.h"

struct agent;
struct watch;

/* `events` are epoll's. The loop takes one event at a time, so a watch may be freed by its own
 * function. */
typedef void (*watch_fn)(struct agent *agent, struct watch *watch, uint32_t events);

struct watch {
	int fd; /* -1: none */
	watch_fn ready;
};

/* Begin to watch watch->fd. Closing the descriptor ends it. */
int watch_add(int epoll_fd, struct watch *watch, uint32_t events, struct err *err);
void watch_close(struct watch *watch);

/* Listen on the unix socket `path`, of a type (SOCK_STREAM, …) and with permissions, in place
 * of one that an earlier agent may have left. */
int watch_listen(int epoll_fd, struct watch *watch, const char *path, int type, mode_t mode,
		 struct err *err);

#endif
