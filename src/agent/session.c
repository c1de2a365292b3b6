/* SPDX-License-Identifier: BSD-3-Clause */
/* Dispatch of the host's requests by a table, their replies, and polls that wait. */
#include "agent/session.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/clock.h"
#include "agent/fs.h"
#include "agent/job.h"
#include "agent/net.h"
#include "base/clock.h"
#include "base/log.h"

enum {
	POWER_DELAY_MS = 1000,
	GATHER_MS = 10, /* how long a poll gathers a running job's output: bounds polls, not
			   bytes */
};

/* Do what was asked: 0 with members set in reply, REPLY_WAIT, REPLY_GATHER, or -errno. */
typedef int (*act_fn)(struct agent *agent, const struct request *request, struct reply *reply,
		      struct err *err);

void reply_set(struct reply *reply, const char *key, json_t *value)
{
	if (json_object_set_new(reply->json, key, value) < 0)
		reply->incomplete = true;
}

/* End the watch for a poll's job, unless another poll has the same. */
static void wait_unwatch(const struct session *session, struct poll_wait *wait)
{
	int wd = wait->inotify_wd;

	wait->inotify_wd = -1;
	for (size_t i = 0; i < SESSION_WAITS_MAX; i++)
		if (session->waits[i].json && session->waits[i].inotify_wd == wd)
			return;
	if (wd >= 0)
		inotify_rm_watch(session->inotify.fd, wd);
}

static void wait_clear(const struct session *session, struct poll_wait *wait)
{
	if (!wait->json)
		return;
	wait_unwatch(session, wait);
	json_decref(wait->json);
	*wait = (struct poll_wait){0};
}

void session_end(struct agent *agent)
{
	for (size_t i = 0; i < SESSION_WAITS_MAX; i++)
		wait_clear(&agent->session, &agent->session.waits[i]);
	json_decref(agent->session.phase);
	agent->session.phase = NULL;
	agent->session.active = false;
}

static int act_hello(struct agent *agent, const struct request *request, struct reply *reply,
		     struct err *err)
{
	char name[HOST_NAME_MAX + 1] = "";
	struct timespec up;

	(void)err;
	session_end(agent);
	port_begin_session(&agent->port);
	gethostname(name, sizeof(name) - 1);
	clock_gettime(CLOCK_BOOTTIME, &up);
	reply_set(reply, "event", json_string("hello"));
	reply_set(reply, "nonce", json_string(request->nonce));
	reply_set(reply, "version", json_integer(RPC_VERSION));
	reply_set(reply, "agent_version", json_string(STASIS_VERSION));
	reply_set(reply, "name", json_string(name));
	reply_set(reply, "uptime_ns", json_integer(up.tv_sec * NS_PER_S + up.tv_nsec));
	reply_set(reply, "session", json_integer(++agent->session.count));
	return 0;
}

static int act_ping(struct agent *agent, const struct request *request, struct reply *reply,
		    struct err *err)
{
	(void)request;
	(void)err;
	reply_set(reply, "state", json_string(phase_state_name(phase_furthest(agent))));
	reply_set(reply, "processes", json_integer(processes_greeted(&agent->processes)));
	return 0;
}

/* Refuse what would change the machine when it is not a guest of ours. */
static int machine_check(const struct agent *agent, struct err *err)
{
	if (!agent_owns_machine(agent))
		return err_set(err, EPERM,
			       "this agent runs with --root and does not change its machine");
	return 0;
}

static int act_configure(struct agent *agent, const struct request *request,
			 struct reply *reply, struct err *err)
{
	int rc = machine_check(agent, err);

	(void)reply;
	if (rc == 0)
		rc = clock_set(request->realtime_ns, &request->entropy, NULL, err);
	if (rc == 0)
		rc = net_configure(&request->configure, err);
	return rc;
}

static int act_clock_set(struct agent *agent, const struct request *request,
			 struct reply *reply, struct err *err)
{
	int64_t before_ns = 0;
	int rc = machine_check(agent, err);

	if (rc == 0)
		rc = clock_set(request->realtime_ns, &request->entropy, &before_ns, err);
	reply_set(reply, "before_ns", json_integer(before_ns));
	return rc;
}

static void send_error(struct agent *agent, const json_t *request, const struct err *err)
{
	struct err why = ERR_INIT;
	json_t *json = rpc_reply_error(request, err);

	if (!json || port_send(agent, json, NULL, 0, &why) < 0)
		log_error("cannot answer the host: %s", why.msg);
	json_decref(json);
}

static void reply_send(struct agent *agent, const json_t *request, struct reply *reply)
{
	struct err err = ERR_INIT;
	int rc = 0;

	if (reply->incomplete || !reply->json)
		rc = err_set(&err, ENOMEM, "no memory for the reply");
	if (rc == 0)
		rc = port_send(agent, reply->json, reply->blob, reply->blob_len, &err);
	if (rc < 0)
		send_error(agent, request, &err);
}

static void phase_done(struct agent *agent, const struct processes_outcome *outcome)
{
	json_t *request = agent->session.phase;
	struct reply reply = {.json = NULL};

	agent->session.phase = NULL;
	if (!request)
		return; /* the host that asked has gone */
	if (outcome->rc < 0) {
		send_error(agent, request, &outcome->err);
	} else {
		reply.json = rpc_reply_ok(request);
		reply_set(&reply, "state", json_string(phase_state_name(agent->phase.state)));
		reply_set(&reply, "processes", json_integer(outcome->processes));
		reply_set(&reply, "slowest_rank", json_integer(outcome->slowest));
		reply_set(&reply, "slowest_ns", json_integer(outcome->slowest_ns));
		if (agent->phase.state == PHASE_RELEASED)
			reply_set(&reply, "resources", json_string(agent->phase.resources));
		if (agent->phase.state == PHASE_REOPENED)
			reply_set(&reply, "cards", processes_cards(&agent->processes));
		reply_send(agent, request, &reply);
	}
	json_decref(reply.json);
	json_decref(request);
}

static int act_phase(struct agent *agent, const struct request *request, struct reply *reply,
		     struct err *err)
{
	int rc;

	(void)reply;
	if (agent->session.phase)
		return err_set(err, EBUSY, "another phase is under way in this guest");
	agent->session.phase = json_incref((json_t *)request->json);
	rc = phase_begin(agent, request->phase, request->ckpt, request->deadline_ms, phase_done,
			 err);
	if (rc == 0)
		return REPLY_LATER;
	json_decref(agent->session.phase);
	agent->session.phase = NULL;
	return rc;
}

static int act_cards(struct agent *agent, const struct request *request, struct reply *reply,
		     struct err *err)
{
	(void)reply;
	return cards_put_rows(&agent->processes.cards, request->card_job, request->ranks,
			      request->first_rank, request->blob, request->blob_len, err);
}

static int act_power(struct agent *agent, const struct request *request, struct reply *reply,
		     struct err *err)
{
	int rc = machine_check(agent, err);

	(void)reply;
	if (rc < 0)
		return rc;
	agent->power_signal = request->reboot ? SIGTERM : SIGUSR2;
	agent->power_deadline_ns = deadline_in_ms(POWER_DELAY_MS);
	return 0;
}

static const act_fn actions[REQUEST_OP_COUNT] = {
	[REQUEST_HELLO] = act_hello,         [REQUEST_PING] = act_ping,
	[REQUEST_CONFIGURE] = act_configure, [REQUEST_CLOCK_SET] = act_clock_set,
	[REQUEST_JOB_START] = job_start,     [REQUEST_JOB_POLL] = job_poll,
	[REQUEST_JOB_STDIN] = job_stdin,     [REQUEST_JOB_SIGNAL] = job_signal,
	[REQUEST_JOB_LIST] = job_list,       [REQUEST_JOB_REMOVE] = job_remove,
	[REQUEST_FS_STAT] = fs_stat,         [REQUEST_FS_LIST] = fs_list,
	[REQUEST_FS_READ] = fs_read,         [REQUEST_FS_WRITE] = fs_write,
	[REQUEST_FS_MKDIR] = fs_mkdir,       [REQUEST_FS_SYMLINK] = fs_symlink,
	[REQUEST_FS_REMOVE] = fs_remove,     [REQUEST_PHASE] = act_phase,
	[REQUEST_CARDS] = act_cards,         [REQUEST_POWER] = act_power,
};

/* Act on a request and send its reply; REPLY_WAIT or REPLY_GATHER when there is none yet. */
static int request_answer(struct agent *agent, const struct request *request)
{
	struct reply reply = {.json = rpc_reply_ok(request->json)};
	struct err err = ERR_INIT;
	int rc;

	rc = actions[request->op](agent, request, &reply, &err);
	if (rc == 0)
		reply_send(agent, request->json, &reply);
	else if (rc < 0)
		send_error(agent, request->json, &err);
	json_decref(reply.json);
	free(reply.blob);
	return rc;
}

/* Answer a request that has waited, as it would be answered without waiting. */
static void wait_give_up(struct agent *agent, struct request *request)
{
	request->wait_ms = 0;
	request_answer(agent, request);
}

/*
 * Answer a poll that waits if its time has come. While it gathers output it is not watched any
 * more: looking at each write would cost a busy guest more than the output itself.
 */
static void wait_try(struct agent *agent, struct poll_wait *wait)
{
	int64_t gathered_ns = deadline_in_ms(GATHER_MS);
	int rc = request_answer(agent, &wait->request);

	if (rc <= 0) {
		wait_clear(&agent->session, wait);
	} else if (rc == REPLY_GATHER) {
		wait_unwatch(&agent->session, wait);
		if (wait->deadline_ns > gathered_ns)
			wait->deadline_ns = gathered_ns;
	}
}

/* Let a poll wait for its job's news; it is answered at once when it cannot. */
static void request_park(struct agent *agent, struct request *request)
{
	struct session *session = &agent->session;
	struct poll_wait *wait = NULL;
	int wd;

	for (size_t i = 0; i < SESSION_WAITS_MAX && !wait; i++)
		if (!session->waits[i].json)
			wait = &session->waits[i];
	wd = wait ? job_watch(agent, request->job, session->inotify.fd) : -1;
	if (wd < 0) {
		wait_give_up(agent, request);
		return;
	}
	*wait = (struct poll_wait){
		.json = json_incref((json_t *)request->json),
		.request = *request,
		.deadline_ns = deadline_in_ms(request->wait_ms),
		.inotify_wd = wd,
	};
	/* What happened before the watch was there raises no event. */
	wait_try(agent, wait);
}

static void session_request(struct agent *agent, const struct rpc_msg *msg)
{
	struct request request;
	struct err err = ERR_INIT;
	int rc;

	if (request_decode(msg, &request, &err) < 0) {
		send_error(agent, msg->json, &err);
		return;
	}
	rc = request_answer(agent, &request);
	if (rc == REPLY_WAIT || rc == REPLY_GATHER)
		request_park(agent, &request);
	if (request.op == REQUEST_HELLO) {
		agent->session.active = true;
		relay_resend_all(agent);
	}
}

void session_message(struct agent *agent, const struct rpc_msg *msg)
{
	if (json_object_get(msg->json, "op"))
		session_request(agent, msg);
	else if (json_object_get(msg->json, "ok"))
		relay_answer(agent, msg);
}

/* Something has happened in a watched job's directory: which, is found by looking at all. */
static void inotify_ready(struct agent *agent, struct watch *watch, uint32_t events)
{
	struct session *session = &agent->session;
	char buf[4096] __attribute__((aligned(8)));

	(void)events;
	while (read(watch->fd, buf, sizeof(buf)) > 0) {
	}
	for (size_t i = 0; i < SESSION_WAITS_MAX; i++)
		if (session->waits[i].json && session->waits[i].inotify_wd >= 0)
			wait_try(agent, &session->waits[i]);
}

void session_work(struct agent *agent)
{
	struct session *session = &agent->session;
	int64_t now_ns = clock_mono_ns();

	for (size_t i = 0; i < SESSION_WAITS_MAX; i++) {
		struct poll_wait *wait = &session->waits[i];

		if (!wait->json || wait->deadline_ns > now_ns)
			continue;
		wait_give_up(agent, &wait->request);
		wait_clear(session, wait);
	}
}

int session_timeout_ms(const struct session *session)
{
	int least_ms = INT_MAX;

	for (size_t i = 0; i < SESSION_WAITS_MAX; i++) {
		int left_ms;

		if (!session->waits[i].json)
			continue;
		left_ms = deadline_left_ms(session->waits[i].deadline_ns);
		if (left_ms < least_ms)
			least_ms = left_ms;
	}
	return least_ms;
}

int session_create(struct agent *agent, struct err *err)
{
	struct session *session = &agent->session;

	session->inotify.ready = inotify_ready;
	session->inotify.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (session->inotify.fd < 0)
		return err_sys(err, errno, "cannot watch files");
	return watch_add(agent->epoll_fd, &session->inotify, EPOLLIN, err);
}

void session_destroy(struct agent *agent)
{
	session_end(agent);
	watch_close(&agent->session.inotify);
}
