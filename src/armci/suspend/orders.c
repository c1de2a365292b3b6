/* SPDX-License-Identifier: BSD-3-Clause */
/* A table of orders: in which states each is obeyed, and by what. */
#include "armci/suspend/orders.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "armci/core/gate.h"
#include "armci/core/job.h"
#include "armci/core/wait.h"
#include "armci/remote/pause.h"
#include "armci/transport/transport.h"
#include "base/clock.h"

_Static_assert((int)CONTROL_CARD_MAX >= (int)TRANSPORT_ADDRESS_MAX, "a card holds an address");

/* A deadline that no host would mean: a week. */
#define DEADLINE_MAX_MS INT64_C(604800000)

static enum control_state state;

enum control_state orders_state(void)
{
	return state;
}

static void go_on(void)
{
	remote_undrain();
	gate_open();
	state = CONTROL_OPEN;
}

static int drain(struct orders_call *call, int64_t deadline_ns, struct err *err)
{
	int64_t begin_ns = wait_now_ns();
	int rc = 0;

	(void)call;
	if (state == CONTROL_DRAINED)
		return 0;
	gate_close();
	remote_drain_begin();
	if (!gate_wait_empty(deadline_ns))
		rc = err_set(err, ETIMEDOUT, "it has been in %s for %.1f s", gate_what(),
			     (double)(wait_now_ns() - begin_ns) / 1e9);
	if (rc == 0)
		rc = remote_drain(deadline_ns, err);
	if (rc < 0)
		go_on();
	else
		state = CONTROL_DRAINED;
	return rc;
}

static int release(struct orders_call *call, int64_t deadline_ns, struct err *err)
{
	(void)call, (void)deadline_ns, (void)err;
	if (state == CONTROL_DRAINED)
		remote_release();
	state = CONTROL_RELEASED;
	return 0;
}

static int reopen(struct orders_call *call, int64_t deadline_ns, struct err *err)
{
	int rc;

	if (state == CONTROL_DRAINED)
		release(call, deadline_ns, err);
	if (state == CONTROL_RELEASED) {
		rc = remote_reopen(deadline_ns, err);
		if (rc < 0)
			return rc;
		state = CONTROL_REOPENED;
	}
	call->report.card_bytes = (uint32_t)remote_card(call->card);
	return 0;
}

static const void *card_of(void *arg, int rank, size_t *ret_bytes)
{
	const struct control_table *table = arg;
	const struct control_row *row = &table->rows[rank];

	*ret_bytes = row->bytes;
	return row->bytes <= CONTROL_CARD_MAX ? row->card : NULL;
}

static int connect_with(const struct control_table *table, size_t bytes, struct err *err)
{
	if (bytes < sizeof(*table) || table->magic != CONTROL_MAGIC ||
	    table->ranks != (uint32_t)job.size ||
	    bytes - sizeof(*table) != table->ranks * sizeof(table->rows[0]))
		return err_set(err, EBADMSG, "the table of addresses is not that of this job");
	return remote_connect(card_of, (void *)table, err);
}

static int connect_anew(int fd, struct err *err)
{
	struct control_table *table;
	struct stat st;
	int rc;

	if (fd < 0)
		return err_set(err, EBADMSG, "the table of addresses is missing");
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot look at the table of addresses");
	table = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (table == MAP_FAILED)
		return err_sys(err, errno, "cannot map the table of addresses");
	rc = connect_with(table, (size_t)st.st_size, err);
	munmap(table, (size_t)st.st_size);
	return rc;
}

static int connect_order(struct orders_call *call, int64_t deadline_ns, struct err *err)
{
	int rc = 0;

	(void)deadline_ns;
	if (state == CONTROL_REOPENED)
		rc = connect_anew(call->table_fd, err);
	if (rc == 0 && state != CONTROL_OPEN)
		go_on();
	return rc;
}

static int abort_order(struct orders_call *call, int64_t deadline_ns, struct err *err)
{
	(void)call, (void)deadline_ns, (void)err;
	if (state == CONTROL_DRAINED)
		go_on();
	return 0;
}

#define IN(state) (1u << CONTROL_##state)

static const struct {
	const char *name;
	unsigned states; /* in which it is obeyed */
	int (*act)(struct orders_call *call, int64_t deadline_ns, struct err *err);
} orders[CONTROL_KINDS] = {
	[CONTROL_DRAIN] = {"drain", IN(OPEN) | IN(DRAINED), drain},
	[CONTROL_RELEASE] = {"release", IN(DRAINED) | IN(RELEASED), release},
	[CONTROL_REOPEN] = {"reopen", IN(OPEN) | IN(DRAINED) | IN(RELEASED) | IN(REOPENED),
			    reopen},
	[CONTROL_CONNECT] = {"connect", IN(OPEN) | IN(DRAINED) | IN(REOPENED), connect_order},
	[CONTROL_ABORT] = {"abort", IN(OPEN) | IN(DRAINED), abort_order},
};

static const char *const state_names[CONTROL_STATES] = {"open", "drained", "released",
							"reopened"};

static int obey(struct orders_call *call, struct err *err)
{
	const struct control_order *order = &call->order;
	int64_t deadline_ms = order->deadline_ms;

	if (order->kind >= CONTROL_KINDS)
		return err_set(err, EPROTO, "order %u is not known", order->kind);
	if (!(orders[order->kind].states & 1u << state))
		return err_set(err, EPROTO, "\"%s\" is not for a process that is %s",
			       orders[order->kind].name, state_names[state]);
	if (deadline_ms < 0 || deadline_ms > DEADLINE_MAX_MS)
		deadline_ms = DEADLINE_MAX_MS;
	return orders[order->kind].act(call, wait_now_ns() + deadline_ms * NS_PER_MS, err);
}

void orders_carry_out(struct orders_call *call)
{
	int64_t begin_ns = wait_now_ns();
	struct err err = ERR_INIT;
	int rc;

	call->report =
		(struct control_report){.kind = call->order.kind, .serial = call->order.serial};
	rc = obey(call, &err);
	call->report.status = rc;
	call->report.state = state;
	call->report.duration_ns = wait_now_ns() - begin_ns;
	if (rc < 0)
		snprintf(call->report.text, sizeof(call->report.text), "%.*s",
			 CONTROL_TEXT_MAX - 1, err.msg);
}
