/* SPDX-License-Identifier: BSD-3-Clause */
/* Leases: who writes into a store or reads from it now, on whatever host
 * (docs/formats/store.md). */
#ifndef STASIS_STORE_LEASE_H
#define STASIS_STORE_LEASE_H

#include "store/store_priv.h"

enum { LEASE_NAME_MAX = 40, LEASE_EXPIRES_S = 900 };

/* The lease of a collection, of which there is one at a time: -EBUSY. Of two that begin at once
 * both may be refused. */
int lease_begin_collection(struct store *store, struct store_lease **ret_lease,
			   struct err *err);

/* Its name, as lease_list() has it. */
const char *lease_name_get(const struct store_lease *lease);

/* -ESTALE when it was lost: expired, and removed by another host. */
int lease_check(struct store_lease *lease, struct err *err);

/* Names of the leases that are held now; those of dead processes of this host, and expired
 * ones, are removed. *ret_names is malloc'ed, the caller's. */
typedef char lease_name[LEASE_NAME_MAX];
int lease_list(struct store *store, lease_name **ret_names, size_t *ret_count, struct err *err);

#endif
