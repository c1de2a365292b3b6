/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis cp: copy files and directories into VMs and out of them. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/cmds.h"
#include "cli/copy.h"
#include "cli/human.h"
#include "cli/target.h"

struct cp {
	struct cli *cli;
	struct target dst,
		first; /* first: the first source, whose side the others must share */
	char **sources;
	int count;
	bool into_dir; /* the destination is a directory to copy into */
};

static int cp_args(struct cp *cp, int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct target source;
	int i;

	if (cli_opt_next(cp->cli, argc, argv) == CLI_OPT_EXIT)
		return cp->cli->exit_code;
	cp->count = argc - optind - 1;
	cp->sources = argv + optind;
	if (cp->count < 1)
		return cli_usage(
			cp->cli,
			"source and destination are needed: stasis cp SOURCE... DESTINATION");
	if (target_parse_path(argv[argc - 1], &cp->dst, &err) < 0)
		return cli_error(cp->cli, CLI_USAGE, &err);
	for (i = 0; i < cp->count; i++) {
		if (target_parse_path(cp->sources[i], &source, &err) < 0)
			return cli_error(cp->cli, CLI_USAGE, &err);
		if (i == 0)
			cp->first = source;
		if (source.guest == cp->dst.guest)
			return cli_usage(
				cp->cli,
				"'%.200s' and '%.200s' are both %s; one side must be %s",
				cp->sources[i], argv[argc - 1],
				source.guest ? "in VMs" : "on this host",
				source.guest ? "this host" : "a VM, as in vm0:/path");
		if (source.guest && (strcmp(source.vm, cp->first.vm) != 0 ||
				     strcmp(source.cluster, cp->first.cluster) != 0))
			return cli_usage(
				cp->cli,
				"'%.200s' is in another VM than '%.200s'; copy them one after "
				"the other",
				cp->sources[i], cp->sources[0]);
		if (source.guest && strcmp(source.vm, "all") == 0)
			return cli_usage(cp->cli, "'%.200s': copy out of one VM at a time",
					 cp->sources[i]);
	}
	return -1; /* go on */
}

/* Whether the destination is a directory; several sources, or a trailing slash, need one. */
static int cp_into_dir(struct cp *cp, struct agents *agents, struct err *err)
{
	size_t len = strlen(cp->dst.path);
	bool must = cp->count > 1 || cp->dst.path[len - 1] == '/';
	struct stat st;
	char kind[8];
	int rc;

	if (cp->dst.guest) {
		rc = copy_guest_kind(agents, 0, cp->dst.path, kind, NULL, err);
		if (rc < 0)
			return rc;
		cp->into_dir = strcmp(kind, "dir") == 0;
	} else {
		cp->into_dir = stat(cp->dst.path, &st) == 0 && S_ISDIR(st.st_mode);
	}
	if (must && !cp->into_dir)
		return err_set(err, ENOTDIR, "the destination %.200s is not a directory",
			       cp->dst.path);
	return 0;
}

/* Directory and name of a path on this host. */
static int split_host(const char *path, char ret_dir[IO_PATH_MAX], char ret_name[256],
		      struct err *err)
{
	const char *slash = strrchr(path, '/');

	target_basename(path, ret_name);
	if (!ret_name[0])
		return err_set(err, EINVAL, "'%.200s' does not name a file", path);
	if (!slash)
		return io_path(ret_dir, IO_PATH_MAX, err, ".");
	return io_path(ret_dir, IO_PATH_MAX, err, "%.*s",
		       slash == path ? 1 : (int)(slash - path), path);
}

static int cp_one(struct cp *cp, struct copy *copy, const char *text, struct err *err)
{
	char path[IO_PATH_MAX], dir[IO_PATH_MAX], name[256];
	struct target source;
	int rc = target_parse_path(text, &source, err);

	if (rc < 0)
		return rc;
	target_basename(source.path, name);
	if (cp->dst.guest) {
		rc = io_path(path, sizeof(path), err, "%s%s%s", cp->dst.path,
			     cp->into_dir && name[0] ? "/" : "", cp->into_dir ? name : "");
		return rc < 0 ? rc : copy_in(copy, source.path, path, err);
	}
	if (cp->into_dir)
		return copy_out(copy, 0, source.path, cp->dst.path, name, NULL, err);
	rc = split_host(cp->dst.path, dir, name, err);
	return rc < 0 ? rc : copy_out(copy, 0, source.path, dir, name, NULL, err);
}

static int cp_do(struct cp *cp, struct client *client)
{
	const struct target *guest = cp->dst.guest ? &cp->dst : &cp->first;
	struct agents agents = {0};
	struct copy copy = {.cli = cp->cli, .agents = &agents, .progress = &client->progress};
	struct err err = ERR_INIT;
	json_t *cluster = NULL;
	char bytes[HUMAN_TEXT_MAX];
	int i, rc = client_cluster(client, guest->cluster, &cluster, &err);

	if (rc == 0)
		rc = agents_open(&agents, cluster, guest->vm, &err);
	if (rc == 0)
		rc = cp_into_dir(cp, &agents, &err);
	for (i = 0; rc == 0 && i < cp->count; i++)
		rc = cp_one(cp, &copy, cp->sources[i], &err);
	progress_end(&client->progress);
	agents_close(&agents);
	json_decref(cluster);
	if (rc < 0)
		return cli_failed(cp->cli, &err);
	if (cp->cli->json)
		return cli_print_json(
			json_pack("{s:I, s:I, s:I}", "files", (json_int_t)copy.files, "bytes",
				  (json_int_t)copy.bytes, "skipped", (json_int_t)copy.skipped));
	cli_note(cp->cli, "%llu files, %s", (unsigned long long)copy.files,
		 human_bytes(copy.bytes, bytes));
	return CLI_OK;
}

static int cp(struct cli *cli, int argc, char **argv)
{
	struct cp state = {.cli = cli};
	struct client client;
	int code = cp_args(&state, argc, argv);

	if (code >= 0)
		return code;
	code = client_open(&client, cli);
	if (code == CLI_OK)
		code = cp_do(&state, &client);
	client_close(&client);
	return code;
}

const struct cli_cmd cmd_cp = {
	.name = "cp",
	.help = "copy files and directories into a VM, into all VMs, or out of a VM",
	.usage = "SOURCE... DESTINATION",
	.about =
		"One side is [CLUSTER:]VM:/path, with 'all' for every VM when copying in; the other is a path of this\n"
		"host. Directories are copied with all they hold, symbolic links as links. An existing directory as\n"
		"destination is copied into. Copying out follows no symbolic link below the destination.",
	.example = "stasis cp input.nw vm0:/root/",
	.fn = cp,
};
