/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis up: start a cluster. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "cli/args.h"
#include "cli/cmds.h"
#include "cli/human.h"
#include "cli/simple.h"

static int up(struct cli *cli, int argc, char **argv)
{
	CLEANUP_FREE struct spec *spec = malloc(sizeof(*spec));
	struct args_spec args = {0};
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	int opt, code;

	while ((opt = cli_opt_next(cli, argc, argv)) != CLI_OPT_END) {
		if (opt == CLI_OPT_EXIT)
			return cli->exit_code;
		if (args_spec_opt(&args, opt, optarg, &err) < 0)
			return cli_error(cli, CLI_USAGE, &err);
	}
	if (optind < argc)
		return cli_usage(cli,
				 "'%.60s' is too much: the cluster's file is given with -c",
				 argv[optind]);
	if (!spec || args_spec_load(&args, spec, &err) < 0)
		return cli_error(cli, CLI_USAGE, &err);
	code = simple_call(
		cli, json_pack("{s:s, s:o}", "op", "cluster.up", "spec", spec_to_json(spec)),
		&reply);
	if (code != CLI_OK)
		return code;
	if (cli->json)
		return cli_print_json(reply);
	printf("cluster %s runs: %u VM%s of %llu MiB, %.1f s\n", spec->name, spec->vms,
	       spec->vms == 1 ? "" : "s", (unsigned long long)(spec->memory_bytes >> 20),
	       json_number_value(json_object_get(reply, "seconds")));
	if (json_is_string(json_object_get(reply, "why")))
		cli_note(cli, "%s", json_string_value(json_object_get(reply, "why")));
	json_decref(reply);
	return CLI_OK;
}

static const struct cli_opt opts[] = {ARGS_SPEC_OPTS, {0}};

const struct cli_cmd cmd_up = {
	.name = "up",
	.help = "start a cluster of VMs",
	.usage = "-c FILE",
	.about =
		"The description is an INI file, see stasis-cluster(5). A cluster that runs already with the same\n"
		"description is left as it is. The first start on a machine builds the guest image (about a minute).",
	.opts = opts,
	.example = "stasis up -c h2o.ini --vms 4 -o network.mtu=1500",
	.fn = up,
};
