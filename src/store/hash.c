/* SPDX-License-Identifier: BSD-3-Clause */
/* SHA-256 by OpenSSL (which uses the processor's SHA instructions), and its hexadecimal form.
 */
#include "store/hash.h"

#include <errno.h>
#include <openssl/evp.h>

#include "base/hex.h"

int hash_sha256(const struct iovec *pieces, size_t count, uint8_t ret_hash[HASH_BYTES],
		struct err *err)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

	for (size_t i = 0; ok && i < count; i++)
		ok = EVP_DigestUpdate(ctx, pieces[i].iov_base, pieces[i].iov_len);
	ok = ok && EVP_DigestFinal_ex(ctx, ret_hash, NULL);
	EVP_MD_CTX_free(ctx);
	return ok ? 0 : err_set(err, ENOMEM, "OpenSSL could not compute a SHA-256");
}

void hash_to_hex(const uint8_t hash[HASH_BYTES], char ret_hex[HASH_HEX_MAX])
{
	hex_encode(hash, HASH_BYTES, ret_hex);
}

bool hash_from_hex(const char *hex, uint8_t ret_hash[HASH_BYTES])
{
	return hex_decode(hex, ret_hash, HASH_BYTES);
}
