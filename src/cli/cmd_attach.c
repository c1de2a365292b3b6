/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis attach: return to a run. */
#include <errno.h>
#include <string.h>

#include "cli/cmds.h"
#include "cli/run_follow.h"

static int run_member(const json_t *record, const char *key, char *ret_text, size_t size,
		      struct err *err)
{
	const char *text;
	int rc = rpc_get_str(record, key, &text, err);

	return rc < 0 ? rc : io_path(ret_text, size, err, "%s", text);
}

/* Fill in a run from its record in cluster.status. */
static int run_from_record(const json_t *cluster, struct run *run, struct err *err)
{
	const json_t *record = json_object_get(cluster, "run");
	int rc = run_member(cluster, "name", run->cluster, sizeof(run->cluster), err);

	if (rc == 0 && !json_is_object(record))
		rc = err_set(err, ENOENT, "cluster %s has no run; stasis run starts one",
			     run->cluster);
	if (rc == 0)
		rc = run_member(record, "job", run->job, sizeof(run->job), err);
	if (rc == 0)
		rc = run_member(record, "guest_dir", run->guest_dir, sizeof(run->guest_dir),
				err);
	if (rc == 0)
		rc = run_member(record, "work_dir", run->work_dir, sizeof(run->work_dir), err);
	return rc;
}

static int attach_do(struct cli *cli, struct client *client, const char *name, struct run *run)
{
	struct err err = ERR_INIT;
	json_t *cluster = NULL;
	int code;

	if (client_cluster(client, name, &cluster, &err) < 0 ||
	    run_from_record(cluster, run, &err) < 0)
		code = cli_failed(cli, &err);
	else
		code = run_follow(cli, client, cluster, run);
	json_decref(cluster);
	return code;
}

static int attach(struct cli *cli, int argc, char **argv)
{
	struct run run = {0};
	struct err err = ERR_INIT;
	struct client client;
	const char *name;
	int opt, code;

	while ((opt = cli_opt_next(cli, argc, argv)) != CLI_OPT_END) {
		if (opt == CLI_OPT_EXIT)
			return cli->exit_code;
		if (opt == 'N')
			run.new_only = true;
		else
			run.down = true;
	}
	if (cli_one_operand(argc, argv, "cluster", &name, &err) < 0 ||
	    (name && cli_check_cluster(name, &err) < 0))
		return cli_error(cli, CLI_USAGE, &err);
	code = client_open(&client, cli);
	if (code == CLI_OK)
		code = attach_do(cli, &client, name, &run);
	client_close(&client);
	return code;
}

enum { OPT_DOWN = 3000 };

static const struct cli_opt opts[] = {
	{'N', "new", NULL, NULL, "show only what the job writes from now on"},
	{OPT_DOWN, "down", NULL, NULL, "end the cluster after the results are fetched"},
	{0},
};

const struct cli_cmd cmd_attach = {
	.name = "attach",
	.help = "return to a run: show its output and fetch its results at the end",
	.usage = "[CLUSTER]",
	.about =
		"The output is shown from its beginning. A run that has ended meanwhile is brought to its end: its\n"
		"results are copied back. Ctrl-C detaches again (exit code 130).",
	.opts = opts,
	.example = "stasis attach h2o",
	.fn = attach,
	.passes_code = true,
};
