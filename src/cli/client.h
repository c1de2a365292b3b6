/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection to stasisd: starts the daemon when none answers, shows the progress of
 * requests. */
#ifndef STASIS_CLI_CLIENT_H
#define STASIS_CLI_CLIENT_H

#include <jansson.h>

#include "base/err.h"
#include "base/rpc.h"
#include "cli/cli.h"
#include "cli/progress.h"

struct client {
	struct rpc_conn *conn;
	struct progress progress;
};

/* A connection that has said hello; starts the daemon if need be. `start` false: -ECONNREFUSED
 * or -ENOENT instead. */
int client_connect(bool start, struct rpc_conn **ret_conn, struct err *err);

/* Connect for a subcommand; CLI_OK, or the exit code after telling the error. Close it in any
 * case. */
int client_open(struct client *ret_client, const struct cli *cli);
void client_close(struct client *client);
/* Connect anew after the daemon has gone. */
int client_reopen(struct client *client, struct err *err);

/*
 * Send a request (taken over; NULL stands for a lack of memory) and wait for its reply, showing
 * progress. The reply goes to *ret_reply (may be NULL), the caller's. -ECONNRESET when the
 * daemon went away.
 */
int client_call(struct client *client, json_t *request, json_t **ret_reply, struct err *err);

/* The cluster's object of cluster.status; name NULL or empty: the only one. New reference. */
int client_cluster(struct client *client, const char *name, json_t **ret_cluster,
		   struct err *err);

#endif
