/* SPDX-License-Identifier: BSD-3-Clause */
/* The frame of subcommands that send one request: options, operand, connection, reply. */
#include "cli/simple.h"

int simple_args(struct cli *cli, int argc, char **argv, const char *what,
		const char **ret_operand, bool *ret_done)
{
	struct err err = ERR_INIT;

	*ret_done = true;
	if (cli_opt_next(cli, argc, argv) == CLI_OPT_EXIT)
		return cli->exit_code;
	if (cli_one_operand(argc, argv, what, ret_operand, &err) < 0)
		return cli_error(cli, CLI_USAGE, &err);
	*ret_done = false;
	return CLI_OK;
}

int simple_call(const struct cli *cli, json_t *request, json_t **ret_reply)
{
	struct client client;
	struct err err = ERR_INIT;
	int code = client_open(&client, cli);

	if (code != CLI_OK)
		json_decref(request);
	else if (client_call(&client, request, ret_reply, &err) < 0)
		code = cli_failed(cli, &err);
	client_close(&client);
	return code;
}
