/* SPDX-License-Identifier: BSD-3-Clause */
/* libfabric, loaded when it is first needed. */
#ifndef STASIS_ARMCI_TRANSPORT_OFI_LIBFABRIC_H
#define STASIS_ARMCI_TRANSPORT_OFI_LIBFABRIC_H

#include <rdma/fabric.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Its providers measure the processor's clock as they are loaded, a fifth of a second in every
 * process; jobs that stay on one node or use verbs go without. These are the functions that are
 * symbols of the library; all others of its interface are reached through the objects they
 * return. See fi_getinfo(3), fi_fabric(3), fi_errno(3), fi_version(3).
 */
struct libfabric {
	int (*getinfo)(uint32_t version, const char *node, const char *service, uint64_t flags,
		       const struct fi_info *hints, struct fi_info **info);
	void (*freeinfo)(struct fi_info *info);
	struct fi_info *(*dupinfo)(const struct fi_info *info); /* NULL: an empty one */
	int (*fabric)(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context);
	const char *(*strerror)(int number);
	uint32_t (*version)(void);
};

extern struct libfabric libfabric; /* valid once libfabric_load() has returned 0 */

/* Load it unless it is. -ENODEV: it is not installed. Not thread-safe; it stays loaded. */
int libfabric_load(struct err *err);

#endif
