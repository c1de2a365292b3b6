/* SPDX-License-Identifier: BSD-3-Clause */
/* The frame of subcommands that send one request: options, operand, connection, reply. */
#ifndef STASIS_CLI_SIMPLE_H
#define STASIS_CLI_SIMPLE_H

#include "cli/cli.h"
#include "cli/client.h"

/* Read options of a subcommand that has only the common ones, and at most one operand. CLI_OK,
 * or with *ret_done set the code to exit with. */
int simple_args(struct cli *cli, int argc, char **argv, const char *what,
		const char **ret_operand, bool *ret_done);

/* Connect, send `request` (taken over) and wait. CLI_OK with *ret_reply, or the exit code after
 * telling the error. */
int simple_call(const struct cli *cli, json_t *request, json_t **ret_reply);

#endif
