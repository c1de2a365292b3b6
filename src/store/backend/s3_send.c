/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests to an S3 service that are tried again until they succeed, fail for good, or the
 * deadline has passed. */
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"
#include "store/backend/s3_priv.h"

enum { BACKOFF_FIRST_MS = 100, BACKOFF_MAX_MS = 5000 };

/* A bucket that was seen so recently is taken to exist still. */
static const int64_t seen_ns = 10 * NS_PER_S;

int s3_md5(const void *data, size_t len, uint8_t ret_md5[S3_MD5_BYTES], struct err *err)
{
	unsigned int bytes = S3_MD5_BYTES;

	if (EVP_Digest(data, len, ret_md5, &bytes, EVP_md5(), NULL) == 1)
		return 0;
	return err_set(err, ENOMEM, "OpenSSL could not compute an MD5");
}

bool s3_etag_md5(const struct s3_response *response, uint8_t ret_md5[S3_MD5_BYTES])
{
	return !response->encrypted && strlen(response->etag) == S3_MD5_HEX_MAX - 1 &&
	       hex_decode(response->etag, ret_md5, S3_MD5_BYTES);
}

void s3_response_release(struct s3_response *response)
{
	free(response->body);
	response->body = NULL;
}

/* Half of the time at least, the rest by chance: hosts that were turned away together do not
 * come again together. */
static void back_off(unsigned int tries, int64_t deadline_ns)
{
	unsigned int doublings = tries < 8 ? tries - 1 : 7;
	int64_t ms = (int64_t)BACKOFF_FIRST_MS << doublings;
	int left_ms = deadline_left_ms(deadline_ns);
	struct timespec pause;
	uint32_t chance = 0;

	if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) < 0)
		chance = (uint32_t)clock_mono_ns();
	if (ms > BACKOFF_MAX_MS)
		ms = BACKOFF_MAX_MS;
	ms = ms / 2 + chance % (uint32_t)(ms / 2);
	if (ms > left_ms)
		ms = left_ms;
	pause = (struct timespec){ms / 1000, ms % 1000 * NS_PER_MS};
	while (nanosleep(&pause, &pause) < 0 && errno == EINTR)
		;
}

/* Exactly the bytes that were asked for, and no others. */
static int accept_range(struct s3 *s3, const struct s3_request *request,
			struct s3_response *response, bool *ret_again, struct err *err)
{
	uint64_t end = request->offset + request->into_len;
	uint8_t want[S3_MD5_BYTES], have[S3_MD5_BYTES];

	if (response->ranged && response->range_total < end)
		return backend_short(&s3->base, request->object, response->range_total,
				     request->offset, request->into_len, err);
	*ret_again = true;
	if (response->ranged &&
	    (response->range_first != request->offset || response->range_last != end - 1))
		return err_set(err, EBADMSG,
			       "the service sent bytes %" PRIu64 " to %" PRIu64
			       ", %zu at offset %" PRIu64 " were asked for",
			       response->range_first, response->range_last, request->into_len,
			       request->offset);
	if (!response->ranged && request->offset > 0)
		return err_set(err, EBADMSG, "the service does not heed Range");
	if (response->into_len != request->into_len)
		return err_set(err, EBADMSG, "the service sent %zu bytes instead of %zu",
			       response->into_len, request->into_len);
	if (request->offset == 0 && response->range_total == end &&
	    s3_etag_md5(response, want) &&
	    s3_md5(request->into, request->into_len, have, NULL) == 0 &&
	    memcmp(want, have, sizeof(want)) != 0)
		return err_set(err, EBADMSG, "the bytes do not have the MD5 of the ETag %s",
			       response->etag);
	return 0;
}

/* The service has what was sent, if its ETag tells. */
static int accept_etag(const struct s3_request *request, const struct s3_response *response,
		       bool *ret_again, struct err *err)
{
	uint8_t have[S3_MD5_BYTES];

	if (!s3_etag_md5(response, have) || !memcmp(have, request->md5, S3_MD5_BYTES))
		return 0;
	*ret_again = true;
	return err_set(err, EBADMSG,
		       "the service received something else than was sent (ETag %s)",
		       response->etag);
}

/* An answer of success, at the level of HTTP. */
static int accept_response(struct s3 *s3, const struct s3_request *request,
			   struct s3_response *response, bool *ret_again, struct err *err)
{
	int rc = 0;

	if (request->into)
		rc = accept_range(s3, request, response, ret_again, err);
	else if (request->md5)
		rc = accept_etag(request, response, ret_again, err);
	if (rc == 0 && request->accept)
		return request->accept(s3, request, response, ret_again, err);
	if (rc < 0 && *ret_again)
		s3_prefix_error(s3, request, err);
	return rc;
}

/* A HEAD's answer has no body that tells why: the same question as a GET has. A missing object
 * needs none when the bucket is known to exist. Whether the GET contradicts the HEAD. */
static bool explain(struct s3 *s3, const struct s3_request *request, int64_t deadline_ns,
		    struct s3_response *response)
{
	struct s3_request again = *request;
	struct s3_response told = {0};
	char detail[CURL_ERROR_SIZE], byte;
	CURLcode code;
	bool other;

	if (strcmp(request->method, "HEAD") != 0 || response->status / 100 != 4 ||
	    (response->status == 404 &&
	     clock_mono_ns() - atomic_load(&s3->bucket_seen_ns) < seen_ns))
		return false;
	again.method = "GET";
	again.into = &byte;
	again.into_len = 1;
	again.query = request->object ? NULL : "list-type=2&max-keys=1";
	if (s3_try(s3, &again, deadline_ns, &told, &code, detail, NULL) == 0 && told.body)
		s3_xml_error(told.body, told.body_len, &response->error);
	other = told.status / 100 == 2;
	s3_response_release(&told);
	return other;
}

static int send_once(struct s3 *s3, const struct s3_request *request, int64_t deadline_ns,
		     struct s3_response *response, bool *ret_again, struct err *err)
{
	char detail[CURL_ERROR_SIZE];
	CURLcode code;
	bool other;
	int rc = s3_try(s3, request, deadline_ns, response, &code, detail, err);

	*ret_again = false;
	if (rc < 0)
		return rc;
	if (code != CURLE_OK)
		return s3_judge_transfer(s3, request, code, detail, ret_again, err);
	if (response->status / 100 == 2) {
		rc = accept_response(s3, request, response, ret_again, err);
		if (rc == 0)
			atomic_store(&s3->bucket_seen_ns, clock_mono_ns());
		return rc;
	}
	if (response->body)
		s3_xml_error(response->body, response->body_len, &response->error);
	other = explain(s3, request, deadline_ns, response);
	rc = s3_judge_status(s3, request, response, ret_again, err);
	*ret_again |= other;
	return rc;
}

/* Read the settings anew; whether there are other credentials now. */
static bool credentials_renewed(struct s3 *s3)
{
	struct s3_settings fresh, *settings = &s3->settings;
	bool renewed;

	if (s3_settings_load(&fresh, NULL) < 0)
		return false;
	pthread_mutex_lock(&s3->lock);
	renewed = strcmp(fresh.access_key, settings->access_key) != 0 ||
		  strcmp(fresh.secret_key, settings->secret_key) != 0 ||
		  strcmp(fresh.session_token ? fresh.session_token : "",
			 settings->session_token ? settings->session_token : "") != 0;
	if (renewed) {
		struct s3_settings old = *settings;

		*settings = fresh;
		fresh = old;
	}
	pthread_mutex_unlock(&s3->lock);
	s3_settings_free(&fresh);
	return renewed;
}

static int64_t deadline_of(struct s3 *s3)
{
	int64_t ms;

	pthread_mutex_lock(&s3->lock);
	ms = s3->settings.deadline_ms;
	pthread_mutex_unlock(&s3->lock);
	return deadline_in_ms(ms);
}

int s3_send(struct s3 *s3, const struct s3_request *request, struct s3_response *ret_response,
	    struct err *err)
{
	int64_t deadline_ns = deadline_of(s3);
	struct err fault = ERR_INIT;
	bool again, renewed = false;
	int rc;

	for (unsigned int tries = 1;; tries++) {
		*ret_response = (struct s3_response){0};
		rc = send_once(s3, request, deadline_ns, ret_response, &again, &fault);
		if (rc == 0)
			return 0;
		if (!again && !renewed && s3_credentials_refused(ret_response)) {
			renewed = credentials_renewed(s3);
			again = renewed;
		}
		if (!again || request->once || deadline_left_ms(deadline_ns) == 0) {
			err_set(err, -rc, again && tries > 1 ? "%s (tried %u times)" : "%s",
				fault.msg, tries);
			return rc;
		}
		log_debug("%s; trying again", fault.msg);
		s3_response_release(ret_response);
		back_off(tries, deadline_ns);
	}
}
