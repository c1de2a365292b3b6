/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside of the S3 backend: its structure, requests that are tried again, and its writer. */
#ifndef STASIS_STORE_BACKEND_S3_PRIV_H
#define STASIS_STORE_BACKEND_S3_PRIV_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "store/backend/backend_priv.h"
#include "store/backend/s3.h"
#include "store/backend/s3_xml.h"

enum {
	S3_HANDLES = 32,       /* idle ones that are kept, with their connections */
	S3_BODY_MAX = 8 << 20, /* of an answer that is not an object's bytes */
	S3_URL_MAX = 8192,
	S3_PREFIX_MAX = 512,
	S3_MD5_BYTES = 16,
	S3_MD5_HEX_MAX = 2 * S3_MD5_BYTES + 1,
};

struct s3 {
	struct backend base;
	char bucket[64];
	char prefix[S3_PREFIX_MAX + 2]; /* of keys: empty, or with a slash at its end */

	pthread_mutex_t lock; /* for what follows */
	struct s3_settings settings;
	CURL *handles[S3_HANDLES];
	size_t handle_count;

	/* When the bucket was last known to exist, on the monotonic clock. */
	_Atomic int64_t bucket_seen_ns;
};

struct s3_response;

struct s3_request {
	const char *doing;  /* for sentences: "put", "list" */
	const char *method; /* GET, HEAD, PUT, POST, DELETE */
	const char *object; /* "kind/name"; NULL: the bucket */
	const char *query;  /* in the order and spelling that are signed; NULL: none */
	const void *body;
	size_t body_len;
	const uint8_t *md5; /* of the body: send Content-MD5, compare ETag; NULL: do not */

	/* Of a GET: exactly these bytes of the object go to `into`. NULL: the whole answer goes
	 * to the response's body. */
	void *into;
	size_t into_len;
	uint64_t offset;

	bool once; /* no second try, and little patience */
	/* What else an answer of success must be; sets *ret_again when it is worth a try. */
	int (*accept)(struct s3 *s3, const struct s3_request *request,
		      struct s3_response *response, bool *ret_again, struct err *err);
	void *arg;
};

struct s3_response {
	long status;
	char etag[128]; /* without its quotes; empty: none */
	bool encrypted; /* the ETag is no MD5, though it may look like one */
	bool ranged;    /* there was a Content-Range */
	uint64_t range_first, range_last, range_total;
	int64_t length;  /* Content-Length; -1: none */
	int64_t date_ns; /* Date; 0: none */
	int64_t modified_ns;
	char *body; /* with a NUL behind it */
	size_t body_len;
	size_t into_len; /* bytes that were put into the request's `into` */
	struct s3_xml_error error;
};

/* One request to its end: success, or a failure that trying again did not mend. The response is
 * to be released in either case. */
int s3_send(struct s3 *s3, const struct s3_request *request, struct s3_response *ret_response,
	    struct err *err);
void s3_response_release(struct s3_response *response);

/* One try: what libcurl says of it. -errno only for what is not the network's or the service's
 * fault. */
int s3_try(struct s3 *s3, const struct s3_request *request, int64_t deadline_ns,
	   struct s3_response *response, CURLcode *ret_code, char ret_detail[CURL_ERROR_SIZE],
	   struct err *err);
void s3_handles_close(struct s3 *s3);

/* What a failed try means: -errno with a sentence; whether another try may mend it. */
int s3_judge_transfer(const struct s3 *s3, const struct s3_request *request, CURLcode code,
		      const char *detail, bool *ret_again, struct err *err);
int s3_judge_status(const struct s3 *s3, const struct s3_request *request,
		    const struct s3_response *response, bool *ret_again, struct err *err);
/* Whether other credentials may help. */
bool s3_credentials_refused(const struct s3_response *response);

/* Put "cannot put packs/x in s3://bucket/prefix" in front of a sentence. */
int s3_prefix_error(const struct s3 *s3, const struct s3_request *request, struct err *err);

/* A value of a query in the spelling that is signed: at most three times as long. */
void s3_query_encode(const char *text, char *ret_text, size_t size);

int s3_md5(const void *data, size_t len, uint8_t ret_md5[S3_MD5_BYTES], struct err *err);
/* Whether the ETag is an MD5 in hexadecimal digits; it is decoded. */
bool s3_etag_md5(const struct s3_response *response, uint8_t ret_md5[S3_MD5_BYTES]);

/* s3_write.c */
int s3_begin(struct backend *backend, const char *name, struct backend_writer **ret_writer,
	     struct err *err);
int s3_append(struct backend_writer *writer, const void *data, size_t len, struct err *err);
int s3_commit(struct backend_writer *writer, struct err *err);
void s3_abort(struct backend_writer *writer);
/* End an upload that somebody began; one that is gone is success. */
int s3_upload_abort(struct s3 *s3, const char *object, const char *upload_id, bool once,
		    struct err *err);

#endif
