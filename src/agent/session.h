/* SPDX-License-Identifier: BSD-3-Clause */
/* The host's session on the port: dispatch of its requests, replies, and polls that wait. */
#ifndef STASIS_AGENT_SESSION_H
#define STASIS_AGENT_SESSION_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/request.h"
#include "agent/watch.h"

enum {
	SESSION_WAITS_MAX = 64,
	/* What an operation returns when its reply must wait: for news, or a moment for more of
	   it. */
	REPLY_WAIT = 1,
	REPLY_GATHER = 2,
	/* It has been kept, and will be answered. */
	REPLY_LATER = 3,
};

/* A reply in the making. */
struct reply {
	json_t *json;
	char *blob; /* malloc'ed, owned */
	size_t blob_len;
	bool incomplete; /* a member could not be set */
};

/* Set a member, taking over the reference `value`; NULL (no memory, not UTF-8) makes the reply
 * an error. */
void reply_set(struct reply *reply, const char *key, json_t *value);

/* A job.poll that waits for something new. */
struct poll_wait {
	json_t *json;           /* its message, owned; NULL: the place is free */
	struct request request; /* points into json */
	int64_t deadline_ns;
	int inotify_wd; /* -1: it gathers output until the deadline */
};

struct session {
	bool active; /* a host has said hello */
	int64_t count;
	struct watch inotify;
	struct poll_wait waits[SESSION_WAITS_MAX];
	json_t *phase; /* a phase's request, owned, until the phase has ended */
};

int session_create(struct agent *agent, struct err *err);
void session_destroy(struct agent *agent);

/* A message has come from the host. */
void session_message(struct agent *agent, const struct rpc_msg *msg);

/* The host has gone: nobody waits for replies any more. */
void session_end(struct agent *agent);

/* Answer the polls whose time is up; called once in each turn of the loop. */
void session_work(struct agent *agent);
int session_timeout_ms(const struct session *session);

#endif
