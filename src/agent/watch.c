/* SPDX-License-Identifier: BSD-3-Clause */
/* Registration of descriptors with the agent's event loop. */
#include "agent/watch.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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

int watch_listen(int epoll_fd, struct watch *watch, const char *path, int type, mode_t mode,
		 struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, ENAMETOOLONG, "the socket's path is too long: %s", path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	unlink(path);
	watch->fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (watch->fd < 0 || bind(watch->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    chmod(path, mode) < 0 || listen(watch->fd, SOMAXCONN) < 0)
		return err_sys(err, errno, "cannot listen on %s", path);
	return watch_add(epoll_fd, watch, EPOLLIN, err);
}
