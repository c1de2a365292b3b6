/* SPDX-License-Identifier: BSD-3-Clause */
/* Ids of chunks: SHA-256, or HMAC-SHA-256 in an encrypted store. */
#ifndef STASIS_STORE_CHUNK_HASH_H
#define STASIS_STORE_CHUNK_HASH_H

#include <stddef.h>

#include "base/err.h"
#include "store/chunk.h"
#include "store/crypt.h"

/* One thread's; keeps what OpenSSL would set up anew for each chunk. */
struct chunk_hasher;

int chunk_hasher_create(const struct crypt *crypt, struct chunk_hasher **ret_hasher,
			struct err *err);
void chunk_hasher_destroy(struct chunk_hasher *hasher);
int chunk_hasher_id(struct chunk_hasher *hasher, const void *data, size_t len,
		    struct chunk_id *ret_id, struct err *err);

#endif
