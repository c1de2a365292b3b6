/* SPDX-License-Identifier: BSD-3-Clause */
/* Scopes of collectives: who of a group takes part. */
#ifndef STASIS_ARMCI_API_SCOPE_H
#define STASIS_ARMCI_API_SCOPE_H

#include "armci/coll/group.h"

/* The part of `group` that a scope's constant (ARMCI-MPI's or the original's) means, NULL if
 * the caller is not in it. Collective over that part when first asked for. Another constant
 * ends the job with a sentence that begins with `call`. */
struct coll_group *scope_group(const char *call, int scope, struct coll_group *group);

#endif
