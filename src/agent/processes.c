/* SPDX-License-Identifier: BSD-3-Clause */
/* Processes: hellos and reports in packets, each checked; one order at a time to all. */
#include "agent/processes.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"

enum {
	PROCESSES_MAX = 4096,
	GRACE_MS = 2000, /* a process tells itself that its deadline has passed; then we do */
};

struct process {
	struct watch watch;
	struct process *next;
	pid_t pid; /* as the kernel says */
	bool greeted;
	struct control_hello hello;
	enum control_state state;
	uint32_t awaited; /* serial of the order it has not reported; 0: none */
};

static int waiting_count(const struct processes *processes)
{
	int count = 0;

	for (const struct process *at = processes->first; at; at = at->next)
		count += at->awaited != 0 && at->awaited == processes->serial;
	return count;
}

static void order_end(struct agent *agent)
{
	struct processes *processes = &agent->processes;
	processes_done_fn done = processes->done;
	struct processes_outcome outcome = processes->outcome;

	processes->done = NULL;
	done(agent, &outcome);
}

static void order_check(struct agent *agent)
{
	if (agent->processes.done && waiting_count(&agent->processes) == 0)
		order_end(agent);
}

/* The first failure is told; the others are logged. */
static void order_fail(struct processes *processes, const struct process *process, int rc,
		       const char *why)
{
	struct processes_outcome *outcome = &processes->outcome;

	log_warn("rank %d (process %d): %s", process->hello.rank, (int)process->pid, why);
	if (outcome->rc == 0)
		outcome->rc = err_set(&outcome->err, -rc, "rank %d (process %d): %s",
				      process->hello.rank, (int)process->pid, why);
}

static void process_destroy(struct agent *agent, struct process *process)
{
	struct processes *processes = &agent->processes;
	struct process **at = &processes->first;

	while (*at != process)
		at = &(*at)->next;
	*at = process->next;
	processes->count--;
	if (processes->done && process->awaited == processes->serial)
		order_fail(processes, process, -ESRCH, "it has ended");
	watch_close(&process->watch);
	free(process);
	order_check(agent);
}

/* An order, with a descriptor unless it is -1. */
static int order_send(const struct process *process, const struct control_order *order, int fd)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} extra = {0};
	struct iovec iov = {.iov_base = (void *)order, .iov_len = sizeof(*order)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		msg.msg_control = &extra;
		msg.msg_controllen = sizeof(extra);
		extra.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
					      .cmsg_level = SOL_SOCKET,
					      .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&extra.head), &fd, sizeof(fd));
	}
	return sendmsg(process->watch.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* Give one process the order under way. */
static void process_order(struct processes *processes, struct process *process,
			  int64_t deadline_ms)
{
	struct control_order order = {.kind = (uint32_t)processes->kind,
				      .serial = processes->serial,
				      .deadline_ms = deadline_ms};
	struct err err = ERR_INIT;
	int fd = -1, rc = 0;

	if (processes->kind == CONTROL_CONNECT && process->state == CONTROL_REOPENED)
		rc = cards_file(&processes->cards, process->hello.job, &fd, &err);
	if (rc == 0) {
		rc = order_send(process, &order, fd);
		if (rc < 0)
			err_sys(&err, -rc, "cannot send it an order");
	}
	if (fd >= 0)
		close(fd);
	if (rc == 0)
		process->awaited = processes->serial;
	else
		order_fail(processes, process, rc, err.msg);
}

/* Whoever comes back to a new agent after the host has settled the matter is let go. */
static void process_greet(struct agent *agent, struct process *process,
			  const struct control_hello *hello)
{
	struct processes *processes = &agent->processes;

	process->greeted = true;
	process->hello = *hello;
	process->state = (enum control_state)hello->state;
	if (process->state == CONTROL_DRAINED && processes->settled)
		order_send(
			process,
			&(struct control_order){.kind = CONTROL_ABORT, .deadline_ms = GRACE_MS},
			-1);
}

static bool hello_good(const struct control_hello *hello, ssize_t bytes)
{
	return bytes == (ssize_t)sizeof(*hello) && hello->magic == CONTROL_MAGIC &&
	       hello->version == CONTROL_VERSION && hello->ranks >= 1 &&
	       hello->ranks <= CONTROL_RANKS_MAX && hello->rank >= 0 &&
	       hello->rank < hello->ranks && hello->state < CONTROL_STATES;
}

struct report_packet {
	struct control_report head;
	uint8_t card[CONTROL_CARD_MAX];
};

static bool report_good(const struct report_packet *packet, ssize_t bytes)
{
	const struct control_report *head = &packet->head;

	return bytes >= (ssize_t)sizeof(*head) && head->card_bytes <= CONTROL_CARD_MAX &&
	       bytes == (ssize_t)(sizeof(*head) + head->card_bytes) &&
	       head->state < CONTROL_STATES && head->status <= 0 && head->status > -4096 &&
	       memchr(head->text, 0, sizeof(head->text)) != NULL;
}

static void report_take(struct agent *agent, struct process *process,
			const struct report_packet *packet)
{
	struct processes *processes = &agent->processes;
	const struct control_report *head = &packet->head;
	struct processes_outcome *outcome = &processes->outcome;
	struct err err = ERR_INIT;

	process->state = (enum control_state)head->state;
	if (head->kind == CONTROL_REOPEN && head->status == 0 &&
	    cards_put(&processes->cards, process->hello.job, process->hello.ranks,
		      process->hello.rank, packet->card, head->card_bytes, &err) < 0)
		order_fail(processes, process, -EINVAL, err.msg);
	if (head->serial == 0 || head->serial != process->awaited)
		return; /* of an order that was given up */
	process->awaited = 0;
	if (!processes->done || head->serial != processes->serial)
		return;
	if (head->duration_ns >= outcome->slowest_ns) {
		outcome->slowest = process->hello.rank;
		outcome->slowest_ns = head->duration_ns;
	}
	if (head->status < 0)
		order_fail(processes, process, head->status, head->text);
	order_check(agent);
}

static void process_ready(struct agent *agent, struct watch *watch, uint32_t events)
{
	struct process *process = (struct process *)watch; /* its first member */
	union {
		struct control_hello hello;
		struct report_packet report;
	} packet;
	ssize_t n = recv(watch->fd, &packet, sizeof(packet), MSG_DONTWAIT | MSG_TRUNC);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0 && !process->greeted && hello_good(&packet.hello, n))
		process_greet(agent, process, &packet.hello);
	else if (n > 0 && process->greeted && report_good(&packet.report, n))
		report_take(agent, process, &packet.report);
	else
		process_destroy(agent, process);
}

static void listener_ready(struct agent *agent, struct watch *watch, uint32_t events)
{
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct processes *processes = &agent->processes;
	struct process *process;
	struct ucred who;
	socklen_t size = sizeof(who);

	(void)events;
	if (fd < 0)
		return;
	process = processes->count < PROCESSES_MAX ? calloc(1, sizeof(*process)) : NULL;
	if (!process) {
		log_warn("no room for another process with libarmci");
		close(fd);
		return;
	}
	process->watch = (struct watch){.fd = fd, .ready = process_ready};
	process->next = processes->first;
	processes->first = process;
	processes->count++;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0)
		process->pid = who.pid;
	if (watch_add(agent->epoll_fd, &process->watch, EPOLLIN, NULL) < 0)
		process_destroy(agent, process);
}

int processes_order(struct agent *agent, enum control_kind kind, int64_t deadline_ms,
		    processes_done_fn done, struct err *err)
{
	struct processes *processes = &agent->processes;

	if (processes->done)
		return err_set(err, EBUSY, "another phase is under way in this guest");
	if (kind == CONTROL_DRAIN)
		cards_clear(&processes->cards);
	processes->settled = kind == CONTROL_ABORT || kind == CONTROL_CONNECT;
	processes->kind = kind;
	processes->serial = processes->serial == UINT32_MAX ? 1 : processes->serial + 1;
	processes->deadline_ns = deadline_in_ms(deadline_ms + GRACE_MS);
	processes->outcome = (struct processes_outcome){.err = ERR_INIT, .slowest = -1};
	processes->done = done;
	for (struct process *at = processes->first; at; at = at->next) {
		if (!at->greeted)
			continue;
		processes->outcome.processes++;
		process_order(processes, at, deadline_ms);
	}
	order_check(agent);
	return 0;
}

int processes_greeted(const struct processes *processes)
{
	int count = 0;

	for (const struct process *at = processes->first; at; at = at->next)
		count += at->greeted;
	return count;
}

enum control_state processes_state(const struct processes *processes)
{
	enum control_state most = CONTROL_OPEN;

	for (const struct process *at = processes->first; at; at = at->next)
		if (at->greeted && at->state > most)
			most = at->state;
	return most;
}

json_t *processes_cards(const struct processes *processes)
{
	char job[2 * CONTROL_JOB_BYTES + 1], card[2 * CONTROL_CARD_MAX + 1];
	json_t *all = json_array();

	for (const struct process *at = processes->first; at; at = at->next) {
		const struct control_hello *hello = &at->hello;
		const struct control_row *row =
			at->greeted ? cards_get(&processes->cards, hello->job, hello->rank)
				    : NULL;

		if (!row || row->bytes == 0)
			continue;
		hex_encode(hello->job, sizeof(hello->job), job);
		hex_encode(row->card, row->bytes, card);
		json_array_append_new(all, json_pack("{s:s,s:i,s:i,s:s}", "job", job, "ranks",
						     hello->ranks, "rank", hello->rank, "card",
						     card));
	}
	return all;
}

/* Why a process says nothing, as far as the kernel knows. */
static const char *silence_of(pid_t pid)
{
	char path[64], line[512], *end;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return "it does not answer: it has ended, or runs in another container";
	end = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	fclose(file);
	if (end && (end[2] == 'T' || end[2] == 't'))
		return "it does not answer: it is stopped, by a signal or a debugger";
	return "it does not answer";
}

void processes_work(struct agent *agent)
{
	struct processes *processes = &agent->processes;

	if (!processes->done || deadline_left_ms(processes->deadline_ns) > 0)
		return;
	for (struct process *at = processes->first; at; at = at->next) {
		if (at->awaited != processes->serial)
			continue;
		order_fail(processes, at, -ETIMEDOUT, silence_of(at->pid));
		at->awaited = 0;
	}
	order_end(agent);
}

int processes_timeout_ms(const struct processes *processes)
{
	return processes->done ? deadline_left_ms(processes->deadline_ns) : INT_MAX;
}

int processes_open(struct agent *agent, const char *path, struct err *err)
{
	agent->processes.listener.ready = listener_ready;
	return watch_listen(agent->epoll_fd, &agent->processes.listener, path, SOCK_SEQPACKET,
			    0666, err);
}

void processes_close(struct agent *agent)
{
	agent->processes.done = NULL;
	while (agent->processes.first)
		process_destroy(agent, agent->processes.first);
	cards_clear(&agent->processes.cards);
	watch_close(&agent->processes.listener);
}
