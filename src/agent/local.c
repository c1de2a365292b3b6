/* SPDX-License-Identifier: BSD-3-Clause */
/* Words on standard input become phases, one after the other; their ends become lines of JSON.
 */
#include "agent/local.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"

enum { DEADLINE_MS = 30000 };

static void answer(struct agent *agent, json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT);

	agent->local.busy = false;
	if (text)
		printf("%s\n", text);
	fflush(stdout);
	free(text);
	json_decref(json);
}

static void refuse(struct agent *agent, const struct err *err)
{
	answer(agent, json_pack("{s:b,s:s}", "ok", 0, "message", err->msg));
}

static void phase_done(struct agent *agent, const struct processes_outcome *outcome)
{
	json_t *json = json_pack("{s:b,s:s,s:i,s:i,s:I}", "ok", outcome->rc == 0, "state",
				 phase_state_name(agent->phase.state), "processes",
				 outcome->processes, "slowest_rank", outcome->slowest,
				 "slowest_ns", (json_int_t)outcome->slowest_ns);

	if (outcome->rc < 0)
		json_object_set_new(json, "message", json_string(outcome->err.msg));
	answer(agent, json);
}

static void carry_out(struct agent *agent, char *line)
{
	char word[16] = "";
	long deadline_ms = DEADLINE_MS;
	enum phase_event event;
	struct err err = ERR_INIT;
	int rc;

	sscanf(line, "%15s %ld", word, &deadline_ms);
	agent->local.busy = true;
	if (strcmp(word, "status") == 0) {
		answer(agent, json_pack("{s:b,s:s,s:i}", "ok", 1, "state",
					phase_state_name(phase_furthest(agent)), "processes",
					processes_greeted(&agent->processes)));
		return;
	}
	rc = phase_parse(word, &event, &err);
	if (rc == 0 && (deadline_ms < 0 || deadline_ms > INT32_MAX))
		rc = err_set(&err, EINVAL, "%ld ms are no deadline", deadline_ms);
	if (rc == 0)
		rc = phase_begin(agent, event, "local", deadline_ms, phase_done, &err);
	if (rc < 0)
		refuse(agent, &err);
}

/* The next whole line out of the buffer. */
void local_work(struct agent *agent)
{
	struct local *local = &agent->local;
	char line[LOCAL_LINE_MAX], *end;

	while (!local->busy && (end = memchr(local->line, '\n', local->len))) {
		size_t len = (size_t)(end - local->line) + 1;

		memcpy(line, local->line, len);
		line[len - 1] = '\0';
		local->len -= len;
		memmove(local->line, end + 1, local->len);
		carry_out(agent, line);
	}
}

static void input_ready(struct agent *agent, struct watch *watch, uint32_t events)
{
	struct local *local = &agent->local;
	size_t room = sizeof(local->line) - local->len;
	ssize_t n = room > 0 ? read(watch->fd, local->line + local->len, room) : 0;

	(void)events;
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n > 0) {
		local->len += (size_t)n;
		return;
	}
	/* The end, or a line that is too long for any order. */
	watch_close(watch);
	local->ended = true;
}

int local_open(struct agent *agent, struct err *err)
{
	agent->local.on = true;
	agent->local.watch = (struct watch){.fd = STDIN_FILENO, .ready = input_ready};
	return watch_add(agent->epoll_fd, &agent->local.watch, EPOLLIN, err);
}
