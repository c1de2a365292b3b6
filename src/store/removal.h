/* SPDX-License-Identifier: BSD-3-Clause */
/* Removal of checkpoints, whose data stay as long as somebody uses them. */
#ifndef STASIS_STORE_REMOVAL_H
#define STASIS_STORE_REMOVAL_H

#include "store/lease.h"

/* Whether a checkpoint is removed, but still used: 1, 0 or -errno. */
int removal_has(struct store *store, const char *id, struct err *err);

/* Complete the removals of checkpoints that nobody uses any more; for the collection that holds
 * `own`. */
int removals_settle(struct store *store, struct store_lease *own, struct err *err);

#endif
