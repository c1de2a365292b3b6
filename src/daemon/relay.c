/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Relays: an agent's request to run a command in another VM of its cluster.
 *
 * The job in the other VM has the relay's id, and starting a job is idempotent: an agent that
 * asks again, after its daemon was killed or its cluster was rolled back, finds the same job.
 */
#include "daemon/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/cluster.h"

enum {
	RELAY_OUTPUT_MAX = 32 << 10,
	RELAY_START_MS = 30000,
	RELAY_POLL_MS = 5000,
	RELAY_ANSWER_MS = 600000
};

/* What a relay has of the job's output so far; what is beyond the limit is dropped. */
struct relay_output {
	char *bytes;
	size_t len;
	int64_t out, err;
};

static int relay_poll(struct node *node, const char *job, struct relay_output *output,
		      json_t *reply, bool *ret_ended, struct err *err)
{
	json_t *poll = json_pack("{s:s,s:s,s:I,s:I,s:i,s:i}", "op", "job.poll", "job", job,
				 "out", (json_int_t)output->out, "err", (json_int_t)output->err,
				 "max", RELAY_OUTPUT_MAX, "wait_ms", RELAY_POLL_MS);
	int64_t out_bytes = 0, err_bytes = 0, code = 0, signo = 0;
	const char *state = "";
	struct rpc_msg msg;
	size_t room;
	int rc = node_call(node, poll, NULL, 0, RELAY_ANSWER_MS, &msg, err);

	json_decref(poll);
	if (rc < 0)
		return rc;
	rc = rpc_get_int(msg.json, "out_bytes", 0, INT32_MAX, &out_bytes, err);
	if (rc == 0)
		rc = rpc_get_int(msg.json, "err_bytes", 0, INT32_MAX, &err_bytes, err);
	if (rc == 0)
		rc = rpc_get_str(msg.json, "state", &state, err);
	if (rc == 0)
		rc = rpc_opt_int(msg.json, "code", 0, 255, &code, err);
	if (rc == 0)
		rc = rpc_opt_int(msg.json, "signal", 0, 64, &signo, err);
	if (rc == 0) {
		output->out += out_bytes;
		output->err += err_bytes;
		room = RELAY_OUTPUT_MAX - output->len;
		if (room > msg.blob_len)
			room = msg.blob_len;
		if (room)
			memcpy(output->bytes + output->len, msg.blob, room);
		output->len += room;
		*ret_ended = !strcmp(state, "exited") && out_bytes == 0 && err_bytes == 0;
		json_object_set_new(reply, "code", json_integer(code));
		json_object_set_new(reply, "signal", json_integer(signo));
	}
	rpc_msg_clear(&msg);
	return rc;
}

int relay_serve(const json_t *request, json_t *reply, char **ret_blob, size_t *ret_blob_len,
		void *arg, struct err *err)
{
	struct node *asker = arg, *node = NULL;
	struct relay_output output = {0};
	CLEANUP_FREE char *bytes = NULL;
	const char *op, *id, *vm;
	bool ended = false;
	int rc = rpc_get_str(request, "op", &op, err);

	if (rc == 0 && strcmp(op, "relay") != 0)
		rc = err_set(err, EOPNOTSUPP,
			     "an agent may ask for \"relay\" only, not \"%.40s\"", op);
	if (rc == 0)
		rc = rpc_get_str(request, "relay", &id, err);
	if (rc == 0)
		rc = rpc_get_str(request, "vm", &vm, err);
	if (rc == 0)
		rc = cluster_node(asker->cluster, vm, &node, err);
	if (rc < 0)
		return rc;
	bytes = malloc(RELAY_OUTPUT_MAX);
	if (!bytes)
		return err_sys(err, ENOMEM, "relay");
	output.bytes = bytes;

	rc = node_ask(node,
		      json_pack("{s:s,s:s,s:O*,s:O*,s:O*,s:b}", "op", "job.start", "job", id,
				"argv", json_object_get(request, "argv"), "env",
				json_object_get(request, "env"), "cwd",
				json_object_get(request, "cwd"), "stdin", 0),
		      RELAY_START_MS, NULL, err);
	while (rc == 0 && !ended)
		rc = relay_poll(node, id, &output, reply, &ended, err);
	if (rc < 0)
		return rc;
	rc = node_ask(node, json_pack("{s:s,s:s}", "op", "job.remove", "job", id),
		      RELAY_START_MS, NULL, NULL);
	if (rc < 0)
		log_debug("relay %s: its job could not be removed", id);
	*ret_blob = TAKE_PTR(bytes);
	*ret_blob_len = output.len;
	return 0;
}
