/* SPDX-License-Identifier: BSD-3-Clause */
/* Ids of chunks: SHA-256, or HMAC-SHA-256 in an encrypted store. */
#include "store/chunk_hash.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <stdlib.h>

struct chunk_hasher {
	EVP_MD *md;
	EVP_MD_CTX *plain; /* not encrypted */
	EVP_MAC_CTX *keyed;
};

static bool keyed_create(struct chunk_hasher *hasher, const struct crypt *crypt)
{
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};

	if (!mac)
		return false;
	hasher->keyed = EVP_MAC_CTX_new(mac);
	EVP_MAC_free(mac);
	return hasher->keyed &&
	       EVP_MAC_init(hasher->keyed, crypt->id_key, sizeof(crypt->id_key), params);
}

static bool plain_create(struct chunk_hasher *hasher)
{
	hasher->md = EVP_MD_fetch(NULL, "SHA256", NULL);
	hasher->plain = EVP_MD_CTX_new();
	return hasher->md && hasher->plain;
}

int chunk_hasher_create(const struct crypt *crypt, struct chunk_hasher **ret_hasher,
			struct err *err)
{
	struct chunk_hasher *hasher = calloc(1, sizeof(*hasher));

	if (!hasher)
		return err_sys(err, ENOMEM, "hash");
	if (crypt ? !keyed_create(hasher, crypt) : !plain_create(hasher)) {
		chunk_hasher_destroy(hasher);
		return err_set(err, ENOMEM, "OpenSSL has no SHA-256");
	}
	*ret_hasher = hasher;
	return 0;
}

void chunk_hasher_destroy(struct chunk_hasher *hasher)
{
	if (!hasher)
		return;
	EVP_MD_CTX_free(hasher->plain);
	EVP_MD_free(hasher->md);
	EVP_MAC_CTX_free(hasher->keyed);
	free(hasher);
}

int chunk_hasher_id(struct chunk_hasher *hasher, const void *data, size_t len,
		    struct chunk_id *ret_id, struct err *err)
{
	size_t out;
	int ok;

	if (hasher->plain)
		ok = EVP_DigestInit_ex2(hasher->plain, hasher->md, NULL) &&
		     EVP_DigestUpdate(hasher->plain, data, len) &&
		     EVP_DigestFinal_ex(hasher->plain, ret_id->bytes, NULL);
	else
		ok = EVP_MAC_init(hasher->keyed, NULL, 0, NULL) &&
		     EVP_MAC_update(hasher->keyed, data, len) &&
		     EVP_MAC_final(hasher->keyed, ret_id->bytes, &out, CHUNK_ID_BYTES);
	return ok ? 0 : err_set(err, ENOMEM, "OpenSSL could not compute a SHA-256");
}
