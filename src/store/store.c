/* SPDX-License-Identifier: BSD-3-Clause */
/* The store as a whole: opening, its small objects, and what is asked of its manifests. */
#include "store/store.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"
#include "store/format.h"
#include "store/lease.h"
#include "store/removal.h"
#include "store/store_priv.h"

void store_tidy(struct store *store)
{
	struct err err = ERR_INIT;

	if (store->backend->ops->tidy(store->backend, STORE_TIDY_AGE_S * NS_PER_S, &err) < 0)
		log_warn("store=%s %s", store->backend->where, err.msg);
}

void store_object(const char *kind, const char *name, char ret_object[STORE_OBJECT_MAX])
{
	snprintf(ret_object, STORE_OBJECT_MAX, "%.24s/%.127s", kind, name);
}

static int format_make(struct store *store, const struct crypt_secret *secret, struct err *err)
{
	struct store_format format = {.encrypted = secret != NULL};
	char text[FORMAT_BYTES_MAX];
	int rc = 0;

	if (getrandom(format.id, sizeof(format.id), 0) != sizeof(format.id))
		return err_sys(err, errno, "no random number for a store");
	if (secret)
		rc = crypt_create(secret, format.id, &store->crypt, err);
	if (rc < 0)
		return rc;
	if (secret)
		memcpy(format.check, store->crypt->check, sizeof(format.check));
	memcpy(store->id, format.id, sizeof(format.id));
	format_encode(&format, text);
	return backend_put(store->backend, FORMAT_OBJECT, text, strlen(text), err);
}

static int format_use(struct store *store, const char *text, const struct crypt_secret *secret,
		      struct err *err)
{
	const char *where = store->backend->where;
	struct store_format format;
	int rc = format_decode(text, where, &format, err);

	if (rc < 0)
		return rc;
	memcpy(store->id, format.id, sizeof(format.id));
	if (format.encrypted && !secret)
		return err_set(
			err, EKEYREJECTED,
			"the store %s is encrypted: name its key (STASIS_STORE_KEY_FILE or "
			"STASIS_STORE_KEY_COMMAND)",
			where);
	if (!format.encrypted && secret)
		return err_set(
			err, EKEYREJECTED,
			"the store %s is not encrypted, but a key is given: name another store, or "
			"no key",
			where);
	if (!secret)
		return 0;
	rc = crypt_create(secret, format.id, &store->crypt, err);
	if (rc == 0 && CRYPTO_memcmp(format.check, store->crypt->check, sizeof(format.check)))
		rc = err_set(err, EKEYREJECTED, "this is not the key of the store %s", where);
	return rc;
}

/* An empty location becomes a store; one with other things in it is refused, unless another
 * process has made a store of it meanwhile. */
static int format_found(struct store *store, void **ret_text, struct err *err)
{
	struct backend *backend = store->backend;
	int rc = backend->ops->vacant ? backend->ops->vacant(backend, err) : 0;

	if (rc == 0) {
		rc = format_make(store, store->secret, err);
		crypt_destroy(store->crypt);
		store->crypt = NULL;
	}
	if (rc == 0)
		return backend_get(backend, FORMAT_OBJECT, FORMAT_BYTES_MAX, ret_text, NULL,
				   err);
	if (rc == -ENOTEMPTY &&
	    backend_get(backend, FORMAT_OBJECT, FORMAT_BYTES_MAX, ret_text, NULL, NULL) == 0)
		rc = 0;
	return rc;
}

static int format_probe(struct store *store, const struct store_config *config, struct err *err)
{
	CLEANUP_FREE void *text = NULL;
	int rc = crypt_secret_load(config->key_file, config->key_command, &store->secret, err);

	if (rc < 0)
		return rc;
	rc = backend_get(store->backend, FORMAT_OBJECT, FORMAT_BYTES_MAX, &text, NULL, err);
	if (rc == -ENOENT && config->read_only)
		rc = err_set(err, ENOENT, "there is no store in %s", store->backend->where);
	else if (rc == -ENOENT)
		rc = format_found(store, &text, err);
	if (rc == 0)
		rc = format_use(store, text, store->secret, err);
	return rc;
}

int store_format_check(struct store *store, struct err *err)
{
	CLEANUP_FREE void *text = NULL;
	struct store_format format;
	int rc;

	if (!store->crypt)
		return 0;
	rc = backend_get(store->backend, FORMAT_OBJECT, FORMAT_BYTES_MAX, &text, NULL, err);
	if (rc == 0)
		rc = format_decode(text, store->backend->where, &format, err);
	if (rc == 0 && memcmp(format.id, store->id, sizeof(format.id)) != 0)
		rc = err_set(
			err, ESTALE,
			"the store %s was made by another process, too, while this one opened "
			"it: open it again",
			store->backend->where);
	return rc;
}

static int catalog_place(struct store *store, const char *cache_dir, struct err *err)
{
	char id[2 * CRYPT_SALT_BYTES + 1];

	if (!cache_dir)
		return 0;
	hex_encode(store->id, sizeof(store->id), id);
	return io_path(store->catalog_path, sizeof(store->catalog_path), err,
		       "%s/catalog-%s.db", cache_dir, id);
}

static int store_init(struct store *store, const struct store_config *config, struct err *err)
{
	struct err fault = ERR_INIT;
	lease_name *leases = NULL;
	size_t count;
	int rc = 0;

	/* A directory that is missing would be made. */
	if (config->read_only && !strstr(config->location, "://") &&
	    access(config->location, F_OK) < 0)
		rc = err_sys(err, errno, "there is no store in %s", config->location);
	if (rc == 0)
		rc = backend_open(config->location, &store->backend, err);
	if (rc == 0)
		rc = format_probe(store, config, err);
	if (rc == 0)
		rc = index_refresh(store->index, store->backend, store->crypt, err);
	if (rc < 0 || store->read_only)
		return rc;
	/* A store that cannot be written to can still be read. */
	if (lease_list(store, NULL, &leases, &count, &fault) < 0)
		log_warn("store=%s %s", store->backend->where, fault.msg);
	free(leases);
	store_tidy(store);
	rc = catalog_place(store, config->cache_dir, err);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&store->lock);
	rc = catalog_start(store, err);
	pthread_mutex_unlock(&store->lock);
	return rc;
}

int store_open(const struct store_config *config, struct store **ret_store, struct err *err)
{
	struct store *store = calloc(1, sizeof(*store));
	int rc;

	if (!store)
		return err_sys(err, ENOMEM, "store");
	store->read_only = config->read_only;
	pthread_mutex_init(&store->lock, NULL);
	governor_init(&store->governor, config->level);
	lease_keeper_init(&store->leases);
	store->index = index_create();
	store->cache = segment_cache_create();
	rc = store->index && store->cache ? store_init(store, config, err)
					  : err_sys(err, ENOMEM, "store");
	if (rc < 0)
		store_close(store);
	else
		*ret_store = store;
	return rc;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	lease_keeper_end(&store->leases);
	catalog_close(store->catalog);
	index_destroy(store->index);
	segment_cache_destroy(store->cache);
	governor_destroy(&store->governor);
	crypt_destroy(store->crypt);
	crypt_secret_free(store->secret);
	backend_close(store->backend);
	pthread_mutex_destroy(&store->lock);
	free(store);
}

const char *store_where(const struct store *store)
{
	return store->backend->where;
}

int store_writable(const struct store *store, struct err *err)
{
	return store->read_only ? err_set(err, EROFS, "the store %s is open for reading only",
					  store->backend->where)
				: 0;
}

int store_free_bytes(struct store *store, uint64_t *ret_bytes, struct err *err)
{
	return store->backend->ops->free_bytes(store->backend, ret_bytes, err);
}

void store_explain_space(struct store *store, int rc, const char *what, uint64_t need_bytes,
			 struct err *err)
{
	uint64_t free_bytes = 0;

	if (rc != -ENOSPC && rc != -EDQUOT)
		return;
	store_free_bytes(store, &free_bytes, NULL);
	err_prefix(err,
		   "no space left on the store %s: %s needs up to %llu bytes, %llu are free",
		   store->backend->where, what, (unsigned long long)need_bytes,
		   (unsigned long long)free_bytes);
}

/* Sealed: salt of the object's key, then the bytes with their tag. */

int store_put_sealed(struct store *store, const char *object, const void *data, size_t len,
		     struct err *err)
{
	CLEANUP_FREE uint8_t *sealed = NULL;
	uint8_t key[CRYPT_KEY_BYTES];
	int rc;

	if (!store->crypt)
		return backend_put(store->backend, object, data, len, err);
	sealed = malloc(CRYPT_SALT_BYTES + len + CRYPT_TAG_BYTES);
	if (!sealed)
		return err_sys(err, ENOMEM, "%s", object);
	if (getrandom(sealed, CRYPT_SALT_BYTES, 0) != CRYPT_SALT_BYTES)
		return err_sys(err, errno, "no random number for a key");
	rc = crypt_object_key(store->crypt, sealed, key, err);
	if (rc == 0)
		rc = crypt_seal(key, 0, data, len, sealed + CRYPT_SALT_BYTES, err);
	if (rc == 0)
		rc = backend_put(store->backend, object, sealed,
				 CRYPT_SALT_BYTES + len + CRYPT_TAG_BYTES, err);
	OPENSSL_cleanse(key, sizeof(key));
	return rc;
}

int store_get_sealed(struct store *store, const char *object, size_t max, char **ret_data,
		     size_t *ret_len, struct err *err)
{
	const size_t extra = CRYPT_SALT_BYTES + CRYPT_TAG_BYTES;
	uint8_t key[CRYPT_KEY_BYTES], *data;
	void *sealed;
	size_t len;
	int rc = backend_get(store->backend, object, max + (store->crypt ? extra : 0), &sealed,
			     &len, err);

	if (rc < 0)
		return rc;
	data = sealed;
	if (store->crypt) {
		rc = len < extra ? err_set(err, EBADMSG, "%s is cut off", object)
				 : crypt_object_key(store->crypt, data, key, err);
		if (rc == 0)
			rc = crypt_open(key, 0, data + CRYPT_SALT_BYTES, len - CRYPT_SALT_BYTES,
					data, err);
		if (rc == 0) {
			len -= extra;
			data[len] = '\0';
		}
		OPENSSL_cleanse(key, sizeof(key));
	}
	if (rc < 0) {
		free(sealed);
		return rc;
	}
	*ret_data = sealed;
	*ret_len = len;
	return 0;
}

void store_suspect(struct store *store, const struct pack *pack)
{
	static const char text[] = "damage was found in this pack\n";
	struct err err = ERR_INIT;
	char object[PACK_OBJECT_MAX];

	if (pack->suspect)
		return;
	index_suspect(store->index, pack->name);
	pack_object("suspect", pack->name, object);
	if (!store->read_only &&
	    backend_put(store->backend, object, text, sizeof(text) - 1, &err) < 0)
		log_warn("store=%s pack %s is damaged, which cannot be noted: %s",
			 store->backend->where, pack->name, err.msg);
}

int store_id_check(const char *id, struct err *err)
{
	if (!name_valid(id, STORE_ID_MAX - 1))
		return err_set(err, EINVAL, "\"%.80s\" is not the id of a checkpoint", id);
	return 0;
}

int store_exists(struct store *store, const char *id, struct err *err)
{
	char object[STORE_OBJECT_MAX];
	int rc = store_id_check(id, err);

	store_object("manifests", id, object);
	if (rc == 0)
		rc = backend_has(store->backend, object, err);
	if (rc == 1) {
		rc = removal_has(store, id, err);
		return rc < 0 ? rc : !rc;
	}
	return rc;
}

static int checkpoint_missing(const struct store *store, const char *id, struct err *err)
{
	return err_set(err, ENOENT, "there is no checkpoint \"%s\" in the store %s", id,
		       store->backend->where);
}

int store_manifest(struct store *store, const char *id, json_t **ret_manifest, struct err *err)
{
	int rc = store_manifest_any(store, id, ret_manifest, err);

	if (rc < 0)
		return rc;
	rc = removal_has(store, id, err);
	if (rc == 1)
		rc = checkpoint_missing(store, id, err);
	if (rc < 0)
		json_decref(*ret_manifest);
	return rc;
}

int store_manifest_any(struct store *store, const char *id, json_t **ret_manifest,
		       struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	char object[STORE_OBJECT_MAX];
	json_t *manifest;
	size_t len;
	int rc = store_id_check(id, err);

	if (rc < 0)
		return rc;
	store_object("manifests", id, object);
	rc = store_get_sealed(store, object, MANIFEST_BYTES_MAX + FORMAT_BYTES_MAX, &text, &len,
			      err);
	if (rc == -ENOENT)
		return checkpoint_missing(store, id, err);
	if (rc == -EFBIG)
		return err_set(err, EBADMSG,
			       "checkpoint %s: the manifest is damaged: it is too large", id);
	if (rc == 0)
		rc = manifest_decode(text, len, &manifest, err);
	if (rc < 0) {
		err_prefix(err, "checkpoint %s", id);
		return rc;
	}
	if (strcmp(json_string_value(json_object_get(manifest, "id")), id)) {
		rc = err_set(err, EBADMSG, "checkpoint %s: its manifest is that of %s", id,
			     json_string_value(json_object_get(manifest, "id")));
		json_decref(manifest);
		return rc;
	}
	*ret_manifest = manifest;
	return 0;
}

int store_newest(struct store *store, const char *cluster, char ret_id[STORE_ID_MAX],
		 struct err *err)
{
	CLEANUP_FREE struct store_entry *entries = NULL;
	size_t count;
	int rc = store_list(store, cluster, &entries, &count, err);

	if (rc < 0)
		return rc;
	for (; count > 0; count--) {
		struct err fault = ERR_INIT;
		json_t *manifest;

		if (entries[count - 1].damaged)
			continue;
		/* One that was damaged or lost unnoticed, or that a newer program wrote, must
		 * not stand in front of those that can be used. */
		rc = store_manifest(store, entries[count - 1].id, &manifest, &fault);
		if (rc == 0) {
			json_decref(manifest);
			memcpy(ret_id, entries[count - 1].id, STORE_ID_MAX);
			return 0;
		}
		log_warn("passed over: %s", fault.msg);
	}
	return err_set(err, ENOENT, "cluster \"%s\" has no good checkpoint in the store %s",
		       cluster, store->backend->where);
}
