/* SPDX-License-Identifier: BSD-3-Clause */
/* SHA-256 by OpenSSL (which uses the processor's SHA instructions), and its hexadecimal form.
 */
#include "store/hash.h"

#include <errno.h>
#include <openssl/evp.h>

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
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < HASH_BYTES; i++) {
		ret_hex[2 * i] = digits[hash[i] >> 4];
		ret_hex[2 * i + 1] = digits[hash[i] & 15];
	}
	ret_hex[HASH_HEX_MAX - 1] = '\0';
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool hash_from_hex(const char *hex, uint8_t ret_hash[HASH_BYTES])
{
	for (size_t i = 0; i < HASH_BYTES; i++) {
		int high = digit_value(hex[2 * i]);
		int low = high < 0 ? -1 : digit_value(hex[2 * i + 1]);

		if (low < 0)
			return false;
		ret_hash[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}
