/* SPDX-License-Identifier: BSD-3-Clause */
/* Which chunks the checkpoints need: marking of live ones. */
#ifndef STASIS_STORE_MARK_H
#define STASIS_STORE_MARK_H

#include "store/id_set.h"
#include "store/store_priv.h"

struct mark {
	struct store *store;
	struct chunk_reader *reader;
	struct id_set live;
	store_id *seen; /* manifests that were marked */
	size_t seen_count;
	bool partly; /* what quarantined ones need is not all known */
};

/* The index must be held. */
int mark_begin(struct store *store, struct mark *ret_mark, struct err *err);
void mark_end(struct mark *mark);

/* Mark whatever the manifests need that were not looked at yet, those of checkpoints that are
 * removed but still used too. A manifest or tree that cannot be
 * read ends it, unless the checkpoint is quarantined. */
int mark_manifests(struct mark *mark, struct err *err);
/* One stream; also for exports. */
int mark_stream(struct mark *mark, const struct stream_ref *ref, struct err *err);

#endif
