/* SPDX-License-Identifier: BSD-3-Clause */
/* From a user's ARMCI_Group to the group of ranks behind it. */
#ifndef STASIS_ARMCI_API_GROUP_H
#define STASIS_ARMCI_API_GROUP_H

#include <armci.h>

#include "armci/coll/group.h"
#include "base/err.h"

/* Called by init.c after coll_open(), and before coll_close(): the world and the default group.
 */
int groups_open(struct err *err);
void groups_close(void);

/* The group of which the caller is a member; anything else ends the job with a sentence that
 * begins with `call`. */
struct coll_group *group_of(const ARMCI_Group *group, const char *call);

#endif
