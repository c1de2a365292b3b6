/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis checkpoint: write down a running cluster at one instant. */
#include <unistd.h>

#include "base/spec.h"
#include "cli/cmds.h"
#include "cli/human.h"
#include "cli/simple.h"

static int send_checkpoint(const struct cli *cli, const char *name, const char *tag,
			   json_t **ret_reply)
{
	struct client client;
	struct err err = ERR_INIT;
	json_t *cluster = NULL;
	int code = client_open(&client, cli);

	if (code == CLI_OK && !name) {
		if (client_cluster(&client, NULL, &cluster, &err) < 0)
			code = cli_failed(cli, &err);
		name = json_string_value(json_object_get(cluster, "name"));
	}
	if (code == CLI_OK && client_call(&client,
					  json_pack("{s:s, s:s, s:s*}", "op", "checkpoint",
						    "cluster", name, "tag", tag),
					  ret_reply, &err) < 0)
		code = cli_failed(cli, &err);
	client_close(&client);
	json_decref(cluster);
	return code;
}

static void print_checkpoint(const json_t *checkpoint)
{
	const json_t *manifest = json_object_get(checkpoint, "manifest");
	const char *id = json_string_value(json_object_get(manifest, "id"));
	const json_t *logical = json_object_get(checkpoint, "logical_bytes");
	char added[HUMAN_TEXT_MAX], size[HUMAN_TEXT_MAX], pause[HUMAN_TEXT_MAX],
		total[HUMAN_TEXT_MAX];

	printf("%s  %s added for %s, VMs paused for %s, %s in all\n", id ? id : "-",
	       human_bytes((uint64_t)json_integer_value(json_object_get(checkpoint, "bytes")),
			   added),
	       human_bytes((uint64_t)json_integer_value(logical), size),
	       human_duration(json_integer_value(json_object_get(manifest, "pause_ns")), pause),
	       human_duration(json_integer_value(json_object_get(manifest, "total_ns")),
			      total));
}

static int checkpoint(struct cli *cli, int argc, char **argv)
{
	struct err err = ERR_INIT;
	const char *name, *tag = NULL;
	json_t *reply = NULL;
	int opt, code;

	while ((opt = cli_opt_next(cli, argc, argv)) != CLI_OPT_END) {
		if (opt == CLI_OPT_EXIT)
			return cli->exit_code;
		tag = optarg;
	}
	if (cli_one_operand(argc, argv, "cluster", &name, &err) < 0 ||
	    (name && cli_check_cluster(name, &err) < 0) ||
	    (tag && cli_check_text("--tag", tag, 63, &err) < 0))
		return cli_error(cli, CLI_USAGE, &err);
	if (tag && !spec_name_valid(tag))
		return cli_usage(cli, "--tag '%.63s': use letters, digits, '.', '_' and '-'",
				 tag);
	code = send_checkpoint(cli, name, tag, &reply);
	if (code != CLI_OK)
		return code;
	if (cli->json)
		cli_print_json(json_incref(json_object_get(reply, "checkpoint")));
	else
		print_checkpoint(json_object_get(reply, "checkpoint"));
	json_decref(reply);
	return CLI_OK;
}

static const struct cli_opt opts[] = {
	{'t', "tag", "TEXT", "none", "a word that is shown with the checkpoint"},
	{0},
};

const struct cli_cmd cmd_checkpoint = {
	.name = "checkpoint",
	.help = "write down a running cluster, all VMs at one instant",
	.usage = "[CLUSTER]",
	.about =
		"Without CLUSTER the only one is meant. The cluster goes on running. Prints the checkpoint's id.",
	.opts = opts,
	.example = "stasis checkpoint h2o --tag before-upgrade",
	.fn = checkpoint,
};
