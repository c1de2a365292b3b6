/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis exec: run a command in a VM, or in all VMs of a cluster. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "cli/cmds.h"
#include "cli/follow.h"
#include "cli/target.h"

struct exec_args {
	struct target target;
	const char *cwd;
	bool input;
	char **command;
	char job[64];
};

static int exec_args(struct cli *cli, int argc, char **argv, struct exec_args *ret_args)
{
	struct err err = ERR_INIT;
	int opt;

	*ret_args = (struct exec_args){.cwd = "/root", .input = !isatty(STDIN_FILENO)};
	while ((opt = cli_opt_next(cli, argc, argv)) != CLI_OPT_END) {
		switch (opt) {
		case CLI_OPT_EXIT: return cli->exit_code;
		case 'i': ret_args->input = true; break;
		case 'n': ret_args->input = false; break;
		default: ret_args->cwd = optarg; break;
		}
	}
	if (ret_args->cwd[0] != '/')
		return cli_usage(cli, "--cwd '%.200s' is not an absolute path in the VM",
				 ret_args->cwd);
	if (cli_check_text("--cwd", ret_args->cwd, IO_PATH_MAX - 1, &err) < 0)
		return cli_error(cli, CLI_USAGE, &err);
	if (optind >= argc)
		return cli_usage(cli, "the VM is missing: stasis exec vm0 -- COMMAND");
	if (target_parse_vm(argv[optind], &ret_args->target, &err) < 0)
		return cli_error(cli, CLI_USAGE, &err);
	optind++;
	if (optind < argc && strcmp(argv[optind], "--") == 0)
		optind++;
	if (optind >= argc || !argv[optind][0])
		return cli_usage(cli, "the command is missing: stasis exec %s -- COMMAND",
				 ret_args->target.vm);
	ret_args->command = argv + optind;
	snprintf(ret_args->job, sizeof(ret_args->job), "exec-%llx-%ld",
		 (unsigned long long)clock_real_ns(), (long)getpid());
	return -1; /* go on */
}

static json_t *exec_request(const struct exec_args *args)
{
	json_t *argv = json_array();
	char **at;

	for (at = args->command; *at; at++)
		json_array_append_new(argv, json_string(*at));
	return json_pack("{s:s, s:s, s:o, s:{}, s:s, s:b}", "op", "job.start", "job", args->job,
			 "argv", argv, "env", "cwd", args->cwd, "stdin", args->input);
}

/* The first failure among the VMs is the exit code of all. */
static int exec_report(const struct cli *cli, const struct follow *follow)
{
	json_t *vms = json_array();
	int code = 0;
	size_t i;

	for (i = 0; i < follow->agents->count; i++) {
		if (code == 0)
			code = follow_exit_code(&follow->vms[i]);
		json_array_append_new(vms, json_pack("{s:s, s:i, s:i}", "vm",
						     follow->agents->list[i].vm, "code",
						     follow->vms[i].code, "signal",
						     follow->vms[i].signal));
	}
	if (cli->json)
		cli_print_json(json_pack("{s:s, s:i, s:o}", "cluster", follow->agents->cluster,
					 "code", code, "vms", vms));
	else
		json_decref(vms);
	return code;
}

static int exec_follow(const struct cli *cli, struct client *client, struct agents *agents,
		       const struct exec_args *args, bool *ret_lost, struct err *err)
{
	struct follow follow = {.cli = cli,
				.client = client,
				.agents = agents,
				.job = args->job,
				.prefix = strcmp(args->target.vm, "all") == 0,
				.input = args->input,
				.signal_fd = -1};
	enum follow_end end = FOLLOW_LOST;
	int code;

	if (follow_init(&follow, err) < 0 || follow_run(&follow, &end, err) < 0)
		code = cli_failed(cli, err);
	else if ((*ret_lost = end == FOLLOW_LOST))
		code = cli_error(
			cli, CLI_LOST,
			(err_set(err, ECONNABORTED,
				 "the command was lost with its VM: %s; stasis restart %s takes the "
				 "cluster back to its last checkpoint",
				 follow.lost, agents->cluster),
			 err));
	else
		code = exec_report(cli, &follow);
	follow_clear(&follow);
	return code;
}

static int exec_do(const struct cli *cli, struct client *client, const struct exec_args *args)
{
	struct err err = ERR_INIT, ignored;
	struct agents agents = {0};
	json_t *cluster = NULL;
	bool lost = false;
	int code;

	if (client_cluster(client, args->target.cluster, &cluster, &err) < 0 ||
	    agents_open(&agents, cluster, args->target.vm, &err) < 0 ||
	    agents_call_all(&agents, exec_request(args), NULL, 0, &err) < 0)
		code = cli_failed(cli, &err);
	else
		code = exec_follow(cli, client, &agents, args, &lost, &err);
	if (!lost)
		agents_call_all(&agents,
				json_pack("{s:s, s:s}", "op", "job.remove", "job", args->job),
				NULL, 0, &ignored);
	agents_close(&agents);
	json_decref(cluster);
	return code;
}

static int exec(struct cli *cli, int argc, char **argv)
{
	struct exec_args args;
	struct client client;
	int code = exec_args(cli, argc, argv, &args);

	if (code >= 0)
		return code;
	code = client_open(&client, cli);
	if (code == CLI_OK)
		code = exec_do(cli, &client, &args);
	client_close(&client);
	return code;
}

static const struct cli_opt opts[] = {
	{'C', "cwd", "DIR", "/root", "directory in the VM in which the command runs"},
	{'i', "input", NULL, NULL, "forward the standard input even if it is a terminal"},
	{'n', "no-input", NULL, NULL, "the command gets no input"},
	{0},
};

const struct cli_cmd cmd_exec = {
	.name = "exec",
	.help = "run a command in a VM, or in all VMs of a cluster",
	.usage = "[CLUSTER:]VM|all -- COMMAND [ARGUMENT]...",
	.about =
		"Output and errors come as they are written; with 'all' each line begins with its VM's name.\n"
		"A standard input that is no terminal is forwarded. Ctrl-C interrupts the command, a second one\n"
		"kills it. With --json the command's output goes to stderr, the result to stdout.",
	.opts = opts,
	.example = "stasis exec all -- uname -a",
	.fn = exec,
	.passes_code = true,
	.stops_at_operand = true,
};
