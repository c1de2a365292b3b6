/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's identity: host name, network device, and who its peers are. */
#ifndef STASIS_AGENT_NET_H
#define STASIS_AGENT_NET_H

#include "agent/request.h"

/* Make the guest what `configure` says. What is already so is left alone, so connections
 * survive a repetition. */
int net_configure(const struct request_configure *configure, struct err *err);

#endif
