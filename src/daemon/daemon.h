/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of stasisd share: directories, the store, the clusters. */
#ifndef STASIS_DAEMON_DAEMON_H
#define STASIS_DAEMON_DAEMON_H

#include <jansson.h>
#include <pthread.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/err.h"
#include "base/io.h"
#include "base/rpc.h"
#include "store/store.h"

struct cluster;

struct daemon {
	char run_dir[IO_PATH_MAX], state_dir[IO_PATH_MAX], cache_dir[IO_PATH_MAX];
	char store_dir[IO_PATH_MAX]; /* or s3://bucket/prefix */
	struct store *store;
	struct store_config store_config; /* what it was opened with */
	struct budget staging;            /* for the captures of all clusters */
	pthread_mutex_t lock; /* the list of clusters and all fields of clusters marked so */
	struct cluster *clusters;
};

/* The daemon of this process; set up by main() before any thread exists. */
extern struct daemon the_daemon;

/*
 * One request under way. Progress events go to the client that asked, if it still listens.
 * `who` is NULL for work that the daemon began by itself.
 */
struct client_request;
struct progress {
	struct client_request *who;
};

/* Tell the client (at most some 20 times a second within one phase; a new phase always). Any
 * thread. */
void progress_send(struct progress *progress, const char *phase, uint64_t done, uint64_t total,
		   const char *unit, const char *message);

/* An operation of docs/formats/daemon.md: fills `reply` (and ret_blob). Runs on a thread of its
 * own. */
typedef int (*daemon_op_fn)(const struct rpc_msg *request, json_t *reply,
			    struct rpc_msg *ret_blob, struct progress *progress,
			    struct err *err);

/* The operation named so, or NULL. */
daemon_op_fn daemon_op_find(const char *name);

/* Listen on the socket and serve. */
int server_start(const char *socket_path, struct err *err);
/* End the loop once no operation is under way and the replies that are due have been sent. Any
 * thread. */
void server_shutdown(void);

#endif
