/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis prune: remove the checkpoints that no rule keeps. */
#include <errno.h>
#include <unistd.h>

#include "base/spec.h"
#include "cli/cmds.h"
#include "cli/collected.h"
#include "cli/human.h"
#include "cli/simple.h"

enum { PRUNE_KEEP_MAX = 1000000, PRUNE_TAGS_MAX = 64, OPT_DRY_RUN = 300 };

/* Durations that the store can count in nanoseconds: 100 years. */
#define PRUNE_WITHIN_MAX_MS (36525ULL * 24 * 3600 * 1000)

struct prune {
	unsigned int keep;       /* 0: no such rule */
	uint64_t keep_within_ms; /* 0: no such rule */
	json_t *keep_tags;
	bool dry_run;
};

static int prune_opt_within(struct prune *prune, const char *text, struct err *err)
{
	int rc = spec_parse_duration(text, &prune->keep_within_ms, err);

	if (rc == 0 &&
	    (prune->keep_within_ms == 0 || prune->keep_within_ms > PRUNE_WITHIN_MAX_MS))
		rc = err_set(err, EINVAL, "'%.60s' is out of range: above 0, at most 36525d",
			     text);
	return rc < 0 ? err_prefix(err, "--keep-within") : 0;
}

static int prune_opt_tag(struct prune *prune, const char *text, struct err *err)
{
	if (!spec_name_valid(text))
		return err_set(err, EINVAL,
			       "--keep-tag '%.63s': a tag has letters, digits, '.', '_' and "
			       "'-', at most 63",
			       text);
	if (json_array_size(prune->keep_tags) == PRUNE_TAGS_MAX)
		return err_set(err, EINVAL, "--keep-tag: more than %d tags", PRUNE_TAGS_MAX);
	json_array_append_new(prune->keep_tags, json_string(text));
	return 0;
}

static int prune_opt(struct prune *prune, int opt, struct err *err)
{
	switch (opt) {
	case 'k':
		return cli_parse_count("--keep", optarg, 1, PRUNE_KEEP_MAX, &prune->keep, err);
	case 'w': return prune_opt_within(prune, optarg, err);
	case 't': return prune_opt_tag(prune, optarg, err);
	default: prune->dry_run = true; return 0;
	}
}

static json_t *prune_request(const struct prune *prune, const char *cluster)
{
	json_t *request =
		json_pack("{s:s, s:s*, s:O, s:b}", "op", "store.prune", "cluster", cluster,
			  "keep_tags", prune->keep_tags, "dry_run", prune->dry_run);

	if (request && prune->keep)
		json_object_set_new(request, "keep", json_integer(prune->keep));
	if (request && prune->keep_within_ms)
		json_object_set_new(request, "keep_within_ms",
				    json_integer((json_int_t)prune->keep_within_ms));
	return request;
}

static void prune_print(const struct cli *cli, const json_t *reply, bool dry_run)
{
	const json_t *removed = json_object_get(reply, "removed");
	const json_t *collected = json_object_get(reply, "collected");
	const json_t *id;
	size_t i;

	json_array_foreach(removed, i, id)
	{
		char clean[128];

		human_clean(json_is_string(id) ? json_string_value(id) : "-", clean,
			    sizeof(clean));
		printf("%s %s removed\n", clean, dry_run ? "would be" : "is");
	}
	if (json_array_size(removed) == 0)
		printf("every checkpoint is kept\n");
	if (json_is_object(collected))
		collected_print(cli, collected);
}

static int prune_do(const struct cli *cli, const struct prune *prune, const char *cluster)
{
	json_t *reply = NULL;
	int code = simple_call(cli, prune_request(prune, cluster), &reply);

	if (code != CLI_OK)
		return code;
	if (cli->json) {
		json_object_del(reply, "id");
		return cli_print_json(reply);
	}
	prune_print(cli, reply, prune->dry_run);
	json_decref(reply);
	return CLI_OK;
}

static int prune_args(struct cli *cli, int argc, char **argv, struct prune *prune)
{
	struct err err = ERR_INIT;
	const char *cluster;
	int opt;

	while ((opt = cli_opt_next(cli, argc, argv)) != CLI_OPT_END) {
		if (opt == CLI_OPT_EXIT)
			return cli->exit_code;
		if (prune_opt(prune, opt, &err) < 0)
			return cli_error(cli, CLI_USAGE, &err);
	}
	if (cli_one_operand(argc, argv, "cluster", &cluster, &err) < 0 ||
	    (cluster && cli_check_cluster(cluster, &err) < 0))
		return cli_error(cli, CLI_USAGE, &err);
	if (!prune->keep && !prune->keep_within_ms && json_array_size(prune->keep_tags) == 0)
		return cli_usage(cli, "no rule says what is kept: give --keep, --keep-within "
				      "or --keep-tag");
	return prune_do(cli, prune, cluster);
}

static int prune(struct cli *cli, int argc, char **argv)
{
	struct prune prune = {.keep_tags = json_array()};
	int code = prune_args(cli, argc, argv, &prune);

	json_decref(prune.keep_tags);
	return code;
}

static const struct cli_opt opts[] = {
	{'k', "keep", "N", NULL, "keep the N newest good checkpoints of each cluster"},
	{'w', "keep-within", "DURATION", NULL, "keep those younger than this, as 12h or 30d"},
	{'t', "keep-tag", "TAG", NULL, "keep those with this tag; may be repeated"},
	{OPT_DRY_RUN, "dry-run", NULL, NULL, "only say what would be removed"},
	{0},
};

const struct cli_cmd cmd_prune = {
	.name = "prune",
	.help = "remove the checkpoints that no rule keeps, and free their space",
	.usage = "[CLUSTER]",
	.about =
		"A checkpoint stays if one of the given rules keeps it; the newest good one of each cluster always\n"
		"stays. Without CLUSTER the checkpoints of all clusters are meant. There is no way back.",
	.opts = opts,
	.example = "stasis prune h2o --keep 5 --keep-within 2d --keep-tag before-upgrade",
	.fn = prune,
};
