/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's link to one guest's agent.
 *
 * The socket and its handles belong to the loop thread; calls come from any thread. `lock`
 * covers the list of calls, the state and the reference count; each call waits on the link's
 * condition variable.
 */
#include "daemon/link.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "daemon/loop.h"

enum {
	LINK_RETRY_MS = 50,
	LINK_HELLO_MS = 500,
	LINK_HELLO_MAX_MS = 8000,
	LINK_READ_BYTES = 64 << 10
};

struct link_call_state {
	int64_t id;
	bool done;
	int rc;
	struct err err;
	struct rpc_msg reply;
	struct link_call_state *next;
};

struct link {
	char path[IO_PATH_MAX];
	char name[64];
	link_request_fn on_request;
	void (*on_free)(void *arg);
	void *arg;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int refs;
	bool up, holding;
	struct link_write *held; /* while holding: oldest first */
	atomic_bool closing;
	int64_t next_id;
	struct link_call_state *calls;

	/* The loop's part. */
	uv_pipe_t pipe;
	uv_timer_t timer;
	uv_connect_t connect;
	bool pipe_open, connected;
	char nonce[17]; /* 64 random bits: no frame of another session has them */
	struct rpc_decoder *decoder;
	char buf[LINK_READ_BYTES];
};

struct link_write {
	uv_write_t req;
	struct link *link;
	char *bytes;
	size_t len;
	struct link_write *next;
};

static void link_connect(struct link *link);

void link_unref(struct link *link)
{
	bool last;

	pthread_mutex_lock(&link->lock);
	last = --link->refs == 0;
	pthread_mutex_unlock(&link->lock);
	if (!last)
		return;
	rpc_decoder_destroy(link->decoder);
	pthread_cond_destroy(&link->changed);
	pthread_mutex_destroy(&link->lock);
	link->on_free(link->arg);
	free(link);
}

void link_ref(struct link *link)
{
	pthread_mutex_lock(&link->lock);
	link->refs++;
	pthread_mutex_unlock(&link->lock);
}

/* End every call under way; the session is over. */
static void link_fail_calls(struct link *link, const char *why)
{
	pthread_mutex_lock(&link->lock);
	link->up = false;
	for (struct link_call_state *call = link->calls; call; call = call->next) {
		if (call->done)
			continue;
		call->rc = err_set(&call->err, ECONNRESET, "%s: %s", link->name, why);
		call->done = true;
	}
	pthread_cond_broadcast(&link->changed);
	pthread_mutex_unlock(&link->lock);
}

static void link_retry(uv_timer_t *timer)
{
	link_connect(timer->data);
}

static void link_pipe_closed(uv_handle_t *handle)
{
	struct link *link = handle->data;

	link->pipe_open = false;
	if (!link->closing)
		uv_timer_start(&link->timer, link_retry, LINK_RETRY_MS, 0);
	link_unref(link);
}

static void link_drop(struct link *link, const char *why)
{
	link->connected = false;
	link_fail_calls(link, why);
	uv_timer_stop(&link->timer);
	if (link->pipe_open && !uv_is_closing((uv_handle_t *)&link->pipe))
		uv_close((uv_handle_t *)&link->pipe, link_pipe_closed);
}

static void link_written(uv_write_t *req, int status)
{
	struct link_write *write = req->data;

	if (status < 0 && status != UV_ECANCELED)
		link_drop(write->link, "the agent's port was lost");
	link_unref(write->link);
	free(write->bytes);
	free(write);
}

/* Put it off while the link is held. Lock held. */
static bool link_put_off(struct link *link, struct link_write *write)
{
	struct link_write **at = &link->held;

	if (!link->holding)
		return false;
	while (*at)
		at = &(*at)->next;
	*at = write;
	return true;
}

/* On the loop: write a frame, or drop it when there is no connection (its call has been
 * failed). The lock is held, so that nothing goes out once link_hold() has returned. */
static void link_write_now(void *arg)
{
	struct link_write *write = arg;
	struct link *link = write->link;
	uv_buf_t buf = uv_buf_init(write->bytes, (unsigned int)write->len);
	bool taken;

	write->req.data = write;
	pthread_mutex_lock(&link->lock);
	taken = link_put_off(link, write) ||
		(link->connected &&
		 uv_write(&write->req, (uv_stream_t *)&link->pipe, &buf, 1, link_written) == 0);
	pthread_mutex_unlock(&link->lock);
	if (!taken) {
		link_unref(link);
		free(write->bytes);
		free(write);
	}
}

/* On the loop, so that nothing new overtakes what was held. */
static void link_let_go_now(void *arg)
{
	struct link *link = arg;
	struct link_write *write;

	pthread_mutex_lock(&link->lock);
	link->holding = false;
	write = link->held;
	link->held = NULL;
	pthread_mutex_unlock(&link->lock);
	while (write) {
		struct link_write *next = write->next;

		write->next = NULL;
		link_write_now(write);
		write = next;
	}
	link_unref(link);
}

void link_hold(struct link *link)
{
	pthread_mutex_lock(&link->lock);
	link->holding = true;
	pthread_mutex_unlock(&link->lock);
}

void link_let_go(struct link *link)
{
	link_ref(link);
	loop_post(link_let_go_now, link);
}

/* Consumes bytes. */
static struct link_write *link_write_new(struct link *link, char *bytes, size_t len)
{
	struct link_write *write = calloc(1, sizeof(*write));

	if (!write)
		abort();
	link_ref(link);
	write->link = link;
	write->bytes = bytes;
	write->len = len;
	return write;
}

static void link_send_hello(struct link *link)
{
	unsigned char random[8];
	CLEANUP_FREE char *frame = NULL;
	json_t *hello;
	char *bytes;
	size_t len;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		abort();
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(link->nonce + 2 * i, 3, "%02x", random[i]);
	hello = json_pack("{s:i,s:s,s:s,s:i}", "id", 1, "op", "hello", "nonce", link->nonce,
			  "version", RPC_VERSION);
	if (!hello || rpc_encode(hello, NULL, 0, RPC_AGENT_FRAME_MAX, &frame, &len, NULL) < 0)
		abort();
	json_decref(hello);
	bytes = calloc(1, RPC_AGENT_FRAME_MAX + len);
	if (!bytes)
		abort();
	memcpy(bytes + RPC_AGENT_FRAME_MAX, frame, len);
	rpc_decoder_hunt(link->decoder);
	link_write_now(link_write_new(link, bytes, RPC_AGENT_FRAME_MAX + len));
}

static void link_hello_again(uv_timer_t *timer)
{
	struct link *link = timer->data;
	uint64_t ms = 2 * uv_timer_get_repeat(timer);

	/* A guest too slow for one interval has time enough in a later one: an answer counts
	 * only until the next hello. */
	uv_timer_set_repeat(timer, ms < LINK_HELLO_MAX_MS ? ms : LINK_HELLO_MAX_MS);
	if (link->connected && !link_is_up(link))
		link_send_hello(link);
}

struct link_served {
	struct link *link;
	json_t *request;
};

/* On a thread of its own: serve a request of the agent and send the reply. */
static void link_serve(void *arg)
{
	struct link_served *served = arg;
	struct link *link = served->link;
	CLEANUP_FREE char *blob = NULL;
	size_t blob_len = 0, len;
	json_t *reply = rpc_reply_ok(served->request);
	struct err err = ERR_INIT;
	char *bytes;

	if (link->on_request(served->request, reply, &blob, &blob_len, link->arg, &err) < 0) {
		json_decref(reply);
		reply = rpc_reply_error(served->request, &err);
		blob_len = 0;
	}
	if (rpc_encode(reply, blob, blob_len, RPC_AGENT_FRAME_MAX, &bytes, &len, &err) == 0)
		loop_post(link_write_now, link_write_new(link, bytes, len));
	else
		log_error("%s: cannot answer the agent: %s", link->name, err.msg);
	json_decref(reply);
	json_decref(served->request);
	link_unref(link);
	free(served);
}

static void link_take_request(struct link *link, struct rpc_msg *msg)
{
	struct link_served *served = calloc(1, sizeof(*served));
	struct err err = ERR_INIT;

	if (!served)
		abort();
	served->link = link;
	served->request = TAKE_PTR(msg->json);
	link_ref(link);
	if (loop_thread(link_serve, served, &err) < 0) {
		log_warn("%s: %s", link->name, err.msg);
		json_decref(served->request);
		free(served);
		link_unref(link);
	}
}

static void link_take_hello(struct link *link, const struct rpc_msg *msg)
{
	const char *nonce = json_string_value(json_object_get(msg->json, "nonce"));

	if (nonce && !*nonce && link_is_up(link)) {
		link_fail_calls(link, "the agent was started anew");
		link_send_hello(link);
		uv_timer_start(&link->timer, link_hello_again, LINK_HELLO_MS, LINK_HELLO_MS);
		return;
	}
	if (!nonce || strcmp(nonce, link->nonce) != 0)
		return;
	uv_timer_stop(&link->timer);
	pthread_mutex_lock(&link->lock);
	link->up = true;
	pthread_cond_broadcast(&link->changed);
	pthread_mutex_unlock(&link->lock);
	log_debug("%s: agent session begun", link->name);
}

/* A reply goes to its call; one that nobody waits for any more is dropped. */
static void link_take_reply(struct link *link, struct rpc_msg *msg)
{
	int64_t id = json_integer_value(json_object_get(msg->json, "id"));

	pthread_mutex_lock(&link->lock);
	for (struct link_call_state *call = link->calls; call; call = call->next) {
		if (call->id != id || call->done)
			continue;
		call->reply = *msg;
		*msg = (struct rpc_msg){0};
		call->done = true;
		break;
	}
	pthread_cond_broadcast(&link->changed);
	pthread_mutex_unlock(&link->lock);
}

static void link_take(struct link *link, struct rpc_msg *msg)
{
	const char *event = json_string_value(json_object_get(msg->json, "event"));
	struct err err = ERR_INIT;

	if (event && !strcmp(event, "hello"))
		link_take_hello(link, msg);
	else if (!link_is_up(link))
		log_debug("%s: a frame before the session's begin is dropped: %s", link->name,
			  rpc_reply_check(msg->json, &err) < 0 ? err.msg : "of an old session");
	else if (json_object_get(msg->json, "op"))
		link_take_request(link, msg);
	else
		link_take_reply(link, msg);
}

static void link_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct link *link = handle->data;

	(void)suggested;
	*buf = uv_buf_init(link->buf, sizeof(link->buf));
}

static void link_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct link *link = stream->data;
	struct err err = ERR_INIT;
	struct rpc_msg msg;
	int rc;

	if (n == 0)
		return;
	if (n < 0) {
		link_drop(link, "the agent's port was closed");
		return;
	}
	rc = rpc_decoder_feed(link->decoder, buf->base, (size_t)n, &err);
	while (rc == 0 && (rc = rpc_decoder_next(link->decoder, &msg, &err)) == 1) {
		link_take(link, &msg);
		rpc_msg_clear(&msg);
		rc = 0;
	}
	if (rc < 0)
		link_drop(link, err.msg);
}

static void link_connected(uv_connect_t *req, int status)
{
	struct link *link = req->data;

	if (status < 0) {
		link_drop(link, "the agent's port does not answer");
	} else if (!link->closing) {
		link->connected = true;
		uv_read_start((uv_stream_t *)&link->pipe, link_alloc, link_read);
		link_send_hello(link);
		uv_timer_start(&link->timer, link_hello_again, LINK_HELLO_MS, LINK_HELLO_MS);
	}
	link_unref(link);
}

static void link_connect(struct link *link)
{
	if (link->closing || link->pipe_open)
		return;
	uv_pipe_init(loop_uv(), &link->pipe, 0);
	link->pipe.data = link;
	link->pipe_open = true;
	link_ref(link); /* the pipe's */
	link->connect.data = link;
	link_ref(link); /* the connect request's */
	uv_pipe_connect(&link->connect, &link->pipe, link->path, link_connected);
}

static void link_start(void *arg)
{
	struct link *link = arg;

	uv_timer_init(loop_uv(), &link->timer);
	link->timer.data = link;
	link_connect(link);
}

struct link *link_open(const char *socket_path, const char *name, link_request_fn on_request,
		       void (*on_free)(void *arg), void *arg)
{
	struct link *link = calloc(1, sizeof(*link));
	pthread_condattr_t attr;

	if (!link)
		abort();
	snprintf(link->path, sizeof(link->path), "%s", socket_path);
	snprintf(link->name, sizeof(link->name), "%s", name);
	link->on_request = on_request;
	link->on_free = on_free;
	link->arg = arg;
	link->refs = 1; /* the timer's, until link_close() */
	link->next_id = 2;
	pthread_mutex_init(&link->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&link->changed, &attr);
	pthread_condattr_destroy(&attr);
	link->decoder = rpc_decoder_create(RPC_AGENT_FRAME_MAX, true);
	if (!link->decoder)
		abort();
	loop_post(link_start, link);
	return link;
}

static void link_timer_closed(uv_handle_t *handle)
{
	link_unref(handle->data);
}

static void link_close_now(void *arg)
{
	struct link *link = arg;

	link_drop(link, "the VM has ended");
	link_ref(link);
	link_let_go_now(link);
	uv_close((uv_handle_t *)&link->timer, link_timer_closed);
}

void link_close(struct link *link)
{
	if (!link)
		return;
	pthread_mutex_lock(&link->lock);
	link->closing = true;
	pthread_mutex_unlock(&link->lock);
	link_fail_calls(link, "the VM has ended");
	loop_post(link_close_now, link);
}

bool link_is_up(struct link *link)
{
	bool up;

	pthread_mutex_lock(&link->lock);
	up = link->up;
	pthread_mutex_unlock(&link->lock);
	return up;
}

/* Wait on the condition until the deadline; false when it has passed. Lock held. */
static bool link_wait(struct link *link, int64_t deadline_ns)
{
	struct timespec until = {
		.tv_sec = deadline_ns / NS_PER_S,
		.tv_nsec = deadline_ns % NS_PER_S,
	};

	return pthread_cond_timedwait(&link->changed, &link->lock, &until) != ETIMEDOUT;
}

/* Wait for the session, then put the call on the list. Lock held. */
static int link_call_begin(struct link *link, struct link_call_state *call, int64_t deadline_ns,
			   struct err *err)
{
	while (!link->up && !link->closing)
		if (!link_wait(link, deadline_ns) && !link->up)
			return err_set(err, ETIMEDOUT,
				       "%s: the agent does not answer (see its console)",
				       link->name);
	if (link->closing)
		return err_set(err, ECONNRESET, "%s: the VM has ended", link->name);
	call->id = link->next_id++;
	call->next = link->calls;
	link->calls = call;
	return 0;
}

static void link_call_end(struct link *link, struct link_call_state *call)
{
	struct link_call_state **at = &link->calls;

	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
}

int link_call(struct link *link, json_t *request, const void *blob, size_t blob_len,
	      int64_t deadline_ns, struct rpc_msg *ret_reply, struct err *err)
{
	struct link_call_state call = {0};
	char *bytes;
	size_t len;
	int rc;

	*ret_reply = (struct rpc_msg){0};
	pthread_mutex_lock(&link->lock);
	link->refs++;
	rc = link_call_begin(link, &call, deadline_ns, err);
	pthread_mutex_unlock(&link->lock);
	if (rc < 0)
		goto out;

	json_object_set_new(request, "id", json_integer(call.id));
	rc = rpc_encode(request, blob, blob_len, RPC_AGENT_FRAME_MAX, &bytes, &len, err);
	if (rc == 0)
		loop_post(link_write_now, link_write_new(link, bytes, len));

	pthread_mutex_lock(&link->lock);
	while (rc == 0 && !call.done)
		if (!link_wait(link, deadline_ns) && !call.done)
			rc = err_set(err, ETIMEDOUT, "%s: no answer to %s within its deadline",
				     link->name,
				     json_string_value(json_object_get(request, "op")));
	link_call_end(link, &call);
	pthread_mutex_unlock(&link->lock);

	if (rc == 0 && call.rc < 0) {
		rc = call.rc;
		if (err)
			*err = call.err;
	} else if (rc == 0) {
		rc = rpc_reply_check(call.reply.json, err);
		if (rc < 0)
			err_prefix(err, "%s", link->name);
	}
	if (rc == 0)
		*ret_reply = call.reply;
	else
		rpc_msg_clear(&call.reply);
out:
	link_unref(link);
	return rc;
}
