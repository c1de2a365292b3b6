/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of docs/formats/daemon.md, one function each. */
#ifndef STASIS_DAEMON_OPS_H
#define STASIS_DAEMON_OPS_H

#include "daemon/daemon.h"

#define DAEMON_OP(name)                                                                       \
	int op_##name(const struct rpc_msg *request, json_t *reply, struct rpc_msg *ret_blob, \
		      struct progress *progress, struct err *err)

DAEMON_OP(hello);
DAEMON_OP(cluster_up);
DAEMON_OP(cluster_down);
DAEMON_OP(cluster_status);
DAEMON_OP(agent);
DAEMON_OP(run_start);
DAEMON_OP(run_end);
DAEMON_OP(checkpoint);
DAEMON_OP(restart);
DAEMON_OP(ckpt_list);
DAEMON_OP(ckpt_show);
DAEMON_OP(ckpt_verify);
DAEMON_OP(ckpt_rm);
DAEMON_OP(ckpt_export);
DAEMON_OP(ckpt_import);
DAEMON_OP(store_prune);
DAEMON_OP(store_gc);
DAEMON_OP(store_stats);
DAEMON_OP(catalog_rebuild);
DAEMON_OP(shutdown);

#endif
