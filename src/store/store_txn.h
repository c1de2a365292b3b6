/* SPDX-License-Identifier: BSD-3-Clause */
/* An open transaction, for the files that work on it. */
#ifndef STASIS_STORE_STORE_TXN_H
#define STASIS_STORE_STORE_TXN_H

#include <stdatomic.h>

#include "store/id_set.h"
#include "store/pack_set.h"
#include "store/store_priv.h"

struct store_txn {
	struct store *store;
	char id[STORE_ID_MAX];
	char cluster[STORE_CLUSTER_MAX];
	struct store_lease *lease;
	struct pack_set *packs;
	pthread_mutex_t lock;       /* guards what follows */
	struct id_set pending;      /* chunks on their way into the packs */
	struct stream_ref *streams; /* that the manifest may name */
	size_t stream_count;
	bool failed;    /* a put failed: the packs lack chunks that are pending */
	bool published; /* or tried to, so that the manifest may be there */
	/* Cost, see struct store_cost. */
	atomic_uint_fast64_t logical_bytes, data_bytes, taken_bytes, new_bytes;
	atomic_int_fast64_t hash_ns, compress_ns;
	unsigned int threads; /* of the last put */
};

/* Let the manifest name it. */
int txn_note_stream(struct store_txn *txn, const struct stream_ref *ref, struct err *err);

#endif
