/* SPDX-License-Identifier: BSD-3-Clause */
/* A regular file or memfd as the source of a stream or image; its holes are skipped. */
#ifndef STASIS_STORE_FD_SOURCE_H
#define STASIS_STORE_FD_SOURCE_H

#include <stdint.h>

#include "base/err.h"

/* *ret_source is malloc'ed, the caller's; the fd must stay open. */
struct fd_source;
int fd_source_create(int fd, struct fd_source **ret_source, uint64_t *ret_bytes,
		     struct err *err);

/* The functions of a source over it, see store/store.h; any thread. SEEK_DATA moves the fd's
 * offset. */
uint64_t fd_source_next_data(void *source, uint64_t offset);
int fd_source_block(void *source, uint64_t offset, uint32_t len, void *scratch,
		    const void **ret_data, struct err *err);

#endif
