/* SPDX-License-Identifier: BSD-3-Clause */
/* An open transaction, for those who must know which checkpoints are still being written. */
#ifndef STASIS_STORE_STORE_TXN_H
#define STASIS_STORE_STORE_TXN_H

#include "store/store_priv.h"

struct store_txn {
	struct store *store;
	struct store_txn *next;
	char id[STORE_ID_MAX];
	char cluster[STORE_CLUSTER_MAX];
	char dir[IO_PATH_MAX];
	struct manifest_file *parts; /* put so far; guarded by the store's lock */
	size_t part_count;
};

#endif
