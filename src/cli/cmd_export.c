/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis export: one checkpoint as one file or stream. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/cmds.h"
#include "cli/human.h"
#include "cli/outfile.h"
#include "cli/pump.h"

/* The daemon writes into a pipe, this process from there into the file. */
static int export_do(struct client *client, const char *id, const struct outfile *file,
		     uint64_t *ret_bytes, struct err *err)
{
	struct err pump_err = ERR_INIT;
	struct pump pump;
	int rc = pump_out_of_pipe(&pump, file->fd, err), rc_pump;

	if (rc < 0)
		return rc;
	rc = client_call(client,
			 json_pack("{s:s, s:s, s:s}", "op", "ckpt.export", "checkpoint", id,
				   "path", pump.daemon_path),
			 NULL, err);
	rc_pump = pump_end(&pump, rc == 0, &pump_err);
	*ret_bytes = pump.bytes;
	if (rc_pump == 0)
		return rc;
	*err = pump_err;
	return err_prefix(err, "%.300s", file->path);
}

static int export_tell(const struct cli *cli, const char *id, const char *path, uint64_t bytes)
{
	char text[HUMAN_TEXT_MAX];

	human_bytes(bytes, text);
	if (cli->json)
		return cli_print_json(json_pack("{s:s, s:s, s:I}", "checkpoint", id, "file",
						path, "bytes", (json_int_t)bytes));
	if (path)
		printf("%s is exported to %s, %s\n", id, path, text);
	else
		cli_note(cli, "%s is exported, %s", id, text);
	return CLI_OK;
}

static int export_to(const struct cli *cli, const char *id, const char *path, bool force)
{
	struct client client;
	struct outfile file;
	struct err err = ERR_INIT;
	uint64_t bytes = 0;
	int rc, code;

	if (outfile_open(path, force, &file, &err) < 0)
		return cli_error(cli, err.code == EINVAL ? CLI_USAGE : CLI_FAILED, &err);
	code = client_open(&client, cli);
	if (code != CLI_OK) {
		outfile_abort(&file);
		client_close(&client);
		return code;
	}
	rc = export_do(&client, id, &file, &bytes, &err);
	client_close(&client);
	if (rc < 0)
		outfile_abort(&file);
	else
		rc = outfile_commit(&file, &err);
	return rc < 0 ? cli_failed(cli, &err) : export_tell(cli, id, path, bytes);
}

static int export(struct cli *cli, int argc, char **argv)
{
	struct err err = ERR_INIT;
	const char *path = NULL;
	bool force = false;
	int opt;

	while ((opt = cli_opt_next(cli, argc, argv)) != CLI_OPT_END) {
		if (opt == CLI_OPT_EXIT)
			return cli->exit_code;
		force = true;
	}
	if (optind >= argc)
		return cli_usage(cli, "the checkpoint's id is missing; stasis list shows them");
	if (argc - optind > 2)
		return cli_usage(cli, "one file is expected, '%.60s' is too much",
				 argv[optind + 2]);
	if (cli_check_checkpoint(argv[optind], &err) < 0 ||
	    (argc - optind == 2 &&
	     cli_check_text("the file's name", argv[optind + 1], IO_PATH_MAX - 1, &err) < 0))
		return cli_error(cli, CLI_USAGE, &err);
	if (argc - optind == 2 && strcmp(argv[optind + 1], "-") != 0)
		path = argv[optind + 1];
	if (cli->json && !path)
		return cli_usage(cli, "the checkpoint goes to the standard output, so --json "
				      "has no place there: name a file");
	return export_to(cli, argv[optind], path, force);
}

static const struct cli_opt opts[] = {
	{'f', "force", NULL, NULL, "write to a terminal, too"},
	{0},
};

const struct cli_cmd cmd_export = {
	.name = "export",
	.help = "write a checkpoint as one file, to be imported elsewhere",
	.usage = "CHECKPOINT [FILE|-]",
	.about =
		"Without FILE, or with -, it goes to the standard output. It holds all that a restart needs, the\n"
		"guest image, too, and the guests' memory; it is encrypted if the store is. A new FILE is readable by\n"
		"its owner only. A FILE that exists is replaced when the export is complete; what fails leaves nothing.",
	.opts = opts,
	.example = "stasis export h2o-20260301-120005-4f2a91c3 | ssh node2 stasis import",
	.fn = export,
};
