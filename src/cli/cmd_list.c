/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis list: the checkpoints in the store. */
#include "cli/cmds.h"
#include "cli/human.h"
#include "cli/simple.h"

static void print_checkpoints(const json_t *checkpoints)
{
	static const char *const titles[] = {"CHECKPOINT", "CLUSTER", "TAG",
					     "CREATED",    ">SIZE",   ">ADDED",
					     ">PAUSE",     ">VMS",    "STATE"};
	struct table *table = table_create(titles, 9);
	const json_t *entry;
	size_t i;

	json_array_foreach((json_t *)checkpoints, i, entry)
	{
		char created[HUMAN_TEXT_MAX], size[HUMAN_TEXT_MAX], added[HUMAN_TEXT_MAX],
			pause[HUMAN_TEXT_MAX], vms[HUMAN_TEXT_MAX];
		const char *tag = json_string_value(json_object_get(entry, "tag"));

		if (!table)
			return;
		human_time(json_integer_value(json_object_get(entry, "created_ns")), created);
		human_bytes(
			(uint64_t)json_integer_value(json_object_get(entry, "logical_bytes")),
			size);
		human_bytes((uint64_t)json_integer_value(json_object_get(entry, "bytes")),
			    added);
		human_duration(json_integer_value(json_object_get(entry, "pause_ns")), pause);
		snprintf(vms, sizeof(vms), "%" JSON_INTEGER_FORMAT,
			 json_integer_value(json_object_get(entry, "vms")));
		table_add(table,
			  (const char *[]){
				  json_string_value(json_object_get(entry, "id")),
				  json_string_value(json_object_get(entry, "cluster")),
				  tag && *tag ? tag : "-", created, size, added, pause, vms,
				  json_is_true(json_object_get(entry, "damaged")) ? "damaged"
										  : "good"});
	}
	if (table)
		table_print(table, stdout);
	table_destroy(table);
}

static int list(struct cli *cli, int argc, char **argv)
{
	struct err err = ERR_INIT;
	const json_t *checkpoints;
	const char *name;
	json_t *reply = NULL;
	bool done;
	int code = simple_args(cli, argc, argv, "cluster", &name, &done);

	if (done)
		return code;
	if (name && cli_check_cluster(name, &err) < 0)
		return cli_error(cli, CLI_USAGE, &err);
	code = simple_call(cli, json_pack("{s:s, s:s*}", "op", "ckpt.list", "cluster", name),
			   &reply);
	if (code != CLI_OK)
		return code;
	if (cli->json) {
		json_object_del(reply, "id");
		return cli_print_json(reply);
	}
	checkpoints = json_object_get(reply, "checkpoints");
	if (json_array_size(checkpoints))
		print_checkpoints(checkpoints);
	else
		printf("there are no checkpoints%s%s\n", name ? " of cluster " : "",
		       name ? name : "");
	json_decref(reply);
	return CLI_OK;
}

const struct cli_cmd cmd_list = {
	.name = "list",
	.help = "list the checkpoints in the store, oldest first",
	.usage = "[CLUSTER]",
	.about =
		"SIZE: of its VMs' memory, devices and disk changes, all pages counted. ADDED: what the store grew by.",
	.example = "stasis list h2o",
	.fn = list,
};
