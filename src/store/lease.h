/* SPDX-License-Identifier: BSD-3-Clause */
/* Leases: who writes into a store or reads from it now, on whatever host
 * (docs/formats/store.md). */
#ifndef STASIS_STORE_LEASE_H
#define STASIS_STORE_LEASE_H

#include "store/store_priv.h"

enum { LEASE_NAME_MAX = 40, LEASE_EXPIRES_S = 900, LEASE_RENEW_S = 60 };

/* Make a lease durable; what is condemned or removed from now on waits for its end. A
 * collection's has a name by which others know it (lease_collects()). */
int lease_begin(struct store *store, bool collects, struct store_lease **ret_lease,
		struct err *err);

/* Its name, as lease_list() has it. */
const char *lease_name_get(const struct store_lease *lease);

/* -ESTALE when it was lost: expired, and removed by another host. */
int lease_check(struct store_lease *lease, struct err *err);

/* Names of the leases that are held now, but for `except` (or NULL); those of dead processes of
 * this host, and expired ones, are removed. *ret_names is malloc'ed, the caller's. */
typedef char lease_name[LEASE_NAME_MAX];
int lease_list(struct store *store, const struct store_lease *except, lease_name **ret_names,
	       size_t *ret_count, struct err *err);
bool lease_collects(const char *name);

/* Write the names into an object, for whoever looks later whether they are still there: a line
 * each, behind the line `head` ("" for none). */
int lease_note(struct store *store, const char *object, const char *head,
	       const lease_name *names, size_t count, struct err *err);
/* Whether such a text names one of these. */
bool lease_noted(const char *text, const lease_name *names, size_t count);

#endif
