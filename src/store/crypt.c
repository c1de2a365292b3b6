/* SPDX-License-Identifier: BSD-3-Clause */
/* Encryption at rest: keys derived from the user's secret, and sealing with AES-256-GCM. */
#include "store/crypt.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"

enum { NONCE_BYTES = 12 };

struct crypt_secret {
	size_t len;
	uint8_t bytes[CRYPT_SECRET_MAX + 1];
};

static int openssl_failed(const char *what, struct err *err)
{
	return err_set(err, EIO, "OpenSSL could not %s", what);
}

static int secret_from_file(const char *path, struct crypt_secret *secret, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t len;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot open the key file %s", path);
	if (S_ISREG(st.st_mode) && (st.st_mode & 077))
		return err_set(err, EACCES,
			       "the key file %s may be read or written by others: chmod 600 it",
			       path);
	len = read(fd, secret->bytes, sizeof(secret->bytes));
	if (len < 0)
		return err_sys(err, errno, "cannot read the key file %s", path);
	secret->len = (size_t)len;
	return 0;
}

static int secret_from_command(const char *command, struct crypt_secret *secret,
			       struct err *err)
{
	FILE *pipe = popen(command, "re");
	uint8_t *newline;
	int status;

	if (!pipe)
		return err_sys(err, errno, "cannot run the key command");
	secret->len = fread(secret->bytes, 1, sizeof(secret->bytes), pipe);
	status = pclose(pipe);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return err_set(
			err, EKEYREJECTED,
			"the key command \"%.200s\" failed: it must print the key and exit with 0",
			command);
	newline = memchr(secret->bytes, '\n', secret->len);
	if (newline)
		secret->len = (size_t)(newline - secret->bytes);
	return 0;
}

int crypt_secret_load(const char *key_file, const char *key_command,
		      struct crypt_secret **ret_secret, struct err *err)
{
	struct crypt_secret *secret;
	int rc;

	*ret_secret = NULL;
	if (!key_file && !key_command)
		return 0;
	if (key_file && key_command)
		return err_set(err, EINVAL,
			       "there are a key file and a key command: name one of them");
	secret = calloc(1, sizeof(*secret));
	if (!secret)
		return err_sys(err, ENOMEM, "key");
	rc = key_file ? secret_from_file(key_file, secret, err)
		      : secret_from_command(key_command, secret, err);
	while (rc == 0 && secret->len && secret->bytes[secret->len - 1] == '\n')
		secret->len--;
	if (rc == 0 && (secret->len < CRYPT_SECRET_MIN || secret->len > CRYPT_SECRET_MAX))
		rc = err_set(
			err, EKEYREJECTED,
			"the key has %zu bytes, it must have %d to %d random ones (for instance "
			"what `openssl rand -hex 32` prints)",
			secret->len, CRYPT_SECRET_MIN, CRYPT_SECRET_MAX);
	if (rc < 0)
		crypt_secret_free(secret);
	else
		*ret_secret = secret;
	return rc;
}

void crypt_secret_free(struct crypt_secret *secret)
{
	if (!secret)
		return;
	OPENSSL_cleanse(secret, sizeof(*secret));
	free(secret);
}

/* HKDF-SHA-256 (RFC 5869). */
static int derive(const void *secret, size_t secret_len, const uint8_t salt[CRYPT_SALT_BYTES],
		  const char *purpose, uint8_t ret_key[CRYPT_KEY_BYTES], struct err *err)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
	size_t len = CRYPT_KEY_BYTES;
	int ok = ctx && EVP_PKEY_derive_init(ctx) > 0 &&
		 EVP_PKEY_CTX_set_hkdf_md(ctx, EVP_sha256()) > 0 &&
		 EVP_PKEY_CTX_set1_hkdf_salt(ctx, salt, CRYPT_SALT_BYTES) > 0 &&
		 EVP_PKEY_CTX_set1_hkdf_key(ctx, secret, (int)secret_len) > 0 &&
		 EVP_PKEY_CTX_add1_hkdf_info(ctx, (const uint8_t *)purpose,
					     (int)strlen(purpose)) > 0 &&
		 EVP_PKEY_derive(ctx, ret_key, &len) > 0;

	EVP_PKEY_CTX_free(ctx);
	return ok ? 0 : openssl_failed("derive a key", err);
}

int crypt_create(const struct crypt_secret *secret, const uint8_t store_id[CRYPT_SALT_BYTES],
		 struct crypt **ret_crypt, struct err *err)
{
	struct crypt *crypt = calloc(1, sizeof(*crypt));
	int rc;

	if (!crypt)
		return err_sys(err, ENOMEM, "keys");
	rc = derive(secret->bytes, secret->len, store_id, "stasis chunk ids", crypt->id_key,
		    err);
	if (rc == 0)
		rc = derive(secret->bytes, secret->len, store_id, "stasis objects",
			    crypt->data_key, err);
	if (rc == 0)
		rc = derive(secret->bytes, secret->len, store_id, "stasis check", crypt->check,
			    err);
	if (rc < 0)
		crypt_destroy(crypt);
	else
		*ret_crypt = crypt;
	return rc;
}

void crypt_destroy(struct crypt *crypt)
{
	if (!crypt)
		return;
	OPENSSL_cleanse(crypt, sizeof(*crypt));
	free(crypt);
}

int crypt_object_key(const struct crypt *crypt, const uint8_t salt[CRYPT_SALT_BYTES],
		     uint8_t ret_key[CRYPT_KEY_BYTES], struct err *err)
{
	return derive(crypt->data_key, sizeof(crypt->data_key), salt, "stasis object", ret_key,
		      err);
}

static void nonce_make(uint64_t number, uint8_t ret_nonce[NONCE_BYTES])
{
	memset(ret_nonce, 0, NONCE_BYTES);
	memcpy(ret_nonce, &number, sizeof(number));
}

int crypt_seal(const uint8_t key[CRYPT_KEY_BYTES], uint64_t number, const void *data,
	       size_t len, void *ret_sealed, struct err *err)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t nonce[NONCE_BYTES], *out = ret_sealed;
	int n = 0, ok;

	nonce_make(number, nonce);
	ok = ctx && EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce) &&
	     EVP_EncryptUpdate(ctx, out, &n, data, (int)len) &&
	     EVP_EncryptFinal_ex(ctx, out + n, &n) &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, CRYPT_TAG_BYTES, out + len);
	EVP_CIPHER_CTX_free(ctx);
	return ok ? 0 : openssl_failed("encrypt", err);
}

int crypt_open(const uint8_t key[CRYPT_KEY_BYTES], uint64_t number, const void *sealed,
	       size_t sealed_len, void *ret_data, struct err *err)
{
	size_t len = sealed_len - CRYPT_TAG_BYTES;
	EVP_CIPHER_CTX *ctx;
	uint8_t nonce[NONCE_BYTES], tag[CRYPT_TAG_BYTES];
	int n = 0, ok, fits;

	if (sealed_len < CRYPT_TAG_BYTES)
		return err_set(err, EBADMSG, "encrypted bytes are cut off");
	nonce_make(number, nonce);
	memcpy(tag, (const uint8_t *)sealed + len, sizeof(tag));
	ctx = EVP_CIPHER_CTX_new();
	ok = ctx && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce) &&
	     EVP_DecryptUpdate(ctx, ret_data, &n, sealed, (int)len) &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, CRYPT_TAG_BYTES, tag);
	fits = ok && EVP_DecryptFinal_ex(ctx, (uint8_t *)ret_data + n, &n) > 0;
	EVP_CIPHER_CTX_free(ctx);
	if (!ok)
		return openssl_failed("decrypt", err);
	return fits ? 0 : err_set(err, EBADMSG, "encrypted bytes do not fit their tag");
}
