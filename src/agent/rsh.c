/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis-rsh HOST COMMAND…: runs a command in another VM, as mpirun's plm_rsh_agent. */
#include "agent/rsh.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "agent/relay.h"
#include "base/clock.h"
#include "base/io.h"

enum {
	EXIT_TROUBLE = 255, /* as ssh */
	RECONNECT_MS = 30000,
	RECONNECT_PAUSE_MS = 50,
};

/* Options of ssh that take an argument; all options are ignored. */
#define OPTIONS_WITH_ARGUMENT "BbcDEeFIiJLlmOopQRSWw"

/* The index of the first argument that is no option. */
static int skip_options(int argc, char **argv)
{
	int i = 1;

	while (i < argc && argv[i][0] == '-' && argv[i][1] != '\0') {
		const char *option = argv[i] + 1;
		size_t flags = strcspn(option, OPTIONS_WITH_ARGUMENT);

		i++;
		if (strcmp(option, "-") == 0)
			break;
		if (option[flags] && !option[flags + 1])
			i++;
	}
	return i;
}

/* Join words with spaces, as ssh does: the other side's shell takes them apart again. */
static char *join(int count, char **words)
{
	size_t len = 1;
	char *text;
	char *at;

	for (int i = 0; i < count; i++)
		len += strlen(words[i]) + 1;
	text = malloc(len);
	if (!text)
		return NULL;
	at = text;
	*at = '\0';
	for (int i = 0; i < count; i++)
		at = stpcpy(stpcpy(at, i ? " " : ""), words[i]);
	return text;
}

/* The id is ours, so that a repetition to an agent that was started anew means the same relay.
 */
static json_t *make_request(const char *host, const char *command)
{
	char id[32];
	uint64_t number = 0;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return NULL;
	snprintf(id, sizeof(id), "relay-%016" PRIx64, number);
	return json_pack("{s:s, s:s, s:s, s:[s,s,s], s:s}", "op", "relay", "relay", id, "vm",
			 host, "argv", "/bin/sh", "-c", command, "cwd", "/root");
}

/* Ask the agent, again when it is started anew meanwhile. */
static int relay_call(json_t *request, struct rpc_msg *ret_reply, struct err *err)
{
	const char *path = getenv(RELAY_SOCKET_ENV);
	int64_t deadline_ns = deadline_in_ms(RECONNECT_MS);

	for (;;) {
		struct rpc_conn *conn = NULL;
		int rc = rpc_connect_unix(path ? path : RELAY_SOCKET, RPC_AGENT_FRAME_MAX,
					  &conn, err);

		if (rc == 0) {
			rc = rpc_call(conn, request, NULL, 0, INT64_MAX, NULL, NULL, ret_reply,
				      err);
			rpc_conn_close(conn);
			if (rc != -ECONNRESET)
				return rc;
			deadline_ns = deadline_in_ms(RECONNECT_MS);
		} else if ((rc != -ENOENT && rc != -ECONNREFUSED) ||
			   deadline_left_ms(deadline_ns) == 0) {
			return rc;
		}
		nanosleep(&(struct timespec){.tv_nsec = RECONNECT_PAUSE_MS * NS_PER_MS}, NULL);
	}
}

static int show_reply(const struct rpc_msg *reply, struct err *err)
{
	int64_t code = 0;
	int64_t number = 0;
	int rc = rpc_get_int(reply->json, "code", 0, 255, &code, err);

	if (rc == 0)
		rc = rpc_opt_int(reply->json, "signal", 0, INT8_MAX, &number, err);
	if (rc == 0)
		rc = io_write_all(STDOUT_FILENO, reply->blob, reply->blob_len, err);
	if (rc < 0)
		return rc;
	return number ? 128 + (int)number : (int)code;
}

static int usage(FILE *out, int code)
{
	fprintf(out, "Usage: " RSH_NAME " [SSH-OPTION]… HOST COMMAND…\n"
		     "Run a shell command in another VM of the cluster and print its output.\n"
		     "Options of ssh are taken and ignored. Exit status: the command's, 255 in "
		     "trouble.\n");
	return code;
}

int rsh_main(int argc, char **argv)
{
	struct rpc_msg reply = {0};
	struct err err = ERR_INIT;
	json_t *request = NULL;
	char *command = NULL;
	const char *host;
	int first;
	int rc;

	if (argc > 1 && strcmp(argv[1], "--help") == 0)
		return usage(stdout, 0);
	first = skip_options(argc, argv);
	if (argc - first < 2)
		return usage(stderr, EXIT_TROUBLE);
	host = strrchr(argv[first], '@') ? strrchr(argv[first], '@') + 1 : argv[first];
	command = join(argc - first - 1, argv + first + 1);
	if (command)
		request = make_request(host, command);
	if (request)
		rc = relay_call(request, &reply, &err);
	else
		rc = err_set(&err, EINVAL,
			     "cannot make a request: is the command valid UTF-8?");
	if (rc == 0)
		rc = show_reply(&reply, &err);
	if (rc < 0)
		fprintf(stderr, RSH_NAME ": %s: %s\n", host, err.msg);
	rpc_msg_clear(&reply);
	json_decref(request);
	free(command);
	return rc < 0 ? EXIT_TROUBLE : rc;
}
