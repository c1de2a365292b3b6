/* SPDX-License-Identifier: BSD-3-Clause */
/* A cluster's processes: watching them, ending them, and finding those that no record names. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/cluster.h"
#include "daemon/loop.h"
#include "daemon/process.h"
#include "daemon/relay.h"
#include "vm/net/net.h"

enum { CMDLINE_MAX_BYTES = 1 << 20, END_TIMEOUT_MS = 5000 };

/* Watches one process of one node on the loop. */
struct watch {
	uv_poll_t poll;
	int pidfd;
	pid_t pid;
	struct node *node; /* holds a reference to its cluster */
};

static void watch_closed(uv_handle_t *handle)
{
	struct watch *watch = handle->data;

	close(watch->pidfd);
	cluster_put(watch->node->cluster);
	free(watch);
}

static void watch_ended(uv_poll_t *poll, int status, int events)
{
	struct watch *watch = poll->data;
	struct node *node = watch->node;
	struct cluster *cluster = node->cluster;
	struct link *link = NULL;
	bool unasked;

	(void)status;
	(void)events;
	pthread_mutex_lock(&the_daemon.lock);
	unasked = node->vm && node->pid == watch->pid;
	if (unasked) {
		node->dead = true;
		link = TAKE_PTR(node->link); /* nobody shall wait for this agent any more */
		snprintf(
			cluster->message, sizeof(cluster->message),
			"%s has ended unexpectedly; go back to a checkpoint: stasis restart %s",
			node->config.name, cluster->spec.name);
	}
	pthread_mutex_unlock(&the_daemon.lock);
	link_close(link);
	if (unasked) {
		waitpid(watch->pid, NULL, WNOHANG);
		log_warn("cluster=%s vm=%s its process %d has ended unexpectedly",
			 cluster->spec.name, node->config.name, (int)watch->pid);
	}
	uv_poll_stop(poll);
	uv_close((uv_handle_t *)poll, watch_closed);
}

static void watch_start(void *arg)
{
	struct watch *watch = arg;

	uv_poll_init(loop_uv(), &watch->poll, watch->pidfd);
	watch->poll.data = watch;
	uv_poll_start(&watch->poll, UV_READABLE, watch_ended);
}

static void link_freed(void *arg)
{
	cluster_put(((struct node *)arg)->cluster);
}

void node_started(struct node *node, struct vm *vm)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	char path[IO_PATH_MAX + 16], name[SPEC_NAME_MAX + VM_NAME_MAX + 2];

	if (!watch)
		abort();
	snprintf(path, sizeof(path), "%s/agent.sock", node->config.run_dir);
	snprintf(name, sizeof(name), "%s:%s", node->cluster->spec.name, node->config.name);
	watch->pidfd = fcntl(vm_pidfd(vm), F_DUPFD_CLOEXEC, 0);
	if (watch->pidfd < 0)
		abort();
	watch->pid = vm_pid(vm);
	watch->node = node;
	pthread_mutex_lock(&the_daemon.lock);
	node->cluster->refs += 2; /* the watch's and the link's */
	node->vm = vm;
	node->pid = watch->pid;
	node->start_time = vm_start_time(vm);
	node->dead = false;
	node->paused = false;
	node->link = link_open(path, name, relay_serve, link_freed, node);
	pthread_mutex_unlock(&the_daemon.lock);
	loop_post(watch_start, watch);
}

void node_set_trace(struct node *node, struct ram_trace *trace, const char *checkpoint)
{
	ram_trace_destroy(node->trace);
	node->trace = trace;
	snprintf(node->trace_checkpoint, sizeof(node->trace_checkpoint), "%s", checkpoint);
}

void node_drop(struct node *node, bool end)
{
	struct vm *vm;
	struct link *link;

	node_set_trace(node, NULL, "");

	pthread_mutex_lock(&the_daemon.lock);
	vm = TAKE_PTR(node->vm);
	link = TAKE_PTR(node->link);
	pthread_mutex_unlock(&the_daemon.lock);
	link_close(link);
	if (!vm)
		return;
	if (end)
		vm_kill(vm);
	vm_release(vm);
}

/* Whether the process is one that a daemon starts and some argument of it is `dir` or lies
 * below it. */
static bool process_names(pid_t pid, const char *dir)
{
	CLEANUP_FREE char *cmdline = NULL;
	char path[64];
	size_t len, dir_len = strlen(dir);
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	if (io_read_file(path, CMDLINE_MAX_BYTES, &cmdline, &len, NULL) < 0)
		return false;
	if (!strstr(cmdline, "qemu") && !strstr(cmdline, "stasis-netns") &&
	    !strstr(cmdline, "nbdkit"))
		return false;
	for (at = cmdline; (at = memmem(at, len - (size_t)(at - cmdline), dir, dir_len)); at++)
		if (at[dir_len] == '/' || at[dir_len] == '\0' || at[dir_len] == ',')
			return true;
	return false;
}

static void process_end(pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd wait_end = {.fd = pidfd, .events = POLLIN};

	if (pidfd < 0)
		return;
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0)
		poll(&wait_end, 1, END_TIMEOUT_MS);
	close(pidfd);
	waitpid(pid, NULL, WNOHANG);
}

void processes_end(const char *dir)
{
	CLEANUP_CLOSEDIR DIR *proc = opendir("/proc");
	const struct dirent *entry;

	while (proc && (entry = readdir(proc))) {
		pid_t pid = (pid_t)atoi(entry->d_name);

		if (pid > 1 && pid != getpid() && process_names(pid, dir)) {
			log_info("ending process %d, which nobody needs any more", (int)pid);
			process_end(pid);
		}
	}
}

void cluster_end_processes(struct cluster *cluster)
{
	for (unsigned int i = 0; i < SPEC_VMS_MAX; i++)
		node_drop(&cluster->nodes[i], true);
	if (cluster->net_pid)
		net_destroy(cluster->net_pid, cluster->net_start_time);
	cluster->net_pid = 0;
	processes_end(cluster->run_dir);
}

int cluster_remove(struct cluster *cluster, struct err *err)
{
	struct cluster **at;
	int rc, rc_run;

	cluster_end_processes(cluster);
	cluster_forget(cluster);
	rc = io_remove_all(cluster->dir, err);
	rc_run = io_remove_all(cluster->run_dir, rc == 0 ? err : NULL);

	pthread_mutex_lock(&the_daemon.lock);
	for (at = &the_daemon.clusters; *at && *at != cluster; at = &(*at)->next)
		;
	if (*at) {
		*at = cluster->next;
		cluster->removed = true;
		cluster->refs--; /* the list's; the caller holds another */
	}
	pthread_mutex_unlock(&the_daemon.lock);
	return rc < 0 ? rc : rc_run;
}
