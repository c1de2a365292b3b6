/* SPDX-License-Identifier: BSD-3-Clause */
/* SHA-256 over scattered bytes, and its hexadecimal form. */
#ifndef STASIS_STORE_HASH_H
#define STASIS_STORE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"

enum { HASH_BYTES = 32, HASH_HEX_MAX = 2 * HASH_BYTES + 1 };

/* SHA-256 of the `count` pieces one after another. */
int hash_sha256(const struct iovec *pieces, size_t count, uint8_t ret_hash[HASH_BYTES],
		struct err *err);

/* 64 lower-case hexadecimal digits and a NUL. */
void hash_to_hex(const uint8_t hash[HASH_BYTES], char ret_hex[HASH_HEX_MAX]);

/* True if the first 64 characters of `hex` are lower-case hexadecimal digits, which are then
 * decoded. */
bool hash_from_hex(const char *hex, uint8_t ret_hash[HASH_BYTES]);

#endif
