/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis restart: bring a cluster back from a checkpoint. */
#include <errno.h>
#include <string.h>

#include "cli/cmds.h"
#include "cli/human.h"
#include "cli/simple.h"

/* Whether the text is the id of a checkpoint; otherwise it is taken for a cluster. */
static int is_checkpoint(struct client *client, const char *text, bool *ret_is, struct err *err)
{
	json_t *reply = NULL;
	const json_t *entry;
	size_t i;
	int rc = client_call(client, json_pack("{s:s}", "op", "ckpt.list"), &reply, err);

	*ret_is = false;
	json_array_foreach(json_object_get(reply, "checkpoints"), i, entry)
	{
		const char *id = json_string_value(json_object_get(entry, "id"));

		*ret_is = *ret_is || (id && strcmp(id, text) == 0);
	}
	json_decref(reply);
	return rc;
}

static int send_restart(const struct cli *cli, const char *operand, bool force,
			json_t **ret_reply)
{
	struct client client;
	struct err err = ERR_INIT;
	json_t *cluster = NULL;
	bool by_id = false;
	int rc = 0, code = client_open(&client, cli);

	if (code == CLI_OK && operand)
		rc = is_checkpoint(&client, operand, &by_id, &err);
	if (code == CLI_OK && !operand) {
		rc = client_cluster(&client, NULL, &cluster, &err);
		operand = json_string_value(json_object_get(cluster, "name"));
		if (rc == -ENOENT)
			rc = err_set(
				&err, ENOENT,
				"no cluster is known to run: say which cluster or checkpoint is "
				"meant (stasis list shows them)");
	}
	if (code == CLI_OK && rc == 0)
		rc = client_call(&client,
				 json_pack("{s:s, s:s, s:b}", "op", "restart",
					   by_id ? "checkpoint" : "cluster", operand, "force",
					   force),
				 ret_reply, &err);
	if (code == CLI_OK && rc < 0)
		code = cli_failed(cli, &err);
	client_close(&client);
	json_decref(cluster);
	return code;
}

static void print_phases(const json_t *phases)
{
	static const char *const titles[] = {"PHASE", ">TIME"};
	struct table *table = table_create(titles, 2);
	const json_t *phase;
	size_t i;

	json_array_foreach((json_t *)phases, i, phase)
	{
		char time[HUMAN_TEXT_MAX];

		if (!table)
			return;
		human_duration(json_integer_value(json_object_get(phase, "duration_ns")), time);
		table_add(table,
			  (const char *[]){json_string_value(json_object_get(phase, "name")),
					   time});
	}
	if (table)
		table_print(table, stdout);
	table_destroy(table);
}

static int restart(struct cli *cli, int argc, char **argv)
{
	struct err err = ERR_INIT;
	const char *operand;
	const json_t *cluster;
	json_t *reply = NULL;
	bool force = false;
	int opt, code;

	while ((opt = cli_opt_next(cli, argc, argv)) != CLI_OPT_END) {
		if (opt == CLI_OPT_EXIT)
			return cli->exit_code;
		force = true;
	}
	if (cli_one_operand(argc, argv, "cluster or checkpoint", &operand, &err) < 0 ||
	    (operand && cli_check_checkpoint(operand, &err) < 0))
		return cli_error(cli, CLI_USAGE, &err);
	code = send_restart(cli, operand, force, &reply);
	if (code != CLI_OK)
		return code;
	if (cli->json) {
		json_object_del(reply, "id");
		return cli_print_json(reply);
	}
	cluster = json_object_get(reply, "cluster");
	printf("cluster %s runs again from checkpoint %s, %.1f s\n",
	       json_string_value(json_object_get(cluster, "name")),
	       json_string_value(json_object_get(reply, "checkpoint")),
	       json_number_value(json_object_get(reply, "seconds")));
	print_phases(json_object_get(reply, "phases"));
	if (json_is_object(json_object_get(cluster, "run")))
		cli_note(cli, "its run goes on: stasis attach %s",
			 json_string_value(json_object_get(cluster, "name")));
	json_decref(reply);
	return CLI_OK;
}

static const struct cli_opt opts[] = {
	{'f', "force", NULL, NULL, "end a cluster that still runs"},
	{0},
};

const struct cli_cmd cmd_restart = {
	.name = "restart",
	.help = "bring a cluster back from a checkpoint",
	.usage = "[CLUSTER|CHECKPOINT]",
	.about =
		"A cluster's name stands for its newest checkpoint that is not damaged. A cluster whose VMs all run\n"
		"is left alone unless --force is given; what remains of a broken one is ended first.",
	.opts = opts,
	.example = "stasis restart h2o-20260301-120005-4f2a91c3",
	.fn = restart,
};
