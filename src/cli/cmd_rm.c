/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis rm: remove checkpoints from the store. */
#include <errno.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/cmds.h"

static int rm_do(const struct cli *cli, struct client *client, char **ids, int count)
{
	json_t *removed = json_array();
	struct err err = ERR_INIT;
	int i, rc = 0;

	for (i = 0; i < count && rc == 0; i++) {
		rc = client_call(client,
				 json_pack("{s:s, s:s}", "op", "ckpt.rm", "checkpoint", ids[i]),
				 NULL, &err);
		if (rc == 0)
			json_array_append_new(removed, json_string(ids[i]));
		if (rc == 0 && !cli->json)
			printf("%s is removed\n", ids[i]);
	}
	if (rc < 0) {
		json_decref(removed);
		return cli_failed(cli, &err);
	}
	if (cli->json)
		return cli_print_json(json_pack("{s:o}", "removed", removed));
	json_decref(removed);
	return CLI_OK;
}

static int rm(struct cli *cli, int argc, char **argv)
{
	struct client client;
	struct err err = ERR_INIT;
	int i, code;

	if (cli_opt_next(cli, argc, argv) == CLI_OPT_EXIT)
		return cli->exit_code;
	if (optind >= argc)
		return cli_usage(cli, "the checkpoint's id is missing; stasis list shows them");
	for (i = optind; i < argc; i++) {
		if (cli_check_checkpoint(argv[i], &err) < 0)
			return cli_error(cli, CLI_USAGE, &err);
	}
	code = client_open(&client, cli);
	if (code == CLI_OK)
		code = rm_do(cli, &client, argv + optind, argc - optind);
	client_close(&client);
	return code;
}

const struct cli_cmd cmd_rm = {
	.name = "rm",
	.help = "remove checkpoints from the store",
	.usage = "CHECKPOINT...",
	.about = "There is no way back. The first one that cannot be removed ends the work.",
	.example = "stasis rm h2o-20260301-120005-4f2a91c3",
	.fn = rm,
};
