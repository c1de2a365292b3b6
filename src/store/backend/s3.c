/* SPDX-License-Identifier: BSD-3-Clause */
/* Objects in S3-compatible object storage, as prefix/kind/name in a bucket. */
#include "store/backend/s3.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/backend/s3_priv.h"

enum { LIST_QUERY_MAX = 8 * S3_TOKEN_MAX };

void s3_query_encode(const char *text, char *ret_text, size_t size)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~";
	size_t used = 0;

	for (; *text && used + 4 <= size; text++) {
		if (strchr(plain, *text))
			ret_text[used++] = *text;
		else
			used += (size_t)snprintf(ret_text + used, 4, "%%%02X",
						 (unsigned char)*text);
	}
	ret_text[used] = '\0';
}

static int s3_head(struct s3 *s3, const char *object, struct s3_response *ret_response,
		   struct err *err)
{
	struct s3_request request = {.doing = "look at", .method = "HEAD", .object = object};

	return s3_send(s3, &request, ret_response, err);
}

/* What the service calls missing is missing; that the bucket is, is another thing. */
static int missing(const struct s3 *s3, const char *name, int rc, struct err *err)
{
	return rc == -ENOENT ? backend_missing(&s3->base, name, err) : rc;
}

static int s3_stat(struct backend *backend, const char *name, struct backend_stat *ret_stat,
		   struct err *err)
{
	struct s3 *s3 = (struct s3 *)backend;
	struct s3_response response;
	int rc = backend_check_object(name, err);

	if (rc < 0)
		return rc;
	rc = s3_head(s3, name, &response, err);
	s3_response_release(&response);
	if (rc < 0)
		return missing(s3, name, rc, err);
	if (response.length < 0 || response.modified_ns == 0)
		return err_set(err, EBADMSG,
			       "the service tells no length or time of object %s in %s", name,
			       backend->where);
	ret_stat->bytes = (uint64_t)response.length;
	ret_stat->modified_ns = response.modified_ns;
	return 0;
}

/* The range begins behind the end, or at it. */
static int read_behind(struct backend *backend, const char *name, uint64_t offset, size_t len,
		       struct err *err)
{
	struct backend_stat stat;
	int rc = s3_stat(backend, name, &stat, err);

	if (rc < 0)
		return rc;
	if (len == 0 && offset <= stat.bytes)
		return 0;
	return backend_short(backend, name, stat.bytes, offset, len, err);
}

static int s3_read(struct backend *backend, const char *name, uint64_t offset, void *buf,
		   size_t len, struct err *err)
{
	struct s3 *s3 = (struct s3 *)backend;
	struct s3_request request = {.doing = "read",
				     .method = "GET",
				     .object = name,
				     .into = buf,
				     .into_len = len,
				     .offset = offset};
	struct s3_response response;
	int rc = backend_check_object(name, err);

	if (rc < 0)
		return rc;
	if (len == 0 || offset > INT64_MAX - len)
		return read_behind(backend, name, offset, len, err);
	rc = s3_send(s3, &request, &response, err);
	s3_response_release(&response);
	if (rc < 0 && response.status == 416)
		return read_behind(backend, name, offset, len, err);
	return missing(s3, name, rc, err);
}

/* A page of a list, and what decodes it. */
struct listing {
	int (*decode)(const char *text, size_t len, struct s3_xml_page *ret_page,
		      struct err *err);
	struct s3_xml_page *page;
};

static int accept_page(struct s3 *s3, const struct s3_request *request,
		       struct s3_response *response, bool *ret_again, struct err *err)
{
	const struct listing *listing = request->arg;
	int rc = listing->decode(response->body ? response->body : "", response->body_len,
				 listing->page, err);

	if (rc < 0) {
		*ret_again = rc == -EBADMSG;
		s3_prefix_error(s3, request, err);
	}
	return rc;
}

/* The object's name in a key; NULL: it is none of ours. */
static const char *key_object(const struct s3 *s3, const char *key)
{
	size_t len = strlen(s3->prefix);

	if (strncmp(key, s3->prefix, len) != 0 || backend_check_object(key + len, NULL) < 0)
		return NULL;
	return key + len;
}

/* The page that begins where `from` (the page before; NULL: there is none) ended. */
static int list_page(struct s3 *s3, const char *kind, const struct s3_xml_page *from,
		     struct s3_xml_page *ret_page, struct err *err)
{
	CLEANUP_FREE char *query = malloc(LIST_QUERY_MAX);
	char prefix[3 * S3_PREFIX_MAX], token[3 * S3_TOKEN_MAX], whole[S3_PREFIX_MAX + 80];
	struct s3_request request = {.doing = "list",
				     .method = "GET",
				     .query = query,
				     .accept = accept_page,
				     .arg = &(struct listing){s3_xml_objects, ret_page}};
	struct s3_response response;
	int rc;

	if (!query)
		return err_sys(err, ENOMEM, "list of %s", kind);
	snprintf(whole, sizeof(whole), "%s%s/", s3->prefix, kind);
	s3_query_encode(whole, prefix, sizeof(prefix));
	s3_query_encode(from ? from->token : "", token, sizeof(token));
	snprintf(query, LIST_QUERY_MAX, "%s%s%slist-type=2&prefix=%s",
		 from ? "continuation-token=" : "", token, from ? "&" : "", prefix);
	rc = s3_send(s3, &request, &response, err);
	s3_response_release(&response);
	return rc;
}

static int list_tell(const struct s3 *s3, const char *kind, const struct s3_xml_page *page,
		     backend_list_fn fn, void *arg, struct err *err)
{
	size_t len = strlen(kind);
	int rc = 0;

	for (size_t i = 0; rc >= 0 && i < page->count; i++) {
		const char *object = key_object(s3, page->items[i].key);
		struct backend_stat stat = {page->items[i].bytes, page->items[i].time_ns};

		if (object && !strncmp(object, kind, len) && object[len] == '/')
			rc = fn(object + len + 1, &stat, arg, err);
	}
	return rc;
}

static int s3_list(struct backend *backend, const char *kind, backend_list_fn fn, void *arg,
		   struct err *err)
{
	struct s3 *s3 = (struct s3 *)backend;
	CLEANUP_FREE struct s3_xml_page *page = malloc(sizeof(*page));
	CLEANUP_FREE struct s3_xml_page *next = malloc(sizeof(*next));
	int rc = backend_check_kind(kind, err);

	if (rc == 0 && (!page || !next))
		rc = err_sys(err, ENOMEM, "list of %s", kind);
	if (rc == 0)
		rc = list_page(s3, kind, NULL, page, err);
	while (rc >= 0) {
		struct s3_xml_page *done = page;

		rc = list_tell(s3, kind, page, fn, arg, err);
		s3_xml_page_free(page);
		if (rc < 0 || !page->truncated)
			break;
		rc = list_page(s3, kind, page, next, err);
		page = next;
		next = done;
	}
	return rc < 0 ? rc : 0;
}

static int s3_remove(struct backend *backend, const char *name, struct err *err)
{
	struct s3 *s3 = (struct s3 *)backend;
	struct s3_request request = {.doing = "remove", .method = "DELETE", .object = name};
	struct s3_response response;
	int rc = backend_check_object(name, err);

	if (rc < 0)
		return rc;
	rc = s3_send(s3, &request, &response, err);
	s3_response_release(&response);
	return rc == -ENOENT ? 0 : rc;
}

static int s3_now(struct backend *backend, int64_t *ret_now_ns, struct err *err)
{
	struct s3 *s3 = (struct s3 *)backend;
	struct s3_response response;
	int rc = s3_head(s3, NULL, &response, err);

	s3_response_release(&response);
	if (rc < 0)
		return rc;
	if (response.date_ns == 0)
		return err_set(err, EBADMSG, "the service of %s tells no date", backend->where);
	*ret_now_ns = response.date_ns;
	return 0;
}

static int s3_free_bytes(struct backend *backend, uint64_t *ret_bytes, struct err *err)
{
	(void)backend;
	(void)err;
	*ret_bytes = UINT64_MAX;
	return 0;
}

/* The next page of unfinished uploads; from->token is empty for the first one. */
static int uploads_page(struct s3 *s3, struct s3_xml_page *page, struct err *err)
{
	CLEANUP_FREE char *query = malloc(LIST_QUERY_MAX);
	char prefix[3 * S3_PREFIX_MAX], key[3 * S3_KEY_MAX], upload[3 * S3_UPLOAD_MAX];
	struct s3_request request = {.doing = "list unfinished uploads of",
				     .method = "GET",
				     .query = query,
				     .accept = accept_page,
				     .arg = &(struct listing){s3_xml_uploads, page}};
	struct s3_response response;
	int rc;

	if (!query)
		return err_sys(err, ENOMEM, "list of uploads");
	s3_query_encode(s3->prefix, prefix, sizeof(prefix));
	s3_query_encode(page->token, key, sizeof(key));
	s3_query_encode(page->upload_token, upload, sizeof(upload));
	snprintf(query, LIST_QUERY_MAX,
		 "%s%s%sprefix=%s%s%s&uploads=", key[0] ? "key-marker=" : "", key,
		 key[0] ? "&" : "", prefix, upload[0] ? "&upload-id-marker=" : "", upload);
	rc = s3_send(s3, &request, &response, err);
	s3_response_release(&response);
	if (rc == -EOPNOTSUPP || response.status == 405) {
		log_info("%s: unfinished uploads cannot be listed there; let a rule of the "
			 "service remove them",
			 s3->base.where);
		*page = (struct s3_xml_page){0};
		return 0;
	}
	return rc;
}

static int uploads_end(struct s3 *s3, const struct s3_xml_page *page, int64_t oldest_ns,
		       struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < page->count; i++) {
		const struct s3_xml_item *item = &page->items[i];
		const char *object = key_object(s3, item->key);

		if (!object || item->time_ns > oldest_ns)
			continue;
		rc = s3_upload_abort(s3, object, item->upload_id, false, err);
		if (rc == 0)
			log_info("ended an upload of %s that a writer left", object);
	}
	return rc;
}

static int s3_tidy(struct backend *backend, int64_t age_ns, struct err *err)
{
	struct s3 *s3 = (struct s3 *)backend;
	CLEANUP_FREE struct s3_xml_page *page = calloc(1, sizeof(*page));
	int64_t now_ns;
	int rc = s3_now(backend, &now_ns, err);

	if (rc < 0)
		return rc;
	if (!page)
		return err_sys(err, ENOMEM, "list of uploads");
	do {
		rc = uploads_page(s3, page, err);
		if (rc < 0)
			return rc;
		rc = uploads_end(s3, page, now_ns - age_ns, err);
		s3_xml_page_free(page);
	} while (rc == 0 && page->truncated);
	return rc;
}

static void s3_close(struct backend *backend)
{
	struct s3 *s3 = (struct s3 *)backend;

	s3_handles_close(s3);
	s3_settings_free(&s3->settings);
	pthread_mutex_destroy(&s3->lock);
	free(s3->base.where);
	free(s3);
}

static const struct backend_ops s3_ops = {
	.kind = "s3",
	.begin = s3_begin,
	.append = s3_append,
	.commit = s3_commit,
	.abort = s3_abort,
	.read = s3_read,
	.stat = s3_stat,
	.list = s3_list,
	.remove = s3_remove,
	.now = s3_now,
	.free_bytes = s3_free_bytes,
	.tidy = s3_tidy,
	.close = s3_close,
};

/* s3://bucket[/prefix]: names that need no encoding anywhere. */
static int location_parse(struct s3 *s3, const char *location, struct err *err)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	const char *at = location + strlen("s3://");
	size_t len = strspn(at, allowed), used = 0;

	if (len < 3 || len >= sizeof(s3->bucket) || at[0] == '.' || (at[len] && at[len] != '/'))
		return err_set(err, EINVAL,
			       "\"%.200s\" names no bucket: it must be s3://bucket/prefix",
			       location);
	memcpy(s3->bucket, at, len);
	for (at += len; *at; at += len) {
		at += strspn(at, "/");
		len = strspn(at, allowed);
		if (len == 0 && !*at)
			break;
		if (len == 0 || at[0] == '.' || (at[len] && at[len] != '/') ||
		    used + len + 1 > S3_PREFIX_MAX)
			return err_set(err, EINVAL,
				       "the prefix of \"%.200s\" must be words of letters, "
				       "digits, \".\", \"_\" and \"-\" with slashes between",
				       location);
		memcpy(s3->prefix + used, at, len);
		used += len;
		s3->prefix[used++] = '/';
	}
	return 0;
}

/* Is the bucket there, and do the credentials open it? */
static int bucket_check(struct s3 *s3, struct err *err)
{
	struct s3_request request = {
		.doing = "open the store", .method = "GET", .query = "list-type=2&max-keys=1"};
	struct s3_response response;
	int rc = s3_send(s3, &request, &response, err);

	s3_response_release(&response);
	return rc;
}

int backend_open_s3(const char *location, struct backend **ret_backend, struct err *err)
{
	struct s3 *s3 = calloc(1, sizeof(*s3));
	int rc;

	if (!s3)
		return err_sys(err, ENOMEM, "store in %s", location);
	pthread_mutex_init(&s3->lock, NULL);
	s3->base.ops = &s3_ops;
	rc = location_parse(s3, location, err);
	if (rc == 0 &&
	    asprintf(&s3->base.where, "s3://%s%s%.*s", s3->bucket, s3->prefix[0] ? "/" : "",
		     (int)strlen(s3->prefix) - 1, s3->prefix) < 0) {
		s3->base.where = NULL;
		rc = err_sys(err, ENOMEM, "store in %s", location);
	}
	if (rc == 0)
		rc = s3_settings_load(&s3->settings, err);
	if (rc == 0)
		rc = bucket_check(s3, err);
	if (rc < 0) {
		s3_close(&s3->base);
		return rc;
	}
	*ret_backend = &s3->base;
	return 0;
}
