/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests to the agents of several VMs of a cluster at once: one connection to the daemon for
 * each. */
#include "cli/agents.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"

enum { FIRST_REQUEST_ID = 1000 }; /* above those of rpc_call() on a new connection */

int agents_open(struct agents *ret_agents, const json_t *cluster, const char *vm,
		struct err *err)
{
	const json_t *vms = json_object_get(cluster, "vms"), *item;
	const char *name = json_string_value(json_object_get(cluster, "name"));
	size_t i;

	memset(ret_agents, 0, sizeof(*ret_agents));
	snprintf(ret_agents->cluster, sizeof(ret_agents->cluster), "%s", name ? name : "");
	ret_agents->list = calloc(json_array_size(vms) + 1, sizeof(*ret_agents->list));
	if (!ret_agents->list)
		return err_sys(err, ENOMEM, "cannot open the VMs");
	json_array_foreach((json_t *)vms, i, item)
	{
		const char *each = json_string_value(json_object_get(item, "name"));

		if (each && (strcmp(vm, "all") == 0 || strcmp(vm, each) == 0)) {
			struct agent *agent = &ret_agents->list[ret_agents->count++];

			snprintf(agent->vm, sizeof(agent->vm), "%s", each);
			agent->request_id = FIRST_REQUEST_ID;
		}
	}
	if (ret_agents->count == 0)
		return err_set(err, ENOENT,
			       "cluster %s has no VM '%s'; it has %zu, vm0 and so on",
			       ret_agents->cluster, vm, json_array_size(vms));
	return 0;
}

void agents_close(struct agents *agents)
{
	size_t i;

	for (i = 0; i < agents->count; i++)
		rpc_conn_close(agents->list[i].conn);
	free(agents->list);
	agents->list = NULL;
	agents->count = 0;
}

/* The connection is of no use any more. */
static int agent_broken(struct agent *agent, int rc)
{
	rpc_conn_close(agent->conn);
	agent->conn = NULL;
	return rc;
}

int agents_send(struct agents *agents, size_t index, json_t *operation, const void *blob,
		size_t blob_len, struct err *err)
{
	struct agent *agent = &agents->list[index];
	json_t *request = json_pack(
		"{s:I, s:s, s:s, s:s, s:o}", "id", (json_int_t)(agent->request_id + 1), "op",
		"agent", "cluster", agents->cluster, "vm", agent->vm, "request", operation);
	int rc = 0;

	if (!request)
		return err_sys(err, ENOMEM, "cannot make a request");
	if (!agent->conn)
		rc = client_connect(true, &agent->conn, err);
	if (rc == 0) {
		agent->request_id++;
		rc = rpc_conn_send(agent->conn, request, blob, blob_len, err);
		if (rc < 0 && rc != -EMSGSIZE)
			rc = agent_broken(agent, rc);
	}
	json_decref(request);
	return rc;
}

int agents_recv(struct agents *agents, size_t index, int64_t deadline_ns,
		struct rpc_msg *ret_reply, struct err *err)
{
	struct agent *agent = &agents->list[index];
	int rc;

	if (!agent->conn)
		return err_set(err, ECONNRESET, "the connection to stasisd is closed");
	for (;;) {
		json_int_t id;

		rc = rpc_conn_recv(agent->conn, deadline_ns, ret_reply, err);
		if (rc == -ETIMEDOUT)
			return err_set(err, EINPROGRESS, "%s has not answered yet", agent->vm);
		if (rc < 0)
			return agent_broken(agent, rc);
		id = json_integer_value(json_object_get(ret_reply->json, "id"));
		if (id == agent->request_id && json_object_get(ret_reply->json, "ok"))
			break;
		rpc_msg_clear(ret_reply);
	}
	rc = rpc_reply_check(ret_reply->json, err);
	if (rc < 0) {
		rpc_msg_clear(ret_reply);
		err_prefix(err, "%s", agent->vm);
	}
	return rc;
}

int agents_call(struct agents *agents, size_t index, json_t *operation, const void *blob,
		size_t blob_len, struct rpc_msg *ret_reply, struct err *err)
{
	int rc = agents_send(agents, index, operation, blob, blob_len, err);

	return rc < 0 ? rc : agents_recv(agents, index, INT64_MAX, ret_reply, err);
}

int agents_call_all(struct agents *agents, json_t *operation, const void *blob, size_t blob_len,
		    struct err *err)
{
	struct err other, *target = err;
	int first = 0, rc;
	size_t i, sent;

	for (sent = 0; sent < agents->count && first == 0; sent++)
		first = agents_send(agents, sent, json_incref(operation), blob, blob_len, err);
	if (first < 0) {
		sent--; /* the one that failed has no reply to wait for */
		target = &other;
	}
	for (i = 0; i < sent; i++) {
		struct rpc_msg reply = {0};

		rc = agents_recv(agents, i, INT64_MAX, &reply, target);
		rpc_msg_clear(&reply);
		if (rc < 0 && first == 0) {
			first = rc;
			target = &other;
		}
	}
	json_decref(operation);
	return first;
}
