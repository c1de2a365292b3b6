/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys of cache entries: SHA-256 over their inputs, as text. */
#ifndef STASIS_DAEMON_DIGEST_H
#define STASIS_DAEMON_DIGEST_H

#include <stddef.h>

enum { DIGEST_HEX_BYTES = 65 };

struct digest;

struct digest *digest_new(void); /* never NULL: out of memory ends the process */
void digest_add(struct digest *digest, const void *bytes, size_t len);
/* Write the hash as 64 hexadecimal digits and a NUL; frees the digest. */
void digest_end(struct digest *digest, char ret_hex[DIGEST_HEX_BYTES]);

#endif
