/* SPDX-License-Identifier: BSD-3-Clause */
/* Bridge and taps of the network namespace that the calling process is in. */
#ifndef STASIS_VM_NET_LINK_H
#define STASIS_VM_NET_LINK_H

#include "base/err.h"

/* Make the bridge, without IPv6 of its own, and set it up. */
int link_bridge_create(const char *bridge, unsigned int mtu, struct err *err);

/* 0 when this user can make taps; else a sentence with the remedy. */
int link_tap_possible(struct err *err);

/* Make a tap that lives as long as its descriptor, with the bridge's MTU, as a port of it. */
int link_tap_create(const char *tap, const char *bridge, int *ret_fd, struct err *err);

#endif
