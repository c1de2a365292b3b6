/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis version: the program's and the protocol's version. */
#include <unistd.h>

#include "base/rpc.h"
#include "cli/cmds.h"

static int version(struct cli *cli, int argc, char **argv)
{
	if (cli_opt_next(cli, argc, argv) == CLI_OPT_EXIT)
		return cli->exit_code;
	if (optind < argc)
		return cli_usage(cli, "'%.60s' is too much", argv[optind]);
	if (cli->json)
		return cli_print_json(json_pack("{s:s, s:i}", "version", STASIS_VERSION,
						"protocol", RPC_VERSION));
	printf("stasis %s\n", STASIS_VERSION);
	return CLI_OK;
}

const struct cli_cmd cmd_version = {
	.name = "version",
	.help = "print the version",
	.usage = "",
	.example = "stasis version",
	.fn = version,
};
