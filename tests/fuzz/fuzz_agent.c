/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: the agent's decoding of requests; input is JSON, a NUL, and the blob. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a decoded request promises to whoever acts on it. */
static void check_promises(const struct request *request)
{
	if (request->op >= REQUEST_OP_COUNT || request->max_bytes > RPC_AGENT_BLOB_MAX ||
	    request->entropy.len > REQUEST_ENTROPY_MAX || request->offset < 0 ||
	    request->mode > 07777 || request->wait_ms < 0 ||
	    request->wait_ms > REQUEST_WAIT_MAX_MS)
		abort();
	if (request->job && (strchr(request->job, '/') || request->job[0] == '.'))
		abort();
	if (request->path && request->path[0] != '/')
		abort();
	if (request->op == REQUEST_JOB_START && (!request->argv || !request->cwd))
		abort();
	if (request->op == REQUEST_CONFIGURE && !json_is_array(request->configure.peers))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size ? memchr(data, '\0', size) : NULL;
	size_t json_len = nul ? (size_t)(nul - data) : size;
	struct rpc_msg msg = {
		.json = json_loadb((const char *)data, json_len, JSON_REJECT_DUPLICATES, NULL),
		.blob = nul ? (char *)nul + 1 : NULL,
		.blob_len = nul ? size - json_len - 1 : 0,
	};
	struct request request;
	struct err err = ERR_INIT;

	if (json_is_object(msg.json)) {
		int rc = request_decode(&msg, &request, &err);

		if (rc == 0)
			check_promises(&request);
		else if (rc != -err.code || err.msg[0] == '\0')
			abort();
	}
	json_decref(msg.json);
	return 0;
}
