/* SPDX-License-Identifier: BSD-3-Clause */
/* What all subcommands share: options, help texts, errors, results and checks of arguments. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/spec.h"
#include "cli/human.h"

enum { OPTS_MAX = 24, OPT_JSON = 1000 };

static const struct cli_opt common_opts[] = {
	{OPT_JSON, "json", NULL, NULL, "print the result, or the error, as one JSON document"},
	{'q', "quiet", NULL, NULL, "no progress and no remarks"},
	{'h', "help", NULL, NULL, "print this help"},
	{0},
};

/* Append options to the two forms that getopt_long() wants. */
static size_t add_opts(const struct cli_opt *opts, struct option *longs, size_t count,
		       char *shorts)
{
	for (; opts && opts->name && count < OPTS_MAX; opts++, count++) {
		longs[count] =
			(struct option){.name = opts->name,
					.has_arg = opts->arg ? required_argument : no_argument,
					.val = opts->value};
		if (opts->value <= UCHAR_MAX) {
			size_t len = strlen(shorts);

			shorts[len++] = (char)opts->value;
			if (opts->arg)
				shorts[len++] = ':';
			shorts[len] = '\0';
		}
	}
	return count;
}

static int bad_option(struct cli *cli, int argc, char **argv, bool no_arg)
{
	const char *given = optind > 0 && optind <= argc ? argv[optind - 1] : "";
	const char *see = cli->cmd->name;

	if (no_arg)
		cli->exit_code = cli_usage(
			cli, "option %.60s needs a value; see stasis %s --help", given, see);
	else if (optopt && optopt <= UCHAR_MAX && strncmp(given, "--", 2) != 0)
		cli->exit_code =
			cli_usage(cli, "unknown option -%c; see stasis %s --help", optopt, see);
	else
		cli->exit_code =
			cli_usage(cli,
				  "option %.60s is unknown, ambiguous or takes no value; "
				  "see stasis %s --help",
				  given, see);
	return CLI_OPT_EXIT;
}

int cli_opt_next(struct cli *cli, int argc, char **argv)
{
	struct option longs[OPTS_MAX + 1] = {0};
	char shorts[2 * OPTS_MAX + 4];
	size_t count;
	int value;

	snprintf(shorts, sizeof(shorts), "%s:", cli->cmd->stops_at_operand ? "+" : "");
	count = add_opts(cli->cmd->opts, longs, 0, shorts);
	add_opts(common_opts, longs, count, shorts);
	opterr = 0;
	for (;;) {
		value = getopt_long(argc, argv, shorts, longs, NULL);
		switch (value) {
		case -1: return CLI_OPT_END;
		case OPT_JSON: cli->json = true; break;
		case 'q': cli->quiet = true; break;
		case 'h':
			cli_print_help(cli->cmd);
			cli->exit_code = CLI_OK;
			return CLI_OPT_EXIT;
		case '?':
		case ':': return bad_option(cli, argc, argv, value == ':');
		default: return value;
		}
	}
}

static void print_opts(const struct cli_opt *opts)
{
	for (; opts && opts->name; opts++) {
		char left[64];

		snprintf(left, sizeof(left), "%c%c%s --%s%s%s",
			 opts->value <= UCHAR_MAX ? '-' : ' ',
			 opts->value <= UCHAR_MAX ? opts->value : ' ',
			 opts->value <= UCHAR_MAX ? "," : " ", opts->name, opts->arg ? " " : "",
			 opts->arg ? opts->arg : "");
		printf("  %-30s %s", left, opts->doc);
		if (opts->default_text)
			printf(" (default: %s)", opts->default_text);
		putchar('\n');
	}
}

void cli_print_help(const struct cli_cmd *cmd)
{
	printf("Usage: stasis %s [OPTION]...%s%s\n\n%s.\n", cmd->name, cmd->usage[0] ? " " : "",
	       cmd->usage, cmd->help);
	if (cmd->about)
		printf("\n%s\n", cmd->about);
	printf("\nOptions:\n");
	print_opts(cmd->opts);
	print_opts(common_opts);
	if (cmd->passes_code)
		printf("\nExit codes: the command's own (128+N when signal N ended it); 125 when Stasis itself "
		       "failed;\n4 when the cluster or the job was lost and must be restarted. --json tells a "
		       "command's 4 or 125\nfrom those.\n");
	else
		printf("\nExit codes: 0 done; 1 the operation failed; 2 bad usage or input; 3 no daemon "
		       "reachable;\n4 the cluster was lost and must be restarted.\n");
	printf("\nExample:\n  %s\n", cmd->example);
}

const struct cli_cmd *cli_find_cmd(const char *name)
{
	const struct cli_cmd *const *cmd;

	for (cmd = cli_cmds; *cmd; cmd++) {
		if (strcmp((*cmd)->name, name) == 0)
			return *cmd;
	}
	return NULL;
}

int cli_error(const struct cli *cli, enum cli_exit exit_code, const struct err *err)
{
	bool passes = cli->cmd && cli->cmd->passes_code;
	char clean[sizeof(err->msg)];

	if (cli->json) {
		cli_print_json(json_pack("{s:{s:i, s:s}}", "error", "errno", err->code,
					 "message", err->msg));
	} else {
		human_clean(err->msg, clean, sizeof(clean));
		fprintf(stderr, "stasis%s%s: %s\n", cli->cmd ? " " : "",
			cli->cmd ? cli->cmd->name : "", clean);
	}
	return passes && exit_code != CLI_LOST ? CLI_OWN : (int)exit_code;
}

int cli_failed(const struct cli *cli, const struct err *err)
{
	return cli_error(cli, err->code == ECONNRESET ? CLI_NO_DAEMON : CLI_FAILED, err);
}

int cli_usage(const struct cli *cli, const char *fmt, ...)
{
	struct err err = {.code = EINVAL};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err.msg, sizeof(err.msg), fmt, ap);
	va_end(ap);
	return cli_error(cli, CLI_USAGE, &err);
}

void cli_note(const struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	if (cli->quiet || cli->json)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void cli_warn(const struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "stasis %s: ", cli->cmd->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int cli_print_json(json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
	return CLI_OK;
}

int cli_one_operand(int argc, char **argv, const char *what, const char **ret_operand,
		    struct err *err)
{
	*ret_operand = optind < argc ? argv[optind] : NULL;
	if (argc - optind > 1)
		return err_set(err, EINVAL, "one %s is expected, '%.60s' is too much", what,
			       argv[optind + 1]);
	return 0;
}

int cli_no_operand(int argc, char **argv, struct err *err)
{
	if (optind < argc)
		return err_set(err, EINVAL, "nothing is expected here, '%.60s' is too much",
			       argv[optind]);
	return 0;
}

int cli_check_text(const char *what, const char *text, size_t max, struct err *err)
{
	json_t *probe = json_string(text);

	if (!probe)
		return err_set(err, EILSEQ, "%s is not valid UTF-8", what);
	json_decref(probe);
	if (!text[0])
		return err_set(err, EINVAL, "%s is empty", what);
	if (strlen(text) > max)
		return err_set(err, ENAMETOOLONG,
			       "%s is too long: %zu bytes, at most %zu are allowed", what,
			       strlen(text), max);
	return 0;
}

int cli_check_cluster(const char *name, struct err *err)
{
	int rc = cli_check_text("the cluster's name", name, SPEC_NAME_MAX - 1, err);

	if (rc < 0)
		return rc;
	if (name[0] < 'a' || name[0] > 'z' ||
	    name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")])
		return err_set(
			err, EINVAL,
			"'%s' is no cluster name (a-z, 0-9, '-'; a letter first); stasis status "
			"lists the clusters",
			name);
	return 0;
}

int cli_check_vm(const char *name, struct err *err)
{
	int rc = cli_check_text("the VM's name", name, 63, err);

	if (rc < 0)
		return rc;
	if (!spec_name_valid(name))
		return err_set(err, EINVAL, "'%s' is no VM name; VMs are vm0, vm1 and so on",
			       name);
	return 0;
}

int cli_check_checkpoint(const char *name, struct err *err)
{
	int rc = cli_check_text("the checkpoint's id", name, 63, err);

	if (rc < 0)
		return rc;
	if (!spec_name_valid(name))
		return err_set(err, EINVAL, "'%s' is no checkpoint id; stasis list shows them",
			       name);
	return 0;
}

int cli_parse_count(const char *what, const char *text, unsigned int min, unsigned int max,
		    unsigned int *ret_count, struct err *err)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value < min || value > max)
		return err_set(err, EINVAL, "%s: '%.60s' is not a whole number from %u to %u",
			       what, text, min, max);
	*ret_count = (unsigned int)value;
	return 0;
}
