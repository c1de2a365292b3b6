/* SPDX-License-Identifier: BSD-3-Clause */
/* The agent's virtio-serial port: opened without blocking, read in frames, queued writes. */
#include "agent/port.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

/*
 * While no host is connected, poll(2) on a virtio port reports POLLHUP and POLLIN without end
 * and read(2) returns 0. The port is therefore watched edge-triggered: the kernel wakes its
 * waiters when a host comes or goes. The descriptor stays open over a checkpoint and a restore,
 * where another QEMU takes the other end. A tick once a second guards against an edge that a
 * hypervisor might lose. A socket (tests) is different: its end is final, and a new one is
 * connected.
 */
#define PORT_NAME "stasis.agent.0"
#define UDEV_PATH "/dev/virtio-ports/" PORT_NAME
#define PORTS_DIR "/sys/class/virtio-ports"

enum {
	READ_BYTES = 32 << 10, /* as much as the driver takes at once */
	QUEUE_BYTES = 1 << 20, /* above this, requests are left unread until the host reads */
	RETRY_MIN_MS = 20,
	RETRY_MAX_MS = 1000,
	TICK_MS = 1000,
};

struct port_chunk {
	struct port_chunk *next;
	size_t len;
	char *bytes;
};

static void chunk_destroy(struct port_chunk *chunk)
{
	if (!chunk)
		return;
	free(chunk->bytes);
	free(chunk);
}

static void port_ready(struct agent *agent, struct watch *watch, uint32_t events)
{
	(void)watch;
	(void)events;
	agent->port.readable = true;
}

int port_create(struct port *port, const char *path, struct err *err)
{
	*port = (struct port){
		.watch = {.fd = -1, .ready = port_ready},
		.path = path,
		.cut = true,
		.retry_ms = RETRY_MIN_MS,
		.decoder = rpc_decoder_create(RPC_AGENT_FRAME_MAX, true),
	};
	if (!port->decoder)
		return err_set(err, ENOMEM, "no memory for the port");
	return 0;
}

/* Forget queued messages; with `keep_begun`, all but one that is written in part. */
static void port_drop(struct port *port, bool keep_begun)
{
	struct port_chunk *kept = keep_begun && port->head_done ? port->head : NULL;
	struct port_chunk *chunk = kept ? kept->next : port->head;

	while (chunk) {
		struct port_chunk *next = chunk->next;

		chunk_destroy(chunk);
		chunk = next;
	}
	port->head = kept;
	port->tail = kept;
	if (kept) {
		kept->next = NULL;
		port->queued_bytes = kept->len - port->head_done;
		return;
	}
	port->cut = port->cut || port->head_done;
	port->head_done = 0;
	port->queued_bytes = 0;
}

void port_destroy(struct port *port)
{
	port_drop(port, false);
	watch_close(&port->watch);
	rpc_decoder_destroy(port->decoder);
}

/* The device of the port with our name; its path goes to buf. */
static int port_find(char *buf, size_t size, struct err *err)
{
	CLEANUP_CLOSEDIR DIR *dir = NULL;
	const struct dirent *entry;

	if (access(UDEV_PATH, F_OK) == 0)
		return io_path(buf, size, err, "%s", UDEV_PATH);
	dir = opendir(PORTS_DIR);
	while (dir && (entry = readdir(dir))) {
		CLEANUP_FREE char *name = NULL;
		char path[IO_PATH_MAX];
		size_t len = 0;

		if (entry->d_name[0] == '.' ||
		    io_path(path, sizeof(path), NULL, PORTS_DIR "/%s/name", entry->d_name) <
			    0 ||
		    io_read_file(path, 256, &name, &len, NULL) < 0)
			continue;
		name[strcspn(name, "\n")] = '\0';
		if (strcmp(name, PORT_NAME) == 0)
			return io_path(buf, size, err, "/dev/%s", entry->d_name);
	}
	return err_set(err, ENOENT, "there is no virtio port " PORT_NAME);
}

static int socket_open(const char *path, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	CLEANUP_CLOSE int fd = -1;

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, ENAMETOOLONG, "the socket's path is too long: %s", path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_sys(err, errno, "cannot connect to %s", path);
	return TAKE_FD(fd);
}

static int port_open(struct agent *agent, struct err *err)
{
	struct port *port = &agent->port;
	char path[IO_PATH_MAX];
	struct stat st;
	int fd;
	int rc;

	rc = port->path ? io_path(path, sizeof(path), err, "%s", port->path)
			: port_find(path, sizeof(path), err);
	if (rc < 0)
		return rc;
	if (stat(path, &st) < 0)
		return err_sys(err, errno, "cannot find the port %s", path);
	port->is_socket = S_ISSOCK(st.st_mode);
	if (port->is_socket) {
		fd = socket_open(path, err);
	} else {
		fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
		if (fd < 0)
			fd = err_sys(err, errno, "cannot open the port %s", path);
	}
	if (fd < 0)
		return fd;
	port->watch.fd = fd;
	rc = watch_add(agent->epoll_fd, &port->watch, EPOLLIN | EPOLLOUT | EPOLLET, err);
	if (rc < 0)
		watch_close(&port->watch);
	return rc;
}

/* The host is gone: nothing that was queued or half received means anything to the next one. */
static void port_disconnected(struct agent *agent, bool close_it)
{
	struct port *port = &agent->port;

	session_end(agent);
	port_drop(port, false);
	rpc_decoder_hunt(port->decoder);
	port->readable = false;
	port->retry_ns = deadline_in_ms(close_it ? port->retry_ms : TICK_MS);
	if (close_it)
		watch_close(&port->watch);
}

/*
 * The host may not see that an agent has died and another has come, and wait for answers that
 * nobody will give: tell it, behind whatever half of a frame it holds.
 */
static void port_announce(struct agent *agent)
{
	json_t *hello = json_pack("{s:s,s:s}", "event", "hello", "nonce", "");

	port_begin_session(&agent->port);
	if (hello)
		port_send(agent, hello, NULL, 0, NULL);
	json_decref(hello);
}

static void port_open_if_due(struct agent *agent)
{
	struct port *port = &agent->port;
	struct err err = ERR_INIT;

	if (clock_mono_ns() < port->retry_ns)
		return;
	if (port_open(agent, &err) < 0) {
		if (port->retry_ms == RETRY_MIN_MS)
			log_warn("%s", err.msg);
		port->retry_ns = deadline_in_ms(port->retry_ms);
		port->retry_ms =
			port->retry_ms * 2 < RETRY_MAX_MS ? port->retry_ms * 2 : RETRY_MAX_MS;
		return;
	}
	port->retry_ms = RETRY_MIN_MS;
	port->cut = true;
	port->readable = true;
	if (!port->is_socket)
		port_announce(agent);
}

static void port_flush(struct agent *agent)
{
	struct port *port = &agent->port;

	while (port->head) {
		struct port_chunk *chunk = port->head;
		ssize_t n = write(port->watch.fd, chunk->bytes + port->head_done,
				  chunk->len - port->head_done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			port_disconnected(agent, true);
			return;
		}
		port->head_done += (size_t)n;
		port->queued_bytes -= (size_t)n;
		if (port->head_done < chunk->len)
			continue;
		port->head = chunk->next;
		if (!port->head)
			port->tail = NULL;
		port->head_done = 0;
		chunk_destroy(chunk);
	}
}

static void port_deliver(struct agent *agent, const char *bytes, size_t len)
{
	struct port *port = &agent->port;
	struct err err = ERR_INIT;
	struct rpc_msg msg;
	int rc;

	rc = rpc_decoder_feed(port->decoder, bytes, len, &err);
	while (rc >= 0) {
		rc = rpc_decoder_next(port->decoder, &msg, &err);
		if (rc == 0)
			return;
		if (rc > 0) {
			session_message(agent, &msg);
			rpc_msg_clear(&msg);
		}
	}
	log_error("%s", err.msg);
	rpc_decoder_hunt(port->decoder);
}

static void port_read(struct agent *agent)
{
	struct port *port = &agent->port;
	static char buf[READ_BYTES];
	ssize_t n;

	n = read(port->watch.fd, buf, sizeof(buf));
	if (n > 0)
		port_deliver(agent, buf, (size_t)n);
	else if (n == 0)
		port_disconnected(agent, port->is_socket);
	else if (errno == EAGAIN)
		port->readable = false;
	else if (errno != EINTR)
		port_disconnected(agent, true);
}

void port_work(struct agent *agent)
{
	struct port *port = &agent->port;

	if (port->watch.fd < 0)
		port_open_if_due(agent);
	if (port->watch.fd >= 0)
		port_flush(agent);
	if (port->watch.fd < 0)
		return;
	if (clock_mono_ns() >= port->retry_ns) {
		port->retry_ns = deadline_in_ms(TICK_MS);
		port->readable = true;
	}
	if (port->readable && port_has_room(port))
		port_read(agent);
	if (port->watch.fd >= 0)
		port_flush(agent);
}

int port_timeout_ms(const struct port *port)
{
	if (port->watch.fd >= 0 && port->readable && port_has_room(port))
		return 0;
	return deadline_left_ms(port->retry_ns);
}

static int port_queue(struct port *port, char *bytes, size_t len)
{
	struct port_chunk *chunk = bytes ? malloc(sizeof(*chunk)) : NULL;

	if (!chunk) {
		free(bytes);
		return -ENOMEM;
	}
	*chunk = (struct port_chunk){.bytes = bytes, .len = len};
	if (port->tail)
		port->tail->next = chunk;
	else
		port->head = chunk;
	port->tail = chunk;
	port->queued_bytes += len;
	return 0;
}

int port_send(struct agent *agent, const json_t *json, const void *blob, size_t blob_len,
	      struct err *err)
{
	char *bytes = NULL;
	size_t len = 0;
	int rc;

	rc = rpc_encode(json, blob, blob_len, RPC_AGENT_FRAME_MAX, &bytes, &len, err);
	if (rc == 0 && port_queue(&agent->port, bytes, len) < 0)
		rc = err_set(err, ENOMEM, "no memory for a reply");
	return rc;
}

void port_begin_session(struct port *port)
{
	port_drop(port, true);
	if (port->cut &&
	    port_queue(port, calloc(1, RPC_AGENT_FRAME_MAX), RPC_AGENT_FRAME_MAX) == 0)
		port->cut = false;
}

bool port_has_room(const struct port *port)
{
	return port->queued_bytes < QUEUE_BYTES;
}
