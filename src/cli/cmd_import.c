/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis import: put an exported checkpoint into the store. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "cli/client.h"
#include "cli/cmds.h"
#include "cli/human.h"
#include "cli/pump.h"

static int import_open(const char *path, int *ret_fd, struct err *err)
{
	struct stat st;

	if (!path && isatty(STDIN_FILENO))
		return err_set(err, EINVAL,
			       "the standard input is a terminal: name a file, or pipe one in");
	*ret_fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) : STDIN_FILENO;
	if (*ret_fd < 0)
		return err_sys(err, errno, "cannot read %.300s", path);
	if (fstat(*ret_fd, &st) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	if (path)
		close(*ret_fd);
	return err_set(err, EISDIR, "%.300s is a directory, not an exported checkpoint",
		       path ? path : "the standard input");
}

/* This process writes the file into a pipe, from which the daemon reads. */
static int import_do(struct client *client, int fd, json_t **ret_reply, uint64_t *ret_bytes,
		     struct err *err)
{
	struct err pump_err = ERR_INIT;
	struct pump pump;
	int rc = pump_into_pipe(&pump, fd, err);

	if (rc < 0)
		return rc;
	rc = client_call(client,
			 json_pack("{s:s, s:s}", "op", "ckpt.import", "path", pump.daemon_path),
			 ret_reply, err);
	/* What the daemon did not want to read is of no use; that it could not be read is the
	 * reason why the daemon found it too short. */
	if (pump_end(&pump, false, &pump_err) < 0 && rc < 0 && rc != -ECONNRESET) {
		*err = pump_err;
		rc = -pump_err.code;
	}
	*ret_bytes = pump.bytes;
	return rc;
}

static int import_from(const struct cli *cli, const char *path)
{
	struct client client;
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	const char *id;
	char text[HUMAN_TEXT_MAX];
	uint64_t bytes = 0;
	int fd = -1, rc, code;

	if (import_open(path, &fd, &err) < 0)
		return cli_error(cli, err.code == EINVAL ? CLI_USAGE : CLI_FAILED, &err);
	code = client_open(&client, cli);
	rc = code == CLI_OK ? import_do(&client, fd, &reply, &bytes, &err) : 0;
	client_close(&client);
	if (path)
		close(fd);
	if (code != CLI_OK)
		return code;
	if (rc < 0) {
		err_prefix(&err, "%.300s", path ? path : "the standard input");
		return cli_failed(cli, &err);
	}
	id = json_string_value(json_object_get(reply, "checkpoint"));
	if (cli->json)
		cli_print_json(
			json_pack("{s:s*, s:I}", "checkpoint", id, "bytes", (json_int_t)bytes));
	else
		printf("%s is imported, %s read\n", id ? id : "-", human_bytes(bytes, text));
	json_decref(reply);
	return CLI_OK;
}

static int import(struct cli *cli, int argc, char **argv)
{
	struct err err = ERR_INIT;
	const char *path;

	if (cli_opt_next(cli, argc, argv) == CLI_OPT_EXIT)
		return cli->exit_code;
	if (cli_one_operand(argc, argv, "file", &path, &err) < 0 ||
	    (path && cli_check_text("the file's name", path, IO_PATH_MAX - 1, &err) < 0))
		return cli_error(cli, CLI_USAGE, &err);
	if (path && strcmp(path, "-") == 0)
		path = NULL;
	return import_from(cli, path);
}

const struct cli_cmd cmd_import = {
	.name = "import",
	.help = "put an exported checkpoint into the store",
	.usage = "[FILE|-]",
	.about =
		"Without FILE, or with -, it is read from the standard input. Every byte is checked; a damaged or\n"
		"cut one, or one that the store has already, is refused, and nothing of it stays. Prints its id.",
	.example = "stasis import h2o.stasis",
	.fn = import,
};
