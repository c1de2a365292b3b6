/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis gc: free what no checkpoint of the store needs any more. */
#include "cli/cmds.h"
#include "cli/collected.h"
#include "cli/simple.h"

static int gc(struct cli *cli, int argc, char **argv)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	int code;

	if (cli_opt_next(cli, argc, argv) == CLI_OPT_EXIT)
		return cli->exit_code;
	if (cli_no_operand(argc, argv, &err) < 0)
		return cli_error(cli, CLI_USAGE, &err);
	code = simple_call(cli, json_pack("{s:s}", "op", "store.gc"), &reply);
	if (code != CLI_OK)
		return code;
	if (cli->json) {
		json_object_del(reply, "id");
		return cli_print_json(reply);
	}
	collected_print(cli, reply);
	json_decref(reply);
	return CLI_OK;
}

const struct cli_cmd cmd_gc = {
	.name = "gc",
	.help = "free what no checkpoint of the store needs any more",
	.usage = "",
	.about =
		"rm, prune and [checkpoint] keep have it done by themselves. It can be needed where other hosts use\n"
		"the store, too, or a host has died. Checkpoints and restarts go on meanwhile.",
	.example = "stasis gc",
	.fn = gc,
};
