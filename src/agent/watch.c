/* SPDX-License-Identifier: BSD-3-Clause */
/* Registration of descriptors with the agent's event loop. */
#include "agent/watch.h"

#include <errno.h>
#include <unistd.h>

int watch_add(int epoll_fd, struct watch *watch, uint32_t events, struct err *err)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) < 0)
		return err_sys(err, errno, "cannot watch a descriptor");
	return 0;
}

void watch_close(struct watch *watch)
{
	if (watch->fd >= 0)
		close(watch->fd);
	watch->fd = -1;
}
