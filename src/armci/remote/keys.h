/* SPDX-License-Identifier: BSD-3-Clause */
/* Registration: regions of our arena when first used, and what we know of the regions of
 * others. */
#ifndef STASIS_ARMCI_REMOTE_KEYS_H
#define STASIS_ARMCI_REMOTE_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "armci/remote/client.h"

int keys_open(struct err *err);
/* Unregister everything; what is used again is registered again. */
void keys_release(void);
void keys_close(void);

/* The registration of the region of my arena that holds `offset`; from any thread. NULL with a
 * sentence. */
struct transport_region *keys_region(uint64_t offset, struct err *err);

/* Bytes from `offset` to the end of its region of mine, or of the peer's. */
static inline size_t keys_room(uint64_t region_bytes, uint64_t offset)
{
	return (size_t)(region_bytes - offset % region_bytes);
}

/* The key of the peer's region that holds `far`, and the offset within it. Asks the peer the
 * first time, then for all up to far + bytes as well. */
struct transport_key keys_of_peer(struct peer *peer, uint64_t far, size_t bytes,
				  uint64_t *ret_offset);

/* Server: keys of `count` regions from `first` on into `keys`; -EINVAL for a region that is
 * not. */
int keys_answer(uint64_t first, uint32_t count, struct transport_key *keys);

#endif
