/* SPDX-License-Identifier: BSD-3-Clause */
/* The command stasis: finds the subcommand and hands over. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/cmds.h"

enum { ARG_BYTES_MAX = 65536 };

static int check_args(const struct cli *cli, int argc, char **argv)
{
	struct err err;
	int i;

	for (i = 1; i < argc; i++) {
		char what[32];

		snprintf(what, sizeof(what), "argument %d", i);
		if (cli_check_text(what, argv[i], ARG_BYTES_MAX, &err) < 0 && argv[i][0])
			return cli_error(cli, CLI_USAGE, &err);
	}
	return CLI_OK;
}

/* --json counts before the subcommand has read its options, too. */
static bool wants_json(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--json") == 0)
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct cli cli = {0};
	int rc;

	if (argc < 2) {
		fprintf(stderr, "stasis: a subcommand is missing; see stasis help\n");
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		argv[1] = "help";
	else if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		argv[1] = "version";
	cli.cmd = cli_find_cmd(argv[1]);
	cli.json = wants_json(argc, argv);
	rc = check_args(&cli, argc, argv);
	if (rc != CLI_OK)
		return rc;
	if (!cli.cmd)
		return cli_usage(&cli, "unknown subcommand '%.60s'; see stasis help", argv[1]);
	cli.json = false;
	rc = cli.cmd->fn(&cli, argc - 1, argv + 1);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "stasis %s: cannot write to the standard output\n",
			cli.cmd->name);
		return cli.cmd->passes_code ? CLI_OWN : CLI_FAILED;
	}
	return rc;
}
