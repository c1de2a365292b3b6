/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis help: the list of subcommands, or the help of one. */
#include "cli/cmds.h"
#include "cli/simple.h"

static json_t *help_json(void)
{
	json_t *list = json_array();
	const struct cli_cmd *const *cmd;

	for (cmd = cli_cmds; *cmd; cmd++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", (*cmd)->name,
						      "help", (*cmd)->help));
	return json_pack("{s:o}", "subcommands", list);
}

static int help(struct cli *cli, int argc, char **argv)
{
	const struct cli_cmd *const *cmd;
	const char *name;
	bool done;
	int code = simple_args(cli, argc, argv, "subcommand", &name, &done);

	if (done)
		return code;
	if (name && !cli_find_cmd(name))
		return cli_usage(cli, "unknown subcommand '%.60s'; see stasis help", name);
	if (cli->json)
		return cli_print_json(help_json());
	if (name) {
		cli_print_help(cli_find_cmd(name));
		return CLI_OK;
	}
	printf("Usage: stasis SUBCOMMAND [OPTION]... [ARGUMENT]...\n\n"
	       "Checkpoints clusters of virtual machines and brings them back.\n\nSubcommands:\n");
	for (cmd = cli_cmds; *cmd; cmd++)
		printf("  %-12s %s\n", (*cmd)->name, (*cmd)->help);
	printf("\nThe everyday form:\n"
	       "  stasis run -c cluster.ini -n 4 --checkpoint-every 30s -- nwchem h2o.nw\n\n"
	       "stasis SUBCOMMAND --help tells more; so do stasis(1) and stasis-cluster(5).\n");
	return CLI_OK;
}

const struct cli_cmd cmd_help = {
	.name = "help",
	.help = "list the subcommands, or explain one",
	.usage = "[SUBCOMMAND]",
	.example = "stasis help run",
	.fn = help,
};
