/* SPDX-License-Identifier: BSD-3-Clause */
/* The agent's unix socket: takes relays from stasis-rsh and passes the answers back. */
#include "agent/relay.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/clock.h"
#include "base/log.h"

enum {
	CLIENTS_MAX = 512,
	READ_BYTES = 16 << 10,
	ANSWER_MS = 2000, /* a client that does not take its answer for so long loses it */
};

/* One stasis-rsh: it sends one request and waits. */
struct relay_client {
	struct watch watch;
	struct relay_client *next;
	struct rpc_decoder *decoder;
	json_t *request; /* what it asked; NULL: not yet */
	int64_t id;      /* of the request to the host */
};

static void client_destroy(struct agent *agent, struct relay_client *client)
{
	struct relay_client **at = &agent->relays.clients;

	while (*at && *at != client)
		at = &(*at)->next;
	if (*at) {
		*at = client->next;
		agent->relays.count--;
	}
	watch_close(&client->watch);
	rpc_decoder_destroy(client->decoder);
	json_decref(client->request);
	free(client);
}

/* Send a whole message to a client; its socket takes one answer at once, so this waits only for
 * a stuck one. */
static void client_send(struct relay_client *client, const json_t *json, const void *blob,
			size_t blob_len)
{
	int64_t deadline_ns = deadline_in_ms(ANSWER_MS);
	char *bytes = NULL;
	size_t len = 0;
	size_t done = 0;
	struct err err = ERR_INIT;

	if (rpc_encode(json, blob, blob_len, RPC_AGENT_FRAME_MAX, &bytes, &len, &err) < 0)
		log_error("%s", err.msg);
	while (done < len && deadline_left_ms(deadline_ns) > 0) {
		struct pollfd pfd = {.fd = client->watch.fd, .events = POLLOUT};
		ssize_t n = send(pfd.fd, bytes + done, len - done, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno == EAGAIN)
			poll(&pfd, 1, deadline_left_ms(deadline_ns));
		else if (n < 0 && errno != EINTR)
			break;
	}
	free(bytes);
}

static void client_refuse(struct agent *agent, struct relay_client *client,
			  const struct err *err)
{
	json_t *reply = rpc_reply_error(client->request, err);

	client_send(client, reply, NULL, 0);
	json_decref(reply);
	client_destroy(agent, client);
}

/* The request to the host for what a client has asked. */
static json_t *relay_request(const struct relay_client *client)
{
	static const char *const members[] = {"relay", "vm", "argv", "env", "cwd"};
	json_t *request = json_object();

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		json_t *member = json_object_get(client->request, members[i]);

		if (member)
			json_object_set(request, members[i], member);
	}
	json_object_set_new(request, "op", json_string("relay"));
	return request;
}

static void client_ask_host(struct agent *agent, struct relay_client *client)
{
	json_t *request = relay_request(client);
	struct err err = ERR_INIT;

	client->id = ++agent->relays.last_id;
	json_object_set_new(request, "id", json_integer(client->id));
	if (port_send(agent, request, NULL, 0, &err) < 0)
		client_refuse(agent, client, &err);
	json_decref(request);
}

static int check_relay(const json_t *json, struct err *err)
{
	const char *op = "";
	const char *id = "";
	const char *vm = "";
	const char *cwd = "/";
	int rc;

	rc = rpc_get_str(json, "op", &op, err);
	if (rc == 0 && strcmp(op, "relay") != 0)
		rc = err_set(err, ENOSYS, "this socket takes only relays");
	if (rc == 0)
		rc = rpc_get_str(json, "relay", &id, err);
	if (rc == 0)
		rc = rpc_get_str(json, "vm", &vm, err);
	if (rc == 0)
		rc = rpc_opt_str(json, "cwd", &cwd, err);
	if (rc == 0 && (!request_id_valid(id) || cwd[0] != '/'))
		rc = err_set(err, EINVAL, "the relay's id or directory is not valid");
	if (rc == 0 && !request_host_valid(vm))
		rc = err_set(err, EINVAL, "\"%.64s\" is not the name of a VM", vm);
	if (rc == 0)
		rc = request_check_command(json_object_get(json, "argv"),
					   json_object_get(json, "env"), err);
	return rc;
}

static void client_take(struct agent *agent, struct relay_client *client, struct rpc_msg *msg)
{
	struct err err = ERR_INIT;

	client->request = json_incref(msg->json);
	if (check_relay(msg->json, &err) < 0)
		client_refuse(agent, client, &err);
	else if (agent->session.active)
		client_ask_host(agent, client);
}

static void client_ready(struct agent *agent, struct watch *watch, uint32_t events)
{
	struct relay_client *client = (struct relay_client *)watch; /* its first member */
	struct rpc_msg msg = {0};
	char buf[READ_BYTES];
	ssize_t n = recv(watch->fd, buf, sizeof(buf), MSG_DONTWAIT);
	int rc;

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* It has gone, or says more than the one request. */
	if (n <= 0 || client->request) {
		client_destroy(agent, client);
		return;
	}
	rc = rpc_decoder_feed(client->decoder, buf, (size_t)n, NULL);
	if (rc == 0)
		rc = rpc_decoder_next(client->decoder, &msg, NULL);
	if (rc < 0)
		client_destroy(agent, client);
	else if (rc > 0)
		client_take(agent, client, &msg);
	rpc_msg_clear(&msg);
}

static void listener_ready(struct agent *agent, struct watch *watch, uint32_t events)
{
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct relay_client *client;

	(void)events;
	if (fd < 0)
		return;
	client = agent->relays.count < CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		close(fd);
		return;
	}
	client->watch = (struct watch){.fd = fd, .ready = client_ready};
	client->decoder = rpc_decoder_create(RPC_AGENT_FRAME_MAX, false);
	client->next = agent->relays.clients;
	agent->relays.clients = client;
	agent->relays.count++;
	if (!client->decoder || watch_add(agent->epoll_fd, &client->watch, EPOLLIN, NULL) < 0)
		client_destroy(agent, client);
}

void relay_resend_all(struct agent *agent)
{
	struct relay_client *next;

	for (struct relay_client *client = agent->relays.clients; client; client = next) {
		next = client->next;
		if (client->request)
			client_ask_host(agent, client);
	}
}

void relay_answer(struct agent *agent, const struct rpc_msg *reply)
{
	int64_t id = json_integer_value(json_object_get(reply->json, "id"));

	for (struct relay_client *client = agent->relays.clients; client;
	     client = client->next) {
		if (client->request && client->id == id && id > 0) {
			json_t *answer = json_copy(reply->json);
			json_t *own_id = json_object_get(client->request, "id");

			json_object_set(answer, "id", own_id);
			client_send(client, answer, reply->blob, reply->blob_len);
			json_decref(answer);
			client_destroy(agent, client);
			return;
		}
	}
}

int relay_open(struct agent *agent, const char *path, struct err *err)
{
	agent->relays.listener.ready = listener_ready;
	return watch_listen(agent->epoll_fd, &agent->relays.listener, path, SOCK_STREAM, 0600,
			    err);
}

void relay_close(struct agent *agent)
{
	while (agent->relays.clients)
		client_destroy(agent, agent->relays.clients);
	watch_close(&agent->relays.listener);
}
