/* SPDX-License-Identifier: BSD-3-Clause */
/* What all subcommands share: their table, options, exit codes, and how errors and results are
 * told. */
#ifndef STASIS_CLI_CLI_H
#define STASIS_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Exit codes, the same for every subcommand. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1, /* the operation failed */
	CLI_USAGE = 2,  /* bad usage or bad input */
	CLI_NO_DAEMON =
		3,     /* no daemon answers and none could be started, or it ended in between */
	CLI_LOST = 4,  /* the cluster or the job was lost: restart it from a checkpoint */
	CLI_OWN = 125, /* exec, run, attach: any failure of Stasis itself but CLI_LOST */
};

/* An option for getopt_long(3) and for --help. Options without a letter have a value above 255.
 */
struct cli_opt {
	int value;
	const char *name;
	const char *arg;          /* NULL: takes none */
	const char *default_text; /* NULL: nothing worth saying */
	const char *doc;
};

struct cli;

struct cli_cmd {
	const char *name;
	const char *help;  /* one line */
	const char *usage; /* what follows "stasis NAME [OPTION]… " */
	const char *about; /* a paragraph, lines of at most 96 bytes, or NULL */
	const struct cli_opt
		*opts; /* without the common ones; ended by a NULL name; may be NULL */
	const char *example;
	int (*fn)(struct cli *cli, int argc, char **argv); /* returns the exit code */
	bool passes_code;      /* the exit code is the one of a command in the guest */
	bool stops_at_operand; /* options end at the first operand: it begins another command */
};

/* All subcommands, ended by a NULL name. */
extern const struct cli_cmd *const cli_cmds[];

struct cli {
	const struct cli_cmd *cmd;
	bool json;     /* one JSON document on stdout */
	bool quiet;    /* no progress, no remarks */
	int exit_code; /* set when cli_opt_next() returns CLI_OPT_EXIT */
};

/*
 * Next option's value, CLI_OPT_END when none is left (operands start at argv[optind]), or
 * CLI_OPT_EXIT: --help was printed or a bad option refused, and the subcommand returns
 * cli->exit_code.
 */
enum { CLI_OPT_END = -1, CLI_OPT_EXIT = -2 };
int cli_opt_next(struct cli *cli, int argc, char **argv);

void cli_print_help(const struct cli_cmd *cmd);
const struct cli_cmd *cli_find_cmd(const char *name);

/* Tell an error and return the exit code for it: exit_code, or CLI_OWN where the command's code
 * is passed on. */
int cli_error(const struct cli *cli, enum cli_exit exit_code, const struct err *err);
/* As above for a failed operation: CLI_NO_DAEMON when the connection broke, else CLI_FAILED. */
int cli_failed(const struct cli *cli, const struct err *err);
/* Bad usage or input, in one sentence. */
int cli_usage(const struct cli *cli, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A remark on stderr, unless --quiet or --json. */
void cli_note(const struct cli *cli, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A warning on stderr, even with --quiet. */
void cli_warn(const struct cli *cli, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Print the document with --json; takes over `json`. Returns CLI_OK. */
int cli_print_json(json_t *json);

/* Take at most one operand: NULL in *ret_operand when there is none. 0, or -EINVAL with a
 * sentence. */
int cli_one_operand(int argc, char **argv, const char *what, const char **ret_operand,
		    struct err *err);
/* 0, or -EINVAL with a sentence when there is an operand. */
int cli_no_operand(int argc, char **argv, struct err *err);
/* UTF-8, not empty, not longer than `max` bytes; `what` names the argument in the sentence. */
int cli_check_text(const char *what, const char *text, size_t max, struct err *err);
/* Checked names: a cluster's, a VM's, a checkpoint's. */
int cli_check_cluster(const char *name, struct err *err);
int cli_check_vm(const char *name, struct err *err);
int cli_check_checkpoint(const char *name, struct err *err);
/* A whole number in a range. */
int cli_parse_count(const char *what, const char *text, unsigned int min, unsigned int max,
		    unsigned int *ret_count, struct err *err);

#endif
