/* SPDX-License-Identifier: BSD-3-Clause */
/* Standard input on its way to the followed jobs: one buffer, offered again until each job has
 * taken all of it. */
#include "cli/follow_input.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

enum { INPUT_BYTES = 32 << 10, INPUT_RETRY_MS = 50 };

static bool input_pending(const struct follow *follow)
{
	return follow->input_len > 0 || follow->input_eof;
}

int follow_input_fd(const struct follow *follow)
{
	if (!follow->input || follow->input_done || input_pending(follow))
		return -1;
	return STDIN_FILENO;
}

int64_t follow_input_next(const struct follow *follow, int64_t next_ns)
{
	int64_t retry_ns = deadline_in_ms(INPUT_RETRY_MS);

	if (!follow->input || follow->input_done || !input_pending(follow) ||
	    next_ns < retry_ns)
		return next_ns;
	return retry_ns;
}

static int input_read(struct follow *follow, struct err *err)
{
	ssize_t n;

	if (!follow->input_buf)
		follow->input_buf = malloc(INPUT_BYTES);
	if (!follow->input_buf)
		return err_sys(err, ENOMEM, "cannot read the standard input");
	n = read(STDIN_FILENO, follow->input_buf, INPUT_BYTES);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0)
		return err_sys(err, errno, "cannot read the standard input");
	follow->input_len = (size_t)n;
	follow->input_eof = n == 0;
	return 0;
}

/* Offer the buffer's rest to one job, over the client's connection; a refusal is tried again.
 */
static bool input_offer(struct follow *follow, size_t index)
{
	struct follow_vm *vm = &follow->vms[index];
	int64_t end = follow->input_base + (int64_t)follow->input_len,
		accepted = vm->input_sent;
	size_t skip = (size_t)(vm->input_sent - follow->input_base);
	struct rpc_msg reply = {0};
	struct err ignored;
	json_t *request;

	if (vm->exited || (vm->input_sent == end && !follow->input_eof))
		return true;
	if (!follow->client->conn && client_reopen(follow->client, &ignored) < 0)
		return false;
	request = json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:I, s:b}}", "op", "agent", "cluster",
			    follow->agents->cluster, "vm", follow->agents->list[index].vm,
			    "request", "op", "job.stdin", "job", follow->job, "offset",
			    (json_int_t)vm->input_sent, "eof", follow->input_eof);
	if (!request)
		return false;
	if (rpc_call(follow->client->conn, request, follow->input_buf + skip,
		     follow->input_len - skip, INT64_MAX, NULL, NULL, &reply, &ignored) < 0) {
		json_decref(request);
		if (ignored.code ==
		    EPIPE) /* the job has closed its input: the rest is dropped */
			vm->input_sent = end;
		if (ignored.code == ECONNRESET) {
			rpc_conn_close(follow->client->conn);
			follow->client->conn = NULL;
		}
		return vm->input_sent == end && ignored.code == EPIPE;
	}
	json_decref(request);
	rpc_opt_int(reply.json, "accepted", vm->input_sent, end, &accepted, &ignored);
	rpc_msg_clear(&reply);
	vm->input_sent = accepted;
	return vm->input_sent == end;
}

int follow_input_step(struct follow *follow, bool readable, struct err *err)
{
	bool all = true;
	size_t i;
	int rc;

	if (!follow->input || follow->input_done)
		return 0;
	if (readable && !input_pending(follow)) {
		rc = input_read(follow, err);
		if (rc < 0)
			return rc;
	}
	if (!input_pending(follow))
		return 0;
	for (i = 0; i < follow->agents->count; i++)
		all = input_offer(follow, i) && all;
	if (!all)
		return 0;
	follow->input_base += (int64_t)follow->input_len;
	follow->input_len = 0;
	follow->input_done = follow->input_eof;
	return 0;
}
