/* SPDX-License-Identifier: BSD-3-Clause */
/* What stasis-netns and those who start it have agreed on. */
#ifndef STASIS_VM_NET_NETNS_H
#define STASIS_VM_NET_NETNS_H

#define NETNS_PROGRAM "stasis-netns"
#define NETNS_BRIDGE  "br0"

enum {
	NETNS_READY_FD =
		3, /* hold: one line goes here, "ready" or a sentence that tells why not */
	NETNS_TAP_FD = 4, /* exec: the tap's number in the program that is executed */
	NETNS_MTU_MIN = 1280,
	NETNS_MTU_MAX = 65535,
	NETNS_FAILED = 125, /* exit status: the program was never executed */
};

#endif
