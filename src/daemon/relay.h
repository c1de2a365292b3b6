/* SPDX-License-Identifier: BSD-3-Clause */
/* Relays: an agent's request to run a command in another VM of its cluster (mpirun's remote
 * ranks). */
#ifndef STASIS_DAEMON_RELAY_H
#define STASIS_DAEMON_RELAY_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

/* A link_request_fn; `arg` is the node that asks. */
int relay_serve(const json_t *request, json_t *reply, char **ret_blob, size_t *ret_blob_len,
		void *arg, struct err *err);

#endif
