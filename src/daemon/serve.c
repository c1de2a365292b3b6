/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disk layers that are served out of the store to VMs which run already.
 *
 * One nbdkit with our plugin (src/nbd/) serves the layers of a cluster, in a process of its
 * own: it outlives the daemon, as the VMs do. QEMU copies the layers into the VMs' disks
 * meanwhile; a thread looks once a second how far it is, as a short operation of the cluster,
 * and ends the server when all is copied. The record says which nodes are served, so that the
 * next daemon goes on.
 */
#include "daemon/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/paths.h"
#include "daemon/loop.h"
#include "daemon/process.h"
#include "vm/proc/proc.h"

enum { START_MS = 20000, START_POLL_MS = 5, WATCH_MS = 1000, ARG_MAX_BYTES = IO_PATH_MAX + 16 };

/* Below that a disk is filled before its VM starts: that takes less than serving it. */
#define SERVE_BYTES_MIN (64ULL << 20)

bool serve_wanted(const struct stream_ref *disk)
{
	return disk->data_bytes > SERVE_BYTES_MIN;
}

static int socket_path(const struct cluster *cluster, char *ret_path, size_t size,
		       struct err *err)
{
	return io_path(ret_path, size, err, "%s/disks.sock", cluster->run_dir);
}

/* 0 when the server takes connections, else why not: -ECONNREFUSED when it has ended. */
static int server_ask(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path); /* its length was looked at */
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

static void pause_ms(int ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS};

	nanosleep(&pause, NULL);
}

/* What the server said last, if it ended instead of answering. */
static int server_failed(const char *log_path, struct err *err)
{
	char said[512];

	proc_log_tail(log_path, 3, said, sizeof(said));
	return err_set(err, EIO, "the server of disk layers did not start: %s",
		       said[0] ? said : "it said nothing");
}

/* The socket is there before the server leaves for the background; one that ended there
 * refuses. */
static int server_await(const char *path, const char *log_path, pid_t pid, struct err *err)
{
	int64_t deadline_ns = deadline_in_ms(START_MS);
	uint64_t start_time;
	int rc = -ENOENT;

	while ((rc = server_ask(path)) < 0) {
		bool begun = proc_start_time(pid, &start_time, NULL) == 0;

		if ((!begun && rc != -EAGAIN) || deadline_left_ms(deadline_ns) == 0)
			break;
		pause_ms(START_POLL_MS);
	}
	proc_reap(pid);
	return rc < 0 ? server_failed(log_path, err) : 0;
}

static int server_spawn(const char *socket, const char *log_path, const char *checkpoint,
			pid_t *ret_pid, struct err *err)
{
	const struct store_config *config = &the_daemon.store_config;
	char plugin[IO_PATH_MAX], location[ARG_MAX_BYTES], of[ARG_MAX_BYTES],
		key[ARG_MAX_BYTES];
	const char *argv[] = {"nbdkit", "--log=stderr", "--readonly", "--threads=4",
			      "--unix", socket,         plugin,       location,
			      of,       NULL,           NULL};
	CLEANUP_CLOSE int log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	const struct proc_fd fds[] = {{log, 1}, {log, 2}};
	int rc = paths_program("stasis-nbdkit-plugin.so", plugin, sizeof(plugin), err);

	if (rc < 0)
		return rc;
	if (log < 0)
		return err_sys(err, errno, "cannot make %s", log_path);
	snprintf(location, sizeof(location), "location=%s", config->location);
	snprintf(of, sizeof(of), "checkpoint=%s", checkpoint);
	if (config->key_file || config->key_command) {
		snprintf(key, sizeof(key), "%s=%s",
			 config->key_file ? "key-file" : "key-command",
			 config->key_file ? config->key_file : config->key_command);
		argv[9] = key;
	}
	return proc_spawn((char *const *)(uintptr_t)argv, fds, 2, ret_pid, err);
}

int serve_start(struct cluster *cluster, const char *checkpoint, struct err *err)
{
	char socket[IO_PATH_MAX], log_path[IO_PATH_MAX];
	pid_t pid;
	int rc = socket_path(cluster, socket, sizeof(socket), err);

	if (rc == 0)
		rc = io_path(log_path, sizeof(log_path), err, "%s/disks.log", cluster->dir);
	if (rc < 0 || server_ask(socket) == 0)
		return rc;
	unlink(socket);
	rc = io_mkdir_all(cluster->run_dir, 0700, err);
	if (rc == 0)
		rc = server_spawn(socket, log_path, checkpoint, &pid, err);
	return rc < 0 ? rc : server_await(socket, log_path, pid, err);
}

void serve_node(struct node *node, const struct stream_ref *disk)
{
	struct vm_served *served = &node->config.served;
	char root[2 * CHUNK_ID_BYTES + 1];

	hex_encode(disk->root.bytes, sizeof(disk->root.bytes), root);
	pthread_mutex_lock(&the_daemon.lock);
	*served = (struct vm_served){0};
	if (socket_path(node->cluster, served->socket, sizeof(served->socket), NULL) < 0)
		served->socket[0] = '\0';
	snprintf(served->export_name, sizeof(served->export_name), "%s-%" PRIu64 "-%" PRIu64,
		 root, disk->logical_bytes, disk->data_bytes);
	pthread_mutex_unlock(&the_daemon.lock);
}

static bool cluster_served(const struct cluster *cluster)
{
	for (unsigned int i = 0; i < cluster->spec.vms; i++)
		if (cluster->nodes[i].config.served.socket[0])
			return true;
	return false;
}

/* One look at a node. What is not going on is begun, or, if it failed, begun again: then the
 * server may have died, and is started again, too. */
static void node_look(struct node *node)
{
	struct err err = ERR_INIT;
	struct disk_fill fill = {0};
	int rc;

	if (!node->config.served.socket[0] || !node->vm || !vm_alive(node->vm))
		return;
	rc = vm_disk_fill_state(node->vm, &fill, &err);
	if (rc == 0 && !fill.ended && (!fill.going_on || fill.vm_stopped)) {
		rc = serve_start(node->cluster, node->cluster->last_checkpoint, &err);
		if (rc == 0)
			rc = vm_disk_fill_begin(node->vm, 0, &err);
	}
	if (rc < 0) {
		log_warn("cluster=%s vm=%s %s", node->cluster->spec.name, node->config.name,
			 err.msg);
		return;
	}
	if (!fill.ended)
		return;
	log_info("cluster=%s vm=%s has all of its disk", node->cluster->spec.name,
		 node->config.name);
	pthread_mutex_lock(&the_daemon.lock);
	node->config.served.socket[0] = '\0';
	pthread_mutex_unlock(&the_daemon.lock);
}

/* Operation held: look at all; true when nothing is left to do. */
static bool cluster_look(struct cluster *cluster)
{
	char socket[IO_PATH_MAX];

	for (unsigned int i = 0; i < cluster->spec.vms; i++)
		node_look(&cluster->nodes[i]);
	if (cluster_alive(cluster) > 0 && cluster_served(cluster))
		return false;
	if (socket_path(cluster, socket, sizeof(socket), NULL) == 0) {
		processes_end(socket);
		unlink(socket);
	}
	return true;
}

/* On a thread of its own; holds a reference. */
static void serve_watch(void *arg)
{
	struct cluster *cluster = arg;
	bool done = false;

	while (!done) {
		int rc = cluster_begin(cluster, CLUSTER_OP_FILL, NULL);

		if (rc == 0) {
			done = cluster_look(cluster);
			cluster_end(cluster, NULL);
			if (done)
				cluster_save(cluster, NULL);
		}
		done |= rc == -ENOENT;
		if (!done)
			pause_ms(WATCH_MS);
	}
	cluster_put(cluster);
}

int serve_follow(struct cluster *cluster, struct err *err)
{
	int rc;

	if (!cluster_served(cluster))
		return 0;
	pthread_mutex_lock(&the_daemon.lock);
	cluster->refs++;
	pthread_mutex_unlock(&the_daemon.lock);
	rc = loop_thread(serve_watch, cluster, err);
	if (rc < 0)
		cluster_put(cluster);
	return rc;
}

int serve_resume(struct cluster *cluster, struct err *err)
{
	int rc;

	if (!cluster_served(cluster))
		return 0;
	rc = serve_start(cluster, cluster->last_checkpoint, err);
	return rc < 0 ? rc : serve_follow(cluster, err);
}
