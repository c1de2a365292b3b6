/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis verify: check every stored byte of checkpoints, and prove them by starting them. */
#include <errno.h>

#include "cli/cmds.h"
#include "cli/human.h"
#include "cli/simple.h"

/* The ids to check: the operand, or all of the store. */
static int verify_ids(struct client *client, const char *id, json_t **ret_ids, struct err *err)
{
	json_t *reply = NULL;
	const json_t *entry;
	size_t i;
	int rc = 0;

	*ret_ids = json_array();
	if (id) {
		json_array_append_new(*ret_ids, json_string(id));
		return 0;
	}
	rc = client_call(client, json_pack("{s:s}", "op", "ckpt.list"), &reply, err);
	json_array_foreach(json_object_get(reply, "checkpoints"), i, entry)
	{
		json_array_append(*ret_ids, json_object_get(entry, "id"));
	}
	json_decref(reply);
	return rc;
}

struct verify {
	bool quick, restore;
};

static void verify_good(const struct cli *cli, const char *id, const json_t *reply,
			json_t *results)
{
	json_int_t checked = json_integer_value(json_object_get(reply, "bytes"));
	json_t *restored = json_object_get(reply, "restored");
	char bytes[HUMAN_TEXT_MAX];

	json_array_append_new(results,
			      json_pack("{s:s, s:b, s:I, s:O*}", "checkpoint", id, "good", 1,
					"bytes", checked, "restored", restored));
	if (cli->json)
		return;
	printf("%s  good, %s checked", id, human_bytes((uint64_t)checked, bytes));
	if (restored)
		printf(", %" JSON_INTEGER_FORMAT " VMs started and answered in %.1f s",
		       json_integer_value(json_object_get(restored, "vms")),
		       json_number_value(json_object_get(restored, "seconds")));
	putchar('\n');
}

/* One checkpoint; its result is added to `results`. Only a broken connection is an error. */
static int verify_one(const struct cli *cli, struct client *client, const char *id,
		      const struct verify *how, json_t *results, struct err *err)
{
	json_t *reply = NULL;
	int rc =
		client_call(client,
			    json_pack("{s:s, s:s, s:b, s:b}", "op", "ckpt.verify", "checkpoint",
				      id, "quick", how->quick, "restore", how->restore),
			    &reply, err);

	if (rc == 0)
		verify_good(cli, id, reply, results);
	json_decref(reply);
	if (rc == 0 || rc == -ECONNRESET)
		return rc;
	json_array_append_new(results,
			      json_pack("{s:s, s:b, s:i, s:s}", "checkpoint", id, "good", 0,
					"errno", err->code, "message", err->msg));
	if (!cli->json)
		printf("%s  %s: %s\n", id,
		       rc == -EBADMSG ? "DAMAGED"
		       : how->restore ? "NOT PROVEN"
				      : "NOT CHECKED",
		       err->msg);
	return 1;
}

static int verify_do(const struct cli *cli, struct client *client, const char *id,
		     const struct verify *how)
{
	struct err err = ERR_INIT;
	json_t *ids = NULL, *results = json_array();
	size_t i, bad = 0;
	int rc = verify_ids(client, id, &ids, &err);

	for (i = 0; rc >= 0 && i < json_array_size(ids); i++) {
		rc = verify_one(cli, client, json_string_value(json_array_get(ids, i)), how,
				results, &err);
		bad += rc > 0;
	}
	json_decref(ids);
	if (rc < 0) {
		json_decref(results);
		return cli_failed(cli, &err);
	}
	if (cli->json)
		cli_print_json(json_pack("{s:I, s:o}", "bad", (json_int_t)bad, "checkpoints",
					 results));
	else
		json_decref(results);
	return bad ? CLI_FAILED : CLI_OK;
}

static int verify(struct cli *cli, int argc, char **argv)
{
	struct verify how = {0};
	bool all = false;
	struct client client;
	struct err err = ERR_INIT;
	const char *id;
	int opt, code;

	while ((opt = cli_opt_next(cli, argc, argv)) != CLI_OPT_END) {
		if (opt == CLI_OPT_EXIT)
			return cli->exit_code;
		if (opt == 'a')
			all = true;
		else if (opt == 'k')
			how.quick = true;
		else
			how.restore = true;
	}
	if (cli_one_operand(argc, argv, "checkpoint", &id, &err) < 0 ||
	    (id && cli_check_checkpoint(id, &err) < 0))
		return cli_error(cli, CLI_USAGE, &err);
	if (!id == !all)
		return cli_usage(cli, id ? "give either a checkpoint or --all"
					 : "the checkpoint's id, or --all, is missing");
	code = client_open(&client, cli);
	if (code == CLI_OK)
		code = verify_do(cli, &client, id, &how);
	client_close(&client);
	return code;
}

static const struct cli_opt opts[] = {
	{'a', "all", NULL, NULL, "all checkpoints of the store"},
	{'k', "quick", NULL, NULL, "only that all is there, not the stored bytes"},
	{'r', "restore", NULL, NULL, "also start it, isolated, and ask the VMs' agents"},
	{0},
};

const struct cli_cmd cmd_verify = {
	.name = "verify",
	.help = "check every stored byte of a checkpoint, or of all",
	.usage = "CHECKPOINT|--all",
	.about =
		"A damaged checkpoint is marked, and restart does not choose it by itself any more. With --restore\n"
		"its VMs are started beside the cluster, in a network of their own and without the host's devices,\n"
		"and removed when their agents have answered; that takes as much memory as a restart. Exit code 1\n"
		"when one is damaged or could not be proven.",
	.opts = opts,
	.example = "stasis verify --all",
	.fn = verify,
};
