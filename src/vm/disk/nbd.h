/* SPDX-License-Identifier: BSD-3-Clause */
/* Client of an NBD server on a unix socket: which ranges of an export a metadata context marks.
 */
#ifndef STASIS_VM_DISK_NBD_H
#define STASIS_VM_DISK_NBD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Told of the ranges in their order, without gaps, all below the export's size; `flags` as the
 * context defines them. */
typedef void (*nbd_extent_fn)(void *arg, uint64_t offset, uint64_t len, uint32_t flags);

/* Ask for the whole export. */
int nbd_extents(const char *socket_path, const char *export_name, const char *context,
		int64_t deadline_ns, nbd_extent_fn fn, void *arg, uint64_t *ret_bytes,
		struct err *err);

int nbd_read_start(const char *socket_path, const char *export_name, int64_t deadline_ns,
		   void *buf, size_t len, struct err *err);

#endif
