/* SPDX-License-Identifier: BSD-3-Clause */
/* Notifications: a counter for each pair of ranks, at the receiver. */
#ifndef STASIS_ARMCI_API_NOTIFY_H
#define STASIS_ARMCI_API_NOTIFY_H

#include "base/err.h"

int notify_open(struct err *err); /* collective */
void notify_close(void);          /* collective */

#endif
