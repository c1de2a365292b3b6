/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis console: the serial console of a VM on this terminal. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "cli/client.h"
#include "cli/cmds.h"
#include "cli/target.h"

enum { ESCAPE = 0x1D /* Ctrl-] */ };

/* The path of the VM's console socket. */
static int console_path(struct client *client, const struct target *target,
			char ret_path[IO_PATH_MAX], struct err *err)
{
	json_t *cluster = NULL;
	const json_t *vm;
	const char *path = NULL;
	size_t i;
	int rc = client_cluster(client, target->cluster, &cluster, err);

	if (rc < 0)
		return rc;
	json_array_foreach(json_object_get(cluster, "vms"), i, vm)
	{
		const char *name = json_string_value(json_object_get(vm, "name"));

		if (name && strcmp(name, target->vm) == 0)
			path = json_string_value(json_object_get(vm, "console"));
	}
	if (path)
		rc = io_path(ret_path, IO_PATH_MAX, err, "%s", path);
	else
		rc = err_set(err, ENOENT,
			     "there is no VM '%s' with a console; stasis status lists the VMs",
			     target->vm);
	json_decref(cluster);
	return rc;
}

static int console_connect(const char *path, int *ret_fd, struct err *err)
{
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return err_set(err, ENAMETOOLONG,
			       "the console's path is too long for a socket: %.200s", path);
	strcpy(address.sun_path, path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return err_sys(err, errno, "cannot connect to the console at %.200s", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Pass bytes on; 1 at the end of `from` or at the escape character. */
static int console_pass(int from, int to, bool is_tty, struct err *err)
{
	char buf[4096];
	ssize_t n = read(from, buf, sizeof(buf));
	char *escape;
	int rc;

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : err_sys(err, errno, "console");
	if (n == 0)
		return 1;
	escape = is_tty ? memchr(buf, ESCAPE, (size_t)n) : NULL;
	rc = io_write_all(to, buf, escape ? (size_t)(escape - buf) : (size_t)n, err);
	return rc < 0 ? rc : escape != NULL;
}

static int console_relay(int fd, bool is_tty, struct err *err)
{
	struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
			       {.fd = fd, .events = POLLIN}};
	int rc = 0;

	while (rc == 0) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return err_sys(err, errno, "console");
		if (fds[1].revents)
			rc = console_pass(fd, STDOUT_FILENO, false, err);
		if (rc == 0 && fds[0].revents) {
			rc = console_pass(STDIN_FILENO, fd, is_tty, err);
			if (rc == 1 && !is_tty) {
				fds[0].fd = -1; /* the console's own output goes on */
				rc = 0;
			}
		}
	}
	return rc < 0 ? rc : 0;
}

static int console_open(const struct cli *cli, const char *path)
{
	CLEANUP_CLOSE int fd = -1;
	struct termios saved, raw;
	bool is_tty = tcgetattr(STDIN_FILENO, &saved) == 0;
	struct err err = ERR_INIT;
	int rc;

	if (console_connect(path, &fd, &err) < 0)
		return cli_failed(cli, &err);
	if (is_tty) {
		cli_note(cli, "connected; Ctrl-] ends");
		raw = saved;
		cfmakeraw(&raw);
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	rc = console_relay(fd, is_tty, &err);
	if (is_tty) {
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
		cli_note(cli, "\ndisconnected");
	}
	return rc < 0 ? cli_failed(cli, &err) : CLI_OK;
}

static int console(struct cli *cli, int argc, char **argv)
{
	char path[IO_PATH_MAX];
	struct target target;
	struct client client;
	struct err err = ERR_INIT;
	const char *operand;
	int code;

	if (cli_opt_next(cli, argc, argv) == CLI_OPT_EXIT)
		return cli->exit_code;
	if (cli_one_operand(argc, argv, "VM", &operand, &err) < 0)
		return cli_error(cli, CLI_USAGE, &err);
	if (!operand)
		return cli_usage(cli, "the VM is missing: stasis console vm0");
	if (target_parse_vm(operand, &target, &err) < 0)
		return cli_error(cli, CLI_USAGE, &err);
	code = client_open(&client, cli);
	if (code == CLI_OK && console_path(&client, &target, path, &err) < 0)
		code = cli_failed(cli, &err);
	client_close(&client);
	if (code != CLI_OK)
		return code;
	if (cli->json)
		return cli_print_json(
			json_pack("{s:s, s:s}", "vm", target.vm, "console", path));
	return console_open(cli, path);
}

const struct cli_cmd cmd_console = {
	.name = "console",
	.help = "connect this terminal with the serial console of a VM",
	.usage = "[CLUSTER:]VM",
	.about =
		"Ctrl-] ends the connection. With --json the path of the console's socket is printed instead.",
	.example = "stasis console vm0",
	.fn = console,
};
