/* SPDX-License-Identifier: BSD-3-Clause */
/* Backends in common: opening by location, names, whole small objects. */
#include "store/backend/backend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/backend/backend_priv.h"

/* How often a whole object is read anew because another host replaces it meanwhile. */
enum { GET_TRIES = 8 };

int backend_check_kind(const char *kind, struct err *err)
{
	if (name_valid(kind, BACKEND_KIND_LEN_MAX))
		return 0;
	return err_set(err, EINVAL,
		       "\"%.80s\" is not a kind of objects: 1 to %d letters, digits, \".\", "
		       "\"_\" and \"-\", no dot in front",
		       kind, BACKEND_KIND_LEN_MAX);
}

int backend_check_object(const char *name, struct err *err)
{
	const char *slash = strchr(name, '/');
	char kind[BACKEND_KIND_LEN_MAX + 1];
	size_t len = slash ? (size_t)(slash - name) : 0;

	if (len > 0 && len < sizeof(kind)) {
		memcpy(kind, name, len);
		kind[len] = '\0';
		if (name_valid(kind, BACKEND_KIND_LEN_MAX) &&
		    name_valid(slash + 1, BACKEND_NAME_LEN_MAX))
			return 0;
	}
	return err_set(err, EINVAL,
		       "\"%.200s\" is not an object's name: kind/name, each of letters, "
		       "digits, \".\", \"_\" and \"-\", no dot in front",
		       name);
}

int backend_missing(const struct backend *backend, const char *name, struct err *err)
{
	return err_set(err, ENOENT, "there is no object %s in %s", name, backend->where);
}

int backend_short(const struct backend *backend, const char *name, uint64_t bytes,
		  uint64_t offset, size_t len, struct err *err)
{
	return err_set(err, EBADMSG,
		       "object %s in %s is damaged: it ends after %" PRIu64
		       " bytes, %zu bytes at offset %" PRIu64 " were expected",
		       name, backend->where, bytes, len, offset);
}

int backend_open(const char *location, struct backend **ret_backend, struct err *err)
{
	const char *scheme_end = strstr(location, "://");

	if (!*location)
		return err_set(err, EINVAL, "the store's location is empty");
	if (!strncmp(location, "s3://", 5))
		return backend_open_s3(location, ret_backend, err);
	if (scheme_end && strcspn(location, "/") == (size_t)(scheme_end - location) + 1)
		return err_set(err, EINVAL,
			       "\"%.200s\" is no place for a store: give a directory or "
			       "s3://bucket/prefix",
			       location);
	return backend_open_directory(location, ret_backend, err);
}

void backend_close(struct backend *backend)
{
	if (backend)
		backend->ops->close(backend);
}

int backend_put(struct backend *backend, const char *name, const void *data, size_t len,
		struct err *err)
{
	struct backend_writer *writer;
	int rc = backend->ops->begin(backend, name, &writer, err);

	if (rc < 0)
		return rc;
	rc = backend->ops->append(writer, data, len, err);
	if (rc < 0) {
		backend->ops->abort(writer);
		return rc;
	}
	return backend->ops->commit(writer, err);
}

/* One try: -EAGAIN when another object of the name took its place while it was read. */
static int get_try(struct backend *backend, const char *name, size_t max, void **ret_data,
		   size_t *ret_len, struct err *err)
{
	struct backend_stat before, after;
	CLEANUP_FREE char *data = NULL;
	int rc = backend->ops->stat(backend, name, &before, err), rc_after;

	if (rc < 0)
		return rc;
	if (before.bytes > max)
		return err_set(err, EFBIG,
			       "object %s in %s has %" PRIu64
			       " bytes, at most %zu were expected",
			       name, backend->where, before.bytes, max);
	data = malloc((size_t)before.bytes + 1);
	if (!data)
		return err_sys(err, ENOMEM, "cannot read object %s", name);
	rc = backend->ops->read(backend, name, 0, data, (size_t)before.bytes, err);
	if (rc < 0 && rc != -EBADMSG)
		return rc;
	rc_after = backend->ops->stat(backend, name, &after, rc < 0 ? NULL : err);
	if (rc_after == 0 &&
	    (after.bytes != before.bytes || after.modified_ns != before.modified_ns))
		return err_set(err, EAGAIN,
			       "object %s in %s is replaced again and again while it is read",
			       name, backend->where);
	if (rc < 0)
		return rc;
	if (rc_after < 0)
		return rc_after;
	data[before.bytes] = '\0';
	*ret_data = TAKE_PTR(data);
	if (ret_len)
		*ret_len = (size_t)before.bytes;
	return 0;
}

int backend_get(struct backend *backend, const char *name, size_t max, void **ret_data,
		size_t *ret_len, struct err *err)
{
	int rc = -EAGAIN;

	for (int i = 0; i < GET_TRIES && rc == -EAGAIN; i++)
		rc = get_try(backend, name, max, ret_data, ret_len, err);
	return rc;
}

int backend_has(struct backend *backend, const char *name, struct err *err)
{
	struct backend_stat stat;
	int rc = backend->ops->stat(backend, name, &stat, err);

	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? rc : 1;
}
