/* SPDX-License-Identifier: BSD-3-Clause */
/* One try of one request to an S3 service, by libcurl. */
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "store/backend/s3_priv.h"

enum {
	STALL_MIN_MS = 1000,
	STALL_MAX_MS = 20000,
	CONNECT_MAX_MS = 10000,
	ONCE_MS = 5000,
	EXPECT_MS = 200
};

/* What libcurl's callbacks see. */
struct transfer {
	CURL *handle;
	const struct s3_request *request;
	struct s3_response *response;
	int64_t stall_ns; /* how long nothing may move */
	int64_t moved_ns; /* when something last did */
	curl_off_t moved; /* bytes until then */
};

/* What one try takes out of the settings, which may be read anew meanwhile. */
struct access {
	char url[S3_URL_MAX];
	char user[512], token[4096 + 32], sigv4[128], ca_bundle[4096];
	int64_t deadline_ms;
};

static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static CURLcode global_code;

static void global_init(void)
{
	global_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static CURL *handle_take(struct s3 *s3)
{
	CURL *handle = NULL;

	pthread_once(&global_once, global_init);
	if (global_code != CURLE_OK)
		return NULL;
	pthread_mutex_lock(&s3->lock);
	if (s3->handle_count > 0)
		handle = s3->handles[--s3->handle_count];
	pthread_mutex_unlock(&s3->lock);
	return handle ? handle : curl_easy_init();
}

/* Keep the handle, and with it its connection. */
static void handle_give(struct s3 *s3, CURL *handle)
{
	curl_easy_reset(handle);
	pthread_mutex_lock(&s3->lock);
	if (s3->handle_count < S3_HANDLES) {
		s3->handles[s3->handle_count++] = handle;
		handle = NULL;
	}
	pthread_mutex_unlock(&s3->lock);
	if (handle)
		curl_easy_cleanup(handle);
}

void s3_handles_close(struct s3 *s3)
{
	while (s3->handle_count > 0)
		curl_easy_cleanup(s3->handles[--s3->handle_count]);
}

static size_t body_append(struct s3_response *response, const char *data, size_t len)
{
	char *more;

	if (len > S3_BODY_MAX - response->body_len)
		return 0;
	more = realloc(response->body, response->body_len + len + 1);
	if (!more)
		return 0;
	memcpy(more + response->body_len, data, len);
	response->body = more;
	response->body_len += len;
	more[response->body_len] = '\0';
	return len;
}

/* A result other than the length ends the transfer: there are more bytes than were asked for.
 */
static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	struct transfer *transfer = arg;
	const struct s3_request *request = transfer->request;
	struct s3_response *response = transfer->response;
	size_t len = size * count;
	long status = 0;

	curl_easy_getinfo(transfer->handle, CURLINFO_RESPONSE_CODE, &status);
	if (!request->into || status / 100 != 2)
		return body_append(response, data, len);
	if (len > request->into_len - response->into_len)
		return 0;
	memcpy((char *)request->into + response->into_len, data, len);
	response->into_len += len;
	return len;
}

/* The value of a header of this name; NULL: it is another one. */
static const char *header_value(char *line, const char *name)
{
	size_t len = strlen(name);

	if (strncasecmp(line, name, len) != 0 || line[len] != ':')
		return NULL;
	line[strcspn(line, "\r\n")] = '\0';
	return line + len + 1 + strspn(line + len + 1, " \t");
}

static int64_t http_date_ns(const char *text)
{
	time_t seconds = curl_getdate(text, NULL);

	return seconds < 0 ? 0 : (int64_t)seconds * NS_PER_S;
}

static void header_read(char *line, struct s3_response *response)
{
	const char *value;

	if ((value = header_value(line, "ETag"))) {
		snprintf(response->etag, sizeof(response->etag), "%.100s",
			 value + (*value == '"'));
		response->etag[strcspn(response->etag, "\"")] = '\0';
	} else if ((value = header_value(line, "Content-Range"))) {
		response->ranged = sscanf(value, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64,
					  &response->range_first, &response->range_last,
					  &response->range_total) == 3;
		if (!response->ranged)
			sscanf(value, "bytes */%" SCNu64, &response->range_total);
	} else if ((value = header_value(line, "Content-Length"))) {
		response->length = strtoll(value, NULL, 10);
	} else if ((value = header_value(line, "Date"))) {
		response->date_ns = http_date_ns(value);
	} else if ((value = header_value(line, "Last-Modified"))) {
		response->modified_ns = http_date_ns(value);
	} else if ((value = header_value(line, "x-amz-server-side-encryption"))) {
		response->encrypted = strcmp(value, "AES256") != 0;
	} else if (header_value(line, "x-amz-server-side-encryption-customer-algorithm")) {
		response->encrypted = true;
	}
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
	struct transfer *transfer = arg;
	char line[1024];

	/* A new status line: what belonged to a "100 Continue" is not the answer's. */
	if (size * count > 5 && !strncmp(data, "HTTP/", 5))
		transfer->response->length = -1;
	if (size * count < sizeof(line)) {
		memcpy(line, data, size * count);
		line[size * count] = '\0';
		header_read(line, transfer->response);
	}
	return size * count;
}

/* printf to a field of access; whether it fits. */
__attribute__((format(printf, 3, 4))) static bool fill(char *ret_text, size_t size,
						       const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(ret_text, size, fmt, ap);
	va_end(ap);
	return len >= 0 && (size_t)len < size;
}

static int access_fill(struct s3 *s3, const struct s3_request *request,
		       struct access *ret_access, struct err *err)
{
	const struct s3_settings *settings = &s3->settings;
	struct access *access = ret_access;
	bool fits;

	pthread_mutex_lock(&s3->lock);
	fits = fill(access->url, sizeof(access->url), "%s/%s%s%s%s%s%s", settings->endpoint,
		    s3->bucket, request->object ? "/" : "", request->object ? s3->prefix : "",
		    request->object ? request->object : "", request->query ? "?" : "",
		    request->query ? request->query : "") &&
	       fill(access->user, sizeof(access->user), "%s:%s", settings->access_key,
		    settings->secret_key) &&
	       fill(access->token, sizeof(access->token), "x-amz-security-token: %s",
		    settings->session_token ? settings->session_token : "") &&
	       fill(access->sigv4, sizeof(access->sigv4), "aws:amz:%s:s3", settings->region) &&
	       fill(access->ca_bundle, sizeof(access->ca_bundle), "%s",
		    settings->ca_bundle ? settings->ca_bundle : "");
	if (!settings->session_token)
		access->token[0] = '\0';
	access->deadline_ms = settings->deadline_ms;
	pthread_mutex_unlock(&s3->lock);
	return fits ? 0
		    : err_set(err, ENAMETOOLONG, "a setting of %s is too long", s3->base.where);
}

/* One header more; -ENOMEM leaves the list as it was. */
static int header_add(struct curl_slist **list, const char *line)
{
	struct curl_slist *more = curl_slist_append(*list, line);

	if (!more)
		return -ENOMEM;
	*list = more;
	return 0;
}

/* The body's SHA-256 is signed with the rest, so the service sees whether it was damaged. */
static int header_add_sha256(struct curl_slist **list, const struct s3_request *request)
{
	char line[128] = "x-amz-content-sha256: ";
	unsigned int bytes = EVP_MAX_MD_SIZE;
	uint8_t hash[EVP_MAX_MD_SIZE];

	if (EVP_Digest(request->body ? request->body : "", request->body_len, hash, &bytes,
		       EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	hex_encode(hash, 32, line + strlen(line));
	return header_add(list, line);
}

static int header_add_md5(struct curl_slist **list, const struct s3_request *request)
{
	char line[64] = "Content-MD5: ";

	EVP_EncodeBlock((unsigned char *)line + strlen(line), request->md5, S3_MD5_BYTES);
	return header_add(list, line);
}

static int headers_make(const struct s3_request *request, const struct access *access,
			struct curl_slist **ret_list, struct err *err)
{
	struct curl_slist *list = NULL;
	int rc = header_add_sha256(&list, request);

	if (rc == 0 && access->token[0])
		rc = header_add(&list, access->token);
	if (rc == 0 && request->body_len > 0)
		rc = header_add(&list, "Content-Type: application/octet-stream");
	if (rc == 0 && request->md5)
		rc = header_add_md5(&list, request);
	if (rc < 0) {
		curl_slist_free_all(list);
		return err_sys(err, ENOMEM, "a request to S3");
	}
	*ret_list = list;
	return 0;
}

static void options_method(CURL *handle, const struct s3_request *request)
{
	if (!strcmp(request->method, "HEAD")) {
		curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
	} else if (!strcmp(request->method, "PUT") || !strcmp(request->method, "POST")) {
		curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)request->body_len);
		curl_easy_setopt(handle, CURLOPT_POSTFIELDS,
				 request->body_len ? request->body : "");
		curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request->method);
	} else if (strcmp(request->method, "GET") != 0) {
		curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request->method);
	}
}

/* libcurl's own limit of speed is an average that notices a standstill late. */
static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
		       curl_off_t up)
{
	struct transfer *transfer = arg;
	int64_t now_ns = clock_mono_ns();

	(void)down_total;
	(void)up_total;
	if (down + up != transfer->moved) {
		transfer->moved = down + up;
		transfer->moved_ns = now_ns;
	}
	return now_ns - transfer->moved_ns > transfer->stall_ns;
}

static void options_time(struct transfer *transfer, const struct access *access,
			 int64_t deadline_ns)
{
	CURL *handle = transfer->handle;
	int64_t stall_ms = access->deadline_ms / 3;
	long connect_ms = deadline_left_ms(deadline_ns);

	if (stall_ms < STALL_MIN_MS)
		stall_ms = STALL_MIN_MS;
	if (stall_ms > STALL_MAX_MS)
		stall_ms = STALL_MAX_MS;
	if (connect_ms < STALL_MIN_MS)
		connect_ms = STALL_MIN_MS;
	if (connect_ms > CONNECT_MAX_MS)
		connect_ms = CONNECT_MAX_MS;
	transfer->stall_ns = stall_ms * NS_PER_MS;
	transfer->moved_ns = clock_mono_ns();
	curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
	/* So long a service that does not answer "Expect: 100-continue" holds up a part. */
	curl_easy_setopt(handle, CURLOPT_EXPECT_100_TIMEOUT_MS, (long)EXPECT_MS);
	curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(handle, CURLOPT_XFERINFODATA, transfer);
	if (transfer->request->once)
		curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)ONCE_MS);
}

static void options_set(struct transfer *transfer, const struct access *access,
			const struct curl_slist *headers, char detail[CURL_ERROR_SIZE])
{
	const struct s3_request *request = transfer->request;
	CURL *handle = transfer->handle;
	char range[64];

	curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, detail);
	curl_easy_setopt(handle, CURLOPT_URL, access->url);
	curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(handle, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(handle, CURLOPT_USERAGENT, "stasis/" STASIS_VERSION);
	curl_easy_setopt(handle, CURLOPT_USERPWD, access->user);
	curl_easy_setopt(handle, CURLOPT_AWS_SIGV4, access->sigv4);
	curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, 256L << 10);
	curl_easy_setopt(handle, CURLOPT_UPLOAD_BUFFERSIZE, 1L << 20);
	curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(handle, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(handle, CURLOPT_HEADERDATA, transfer);
	if (access->ca_bundle[0])
		curl_easy_setopt(handle, CURLOPT_CAINFO, access->ca_bundle);
	if (request->into) {
		snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, request->offset,
			 request->offset + request->into_len - 1);
		curl_easy_setopt(handle, CURLOPT_RANGE, range);
	}
	options_method(handle, request);
}

int s3_try(struct s3 *s3, const struct s3_request *request, int64_t deadline_ns,
	   struct s3_response *response, CURLcode *ret_code, char ret_detail[CURL_ERROR_SIZE],
	   struct err *err)
{
	struct transfer transfer = {.request = request, .response = response};
	struct curl_slist *headers = NULL;
	struct access access;
	int rc = access_fill(s3, request, &access, err);

	if (rc < 0)
		return rc;
	rc = headers_make(request, &access, &headers, err);
	if (rc < 0)
		return rc;
	transfer.handle = handle_take(s3);
	if (!transfer.handle) {
		curl_slist_free_all(headers);
		return err_sys(err, ENOMEM, "libcurl");
	}
	ret_detail[0] = '\0';
	response->length = -1;
	options_set(&transfer, &access, headers, ret_detail);
	options_time(&transfer, &access, deadline_ns);
	*ret_code = curl_easy_perform(transfer.handle);
	curl_easy_getinfo(transfer.handle, CURLINFO_RESPONSE_CODE, &response->status);
	handle_give(s3, transfer.handle);
	curl_slist_free_all(headers);
	return 0;
}
