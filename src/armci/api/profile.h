/* SPDX-License-Identifier: BSD-3-Clause */
/* The profiling interface: strong names with a P in front, public names as weak aliases. */
#ifndef STASIS_ARMCI_API_PROFILE_H
#define STASIS_ARMCI_API_PROFILE_H

/*
 * A file defines PARMCI_Put(...) { } and says below it
 *	ARMCI_ALIAS(int, Put, (void *src, void *dst, int bytes, int proc));
 * which makes ARMCI_Put. For names in small letters, parmci_msg_barrier and armci_msg_barrier:
 *	ARMCI_ALIAS_SMALL(void, msg_barrier, (void));
 * The compiler checks the arguments against the header's. An alias stands in the file that
 * defines its target. Within the library call the P-name: the public one may be somebody's
 * profiling wrapper.
 */
#define ARMCI_ALIAS(ret, name, args) \
	extern ret ARMCI_##name args __attribute__((weak, alias("PARMCI_" #name)))
#define ARMCI_ALIAS_SMALL(ret, name, args) \
	extern ret armci_##name args __attribute__((weak, alias("parmci_" #name)))

#endif
