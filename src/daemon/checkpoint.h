/* SPDX-License-Identifier: BSD-3-Clause */
/* One coordinated checkpoint of a cluster, as a table of phases. */
#ifndef STASIS_DAEMON_CHECKPOINT_H
#define STASIS_DAEMON_CHECKPOINT_H

#include <jansson.h>

#include "base/err.h"
#include "daemon/cluster.h"

/*
 * Take a checkpoint of a running cluster. Returns 0 with the checkpoint's id, published and
 * verified as written, or -errno: then it does not exist and the VMs run on. Takes and ends the
 * cluster's operation. The caller holds a reference.
 */
int checkpoint_take(struct cluster *cluster, const char *tag, struct progress *progress,
		    char ret_id[STORE_ID_MAX], struct err *err);

/* The document that "ckpt.show" and "checkpoint" answer with: manifest, bytes, damaged. New
 * reference. */
int checkpoint_describe(const char *id, json_t **ret_description, struct err *err);

#endif
