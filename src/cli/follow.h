/* SPDX-License-Identifier: BSD-3-Clause */
/* Following jobs in guests: their output as it comes, input and signals for them, until they
 * have ended. */
#ifndef STASIS_CLI_FOLLOW_H
#define STASIS_CLI_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/agents.h"
#include "cli/cli.h"
#include "cli/client.h"

enum follow_end {
	FOLLOW_EXITED,   /* all jobs have ended */
	FOLLOW_DETACHED, /* a signal said to stop following; `signal` says which */
	FOLLOW_LOST,     /* the cluster or the job is gone; the error says how */
};

struct follow_stream {
	int64_t offset; /* bytes shown */
	char *line;     /* with a prefix: an unfinished line */
	size_t line_len;
};

struct follow_vm {
	struct follow_stream out, err;
	bool waiting, exited;
	int64_t retry_ns;   /* no request before this monotonic instant */
	int64_t input_sent; /* bytes of standard input that the job has taken */
	int code, signal;
};

struct follow {
	const struct cli *cli;
	struct client *client; /* for status, signals, input */
	struct agents *agents;
	const char *job;
	bool prefix;   /* each line begins with its VM's name */
	bool input;    /* forward standard input */
	bool detach;   /* SIGINT, SIGTERM and SIGHUP end the following, not the job */
	bool new_only; /* begin at the output's present end */

	/* results */
	struct follow_vm *vms; /* one for each agent */
	int signal;            /* FOLLOW_DETACHED */
	char lost[512];        /* FOLLOW_LOST: why, one sentence */

	/* the loop's own */
	int signal_fd; /* -1 before follow_init() */
	unsigned int interrupts;
	int64_t status_ns; /* when the cluster's state is next asked for */
	char *input_buf;
	size_t input_len;
	int64_t input_base; /* offset of input_buf in the standard input */
	bool input_eof, input_done;
};

/* SIGINT, SIGTERM and SIGHUP go to follow_run() until follow_clear(). */
int follow_init(struct follow *follow, struct err *err);
int follow_run(struct follow *follow, enum follow_end *ret_end, struct err *err);
void follow_clear(struct follow *follow);

/* The exit code for a job's end: its code, or 128 + signal. */
int follow_exit_code(const struct follow_vm *vm);

#endif
