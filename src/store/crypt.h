/* SPDX-License-Identifier: BSD-3-Clause */
/* Encryption at rest: keys derived from the user's secret, and sealing with AES-256-GCM. */
#ifndef STASIS_STORE_CRYPT_H
#define STASIS_STORE_CRYPT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
	CRYPT_KEY_BYTES = 32,
	CRYPT_TAG_BYTES = 16,
	CRYPT_SALT_BYTES = 16,
	CRYPT_SECRET_MIN = 16, /* bytes; a secret is random, not a password */
	CRYPT_SECRET_MAX = 4096,
};

/* The keys of one store. Immutable, so free for all threads. A NULL crypt means that the store
 * is not encrypted. */
struct crypt {
	uint8_t id_key[CRYPT_KEY_BYTES];   /* of chunk ids (HMAC) */
	uint8_t data_key[CRYPT_KEY_BYTES]; /* of which each object's key is derived */
	uint8_t check[CRYPT_KEY_BYTES];    /* tells a wrong key from a damaged store */
};

/*
 * Read the secret from a file (a regular one that only its owner may read) or from the first
 * line that a command prints; both NULL: *ret_secret is NULL. Freed by crypt_secret_free().
 */
struct crypt_secret;
int crypt_secret_load(const char *key_file, const char *key_command,
		      struct crypt_secret **ret_secret, struct err *err);
void crypt_secret_free(struct crypt_secret *secret);

/* Derive the store's keys (HKDF-SHA-256). */
int crypt_create(const struct crypt_secret *secret, const uint8_t store_id[CRYPT_SALT_BYTES],
		 struct crypt **ret_crypt, struct err *err);
void crypt_destroy(struct crypt *crypt);

/* The key of one object, derived of its random salt. */
int crypt_object_key(const struct crypt *crypt, const uint8_t salt[CRYPT_SALT_BYTES],
		     uint8_t ret_key[CRYPT_KEY_BYTES], struct err *err);

/*
 * AES-256-GCM under an object's key; `number` is used once for each key. Sealed bytes are `len`
 * and a tag of CRYPT_TAG_BYTES. Opening what does not fit the tag is -EBADMSG. In place is
 * allowed.
 */
int crypt_seal(const uint8_t key[CRYPT_KEY_BYTES], uint64_t number, const void *data,
	       size_t len, void *ret_sealed, struct err *err);
int crypt_open(const uint8_t key[CRYPT_KEY_BYTES], uint64_t number, const void *sealed,
	       size_t sealed_len, void *ret_data, struct err *err);

#endif
