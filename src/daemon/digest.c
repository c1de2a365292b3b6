/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys of cache entries: SHA-256 over their inputs, as text. */
#include "daemon/digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

struct digest {
	EVP_MD_CTX *ctx;
};

struct digest *digest_new(void)
{
	struct digest *digest = malloc(sizeof(*digest));

	if (!digest)
		abort();
	digest->ctx = EVP_MD_CTX_new();
	if (!digest->ctx || EVP_DigestInit_ex(digest->ctx, EVP_sha256(), NULL) != 1)
		abort();
	return digest;
}

void digest_add(struct digest *digest, const void *bytes, size_t len)
{
	if (EVP_DigestUpdate(digest->ctx, bytes, len) != 1)
		abort();
}

void digest_end(struct digest *digest, char ret_hex[DIGEST_HEX_BYTES])
{
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned int len;

	if (EVP_DigestFinal_ex(digest->ctx, hash, &len) != 1)
		abort();
	for (unsigned int i = 0; i < len; i++)
		snprintf(ret_hex + (size_t)2 * i, 3, "%02x", hash[i]);
	EVP_MD_CTX_free(digest->ctx);
	free(digest);
}
