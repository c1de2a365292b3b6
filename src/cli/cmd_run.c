/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis run: an MPI command in a cluster, from the working directory in to the results out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/args.h"
#include "cli/cmds.h"
#include "cli/copy.h"
#include "cli/run_follow.h"

enum { RANKS_MAX = 65536, ENV_MAX = 256, OPT_EVERY = 3000, OPT_NO_COPY, OPT_DOWN };

struct run_cmd {
	struct cli *cli;
	struct args_spec spec_args;
	struct spec *spec;
	unsigned int ranks;
	const char *dir, *every;
	uint64_t every_ms;
	const char *env[ENV_MAX];
	unsigned int env_count;
	bool no_copy;
	char **command;
	struct run run;
};

/* One option. 0, or -errno with a sentence. */
static int run_opt(struct run_cmd *cmd, int opt, struct err *err)
{
	const char *equals;

	switch (opt) {
	case 'n': return cli_parse_count("-n", optarg, 1, RANKS_MAX, &cmd->ranks, err);
	case 'd': cmd->dir = optarg; return 0;
	case OPT_EVERY: cmd->every = optarg; return 0;
	case OPT_NO_COPY: cmd->no_copy = true; return 0;
	case OPT_DOWN: cmd->run.down = true; return 0;
	case 'x':
		equals = strchr(optarg, '=');
		if (!equals || equals == optarg)
			return err_set(err, EINVAL, "-x '%.60s' is not NAME=VALUE", optarg);
		if (cmd->env_count == ENV_MAX)
			return err_set(err, EINVAL, "more than %d variables are given with -x",
				       ENV_MAX);
		cmd->env[cmd->env_count++] = optarg;
		return 0;
	default: return args_spec_opt(&cmd->spec_args, opt, optarg, err);
	}
}

/* What follows from the options: the description, the interval, the directory. */
static int run_settle(struct run_cmd *cmd, struct err *err)
{
	CLEANUP_FREE char *real = NULL;
	struct stat st;
	int rc = args_spec_load(&cmd->spec_args, cmd->spec, err);

	if (rc < 0)
		return rc;
	if (cmd->every &&
	    (rc = spec_set(cmd->spec, "checkpoint", "every", cmd->every, err)) < 0)
		return err_prefix(err, "--checkpoint-every");
	cmd->every_ms = cmd->spec->checkpoint_every_ms;
	/* the interval belongs to the run: it must not make another cluster of the same file */
	if (cmd->every)
		rc = args_spec_load(&cmd->spec_args, cmd->spec, err);
	if (rc == 0)
		rc = cli_check_text("--dir", cmd->dir, IO_PATH_MAX - 1, err);
	if (rc < 0)
		return rc;
	real = realpath(cmd->dir, NULL);
	if (!real || stat(real, &st) < 0)
		return err_sys(err, errno, "--dir %.200s", cmd->dir);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ENOTDIR, "--dir %.200s is not a directory", cmd->dir);
	rc = cli_check_text("the working directory", real, IO_PATH_MAX - 1, err);
	if (rc == 0)
		rc = io_path(cmd->run.work_dir, sizeof(cmd->run.work_dir), err, "%s", real);
	if (cmd->ranks == 0)
		cmd->ranks = cmd->spec->vms * cmd->spec->slots;
	snprintf(cmd->run.cluster, sizeof(cmd->run.cluster), "%s", cmd->spec->name);
	snprintf(cmd->run.job, sizeof(cmd->run.job), "run-%llx",
		 (unsigned long long)clock_real_ns());
	return rc < 0 ? rc : run_guest_dir(cmd->spec->name, cmd->run.guest_dir, err);
}

static int run_args(struct run_cmd *cmd, int argc, char **argv)
{
	struct err err = ERR_INIT;
	int opt;

	while ((opt = cli_opt_next(cmd->cli, argc, argv)) != CLI_OPT_END) {
		if (opt == CLI_OPT_EXIT)
			return cmd->cli->exit_code;
		if (run_opt(cmd, opt, &err) < 0)
			return cli_error(cmd->cli, CLI_USAGE, &err);
	}
	if (optind >= argc || !argv[optind][0])
		return cli_usage(cmd->cli,
				 "the command is missing: stasis run -c FILE -- COMMAND");
	cmd->command = argv + optind;
	if (run_settle(cmd, &err) < 0)
		return cli_error(cmd->cli, CLI_USAGE, &err);
	return -1; /* go on */
}

/* mpirun with its options. Ranks fill VM after VM while there are slots, and go round the VMs
 * when there are too few. */
static json_t *run_argv(const struct run_cmd *cmd)
{
	bool fits = cmd->ranks <= cmd->spec->vms * cmd->spec->slots;
	char ranks[16];
	json_t *argv;
	unsigned int i;
	char **at;

	snprintf(ranks, sizeof(ranks), "%u", cmd->ranks);
	argv = json_pack("[s,s,s,s,s,s,s,s,s,s]", "mpirun", "--allow-run-as-root", "--hostfile",
			 "/etc/stasis/hostfile", "-n", ranks, "--map-by",
			 fits ? "slot" : "node", "--bind-to", "none");
	if (!fits)
		json_array_append_new(argv, json_string("--oversubscribe"));
	for (i = 0; i < cmd->env_count; i++) {
		json_array_append_new(argv, json_string("-x"));
		json_array_append_new(argv, json_string(cmd->env[i]));
	}
	json_array_append_new(argv, json_string("-wdir"));
	json_array_append_new(argv, json_string(cmd->run.guest_dir));
	for (at = cmd->command; *at; at++)
		json_array_append_new(argv, json_string(*at));
	return argv;
}

/* An empty directory in all VMs, the working directory's content, and the mark of its time. */
static int run_copy_in(struct run_cmd *cmd, struct client *client, const json_t *cluster,
		       struct err *err)
{
	struct agents agents = {0};
	struct copy copy = {.cli = cmd->cli, .agents = &agents, .progress = &client->progress};
	char marker[IO_PATH_MAX];
	const char *dir = cmd->run.guest_dir;
	int rc = run_marker_path(cmd->run.cluster, marker, err);

	if (rc == 0)
		rc = agents_open(&agents, cluster, "all", err);
	if (rc == 0)
		rc = agents_call_all(&agents,
				     json_pack("{s:s, s:s}", "op", "fs.remove", "path", marker),
				     NULL, 0, err);
	if (rc == 0 && !cmd->no_copy)
		rc = agents_call_all(&agents,
				     json_pack("{s:s, s:s}", "op", "fs.remove", "path", dir),
				     NULL, 0, err);
	if (rc == 0)
		rc = agents_call_all(&agents,
				     json_pack("{s:s, s:s, s:i}", "op", "fs.mkdir", "path", dir,
					       "mode", 0755),
				     NULL, 0, err);
	if (rc == 0 && !cmd->no_copy)
		rc = copy_in(&copy, cmd->run.work_dir, dir, err);
	if (rc == 0 && !cmd->no_copy)
		rc = agents_call_all(&agents,
				     json_pack("{s:s, s:s, s:i, s:i, s:b}", "op", "fs.write",
					       "path", marker, "offset", 0, "mode", 0644,
					       "last", 1),
				     NULL, 0, err);
	progress_end(&client->progress);
	agents_close(&agents);
	return rc;
}

static int run_start(const struct run_cmd *cmd, struct client *client, struct err *err)
{
	return client_call(client,
			   json_pack("{s:s, s:s, s:s, s:o, s:{}, s:s, s:s, s:i, s:I}", "op",
				     "run.start", "cluster", cmd->run.cluster, "job",
				     cmd->run.job, "argv", run_argv(cmd), "env", "guest_dir",
				     cmd->run.guest_dir, "work_dir", cmd->run.work_dir, "ranks",
				     (int)cmd->ranks, "checkpoint_every_ms",
				     (json_int_t)cmd->every_ms),
			   NULL, err);
}

static int run_do(struct run_cmd *cmd, struct client *client)
{
	json_t *reply = NULL, *cluster;
	struct err err = ERR_INIT;
	int code, rc;

	rc = client_call(
		client,
		json_pack("{s:s, s:o}", "op", "cluster.up", "spec", spec_to_json(cmd->spec)),
		&reply, &err);
	cluster = json_object_get(reply, "cluster");
	if (rc == 0 && json_is_string(json_object_get(reply, "why")))
		cli_note(cmd->cli, "stasis: %s",
			 json_string_value(json_object_get(reply, "why")));
	if (rc == 0 && json_is_object(json_object_get(cluster, "run")))
		rc = err_set(
			&err, EBUSY,
			"cluster %s has a run already: stasis attach %s follows it and fetches its results; "
			"stasis down %s ends it",
			cmd->run.cluster, cmd->run.cluster, cmd->run.cluster);
	if (rc == 0)
		rc = run_copy_in(cmd, client, cluster, &err);
	if (rc == 0)
		rc = run_start(cmd, client, &err);
	if (rc < 0)
		code = cli_failed(cmd->cli, &err);
	else
		code = run_follow(cmd->cli, client, cluster, &cmd->run);
	json_decref(reply);
	return code;
}

static int run(struct cli *cli, int argc, char **argv)
{
	CLEANUP_FREE struct spec *spec = malloc(sizeof(*spec));
	struct run_cmd cmd = {.cli = cli, .spec = spec, .dir = "."};
	struct client client;
	int code;

	if (!spec)
		return CLI_OWN;
	code = run_args(&cmd, argc, argv);
	if (code >= 0)
		return code;
	code = client_open(&client, cli);
	if (code == CLI_OK)
		code = run_do(&cmd, &client);
	client_close(&client);
	return code;
}

static const struct cli_opt opts[] = {
	ARGS_SPEC_OPTS,
	{'n', "ranks", "N", "as many as fit", "MPI ranks"},
	{OPT_EVERY, "checkpoint-every", "TIME", "the file's",
	 "time between checkpoints, as 30s or 10m; 0: none"},
	{'d', "dir", "DIR", ".", "working directory: copied in before, results copied back"},
	{'x', "env", "NAME=VALUE", NULL, "environment of the ranks, may be repeated"},
	{OPT_NO_COPY, "no-copy", NULL, NULL, "copy nothing in or out"},
	{OPT_DOWN, "down", NULL, NULL, "end the cluster after the results are fetched"},
	{0},
};

const struct cli_cmd cmd_run = {
	.name = "run",
	.help = "run an MPI command in a cluster, with checkpoints",
	.usage = "-c FILE -- COMMAND [ARGUMENT]...",
	.about =
		"Starts the cluster if it does not run, copies the working directory into every VM, runs COMMAND\n"
		"under mpirun there, shows its output, and copies new and changed files back: those of vm0, then\n"
		"those that only other VMs have. The cluster stays up. Ctrl-C detaches (exit code 130): the job and\n"
		"its checkpoints go on, and stasis attach returns to it.",
	.opts = opts,
	.example = "stasis run -c h2o.ini -n 4 --checkpoint-every 30s -- nwchem h2o.nw",
	.fn = run,
	.passes_code = true,
	.stops_at_operand = true,
};
