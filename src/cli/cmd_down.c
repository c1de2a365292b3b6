/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis down: end a cluster. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/spec.h"
#include "cli/args.h"
#include "cli/cmds.h"
#include "cli/simple.h"

static int down_send(const struct cli *cli, const char *name)
{
	struct client client;
	struct err err = ERR_INIT;
	json_t *cluster = NULL, *reply = NULL;
	int code = client_open(&client, cli);

	if (code == CLI_OK && !name) {
		if (client_cluster(&client, NULL, &cluster, &err) < 0)
			code = cli_failed(cli, &err);
		name = json_string_value(json_object_get(cluster, "name"));
	}
	if (code == CLI_OK &&
	    client_call(&client, json_pack("{s:s, s:s}", "op", "cluster.down", "cluster", name),
			&reply, &err) < 0)
		code = cli_failed(cli, &err);
	client_close(&client);
	if (code == CLI_OK && cli->json)
		cli_print_json(json_pack("{s:s}", "cluster", name));
	else if (code == CLI_OK)
		printf("cluster %s has ended; its checkpoints stay\n", name);
	json_decref(cluster);
	json_decref(reply);
	return code;
}

static int down(struct cli *cli, int argc, char **argv)
{
	CLEANUP_FREE struct spec *spec = malloc(sizeof(*spec));
	struct args_spec args = {0};
	struct err err = ERR_INIT;
	const char *name;
	int opt;

	while ((opt = cli_opt_next(cli, argc, argv)) != CLI_OPT_END) {
		if (opt == CLI_OPT_EXIT)
			return cli->exit_code;
		args.file = optarg;
	}
	if (cli_one_operand(argc, argv, "cluster", &name, &err) < 0 ||
	    (name && cli_check_cluster(name, &err) < 0))
		return cli_error(cli, CLI_USAGE, &err);
	if (name && args.file)
		return cli_usage(cli, "give either the cluster '%s' or -c %.200s, not both",
				 name, args.file);
	if (args.file) {
		if (!spec || args_spec_load(&args, spec, &err) < 0)
			return cli_error(cli, CLI_USAGE, &err);
		name = spec->name;
	}
	return down_send(cli, name);
}

static const struct cli_opt opts[] = {
	{'c', "config", "FILE", NULL, "the cluster that this file describes"},
	{0},
};

const struct cli_cmd cmd_down = {
	.name = "down",
	.help = "end a cluster: its VMs and disks go, its checkpoints stay",
	.usage = "[CLUSTER]",
	.about = "Without CLUSTER and -c the only cluster is meant.",
	.opts = opts,
	.example = "stasis down h2o",
	.fn = down,
};
