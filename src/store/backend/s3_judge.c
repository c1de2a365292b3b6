/* SPDX-License-Identifier: BSD-3-Clause */
/* What a failed try of a request to an S3 service means, and what helps. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/backend/s3_priv.h"

#define RENEW   "the credentials have expired: renew them"
#define REFUSED "the credentials are refused"
#define REGION  "set AWS_REGION to the bucket's region, or the endpoint"
#define QUOTA   "remove checkpoints or raise the quota"
#define ROOM    "remove checkpoints or give the service room"
#define PERMIT                                                        \
	REFUSED ": they need s3:GetObject, PutObject, DeleteObject, " \
		"AbortMultipartUpload, ListBucket and ListBucketMultipartUploads"

struct judgement {
	const char *code; /* S3's; NULL: what an HTTP status means without one */
	long status;
	int error;
	bool again;
	const char *remedy; /* NULL: none is known */
};

static const struct judgement judgements[] = {
	{"ExpiredToken", 0, EACCES, false, RENEW},
	{"TokenRefreshRequired", 0, EACCES, false, RENEW},
	{"InvalidToken", 0, EACCES, false,
	 REFUSED ": check AWS_SESSION_TOKEN or aws_session_token"},
	{"InvalidAccessKeyId", 0, EACCES, false,
	 REFUSED ": check AWS_ACCESS_KEY_ID or aws_access_key_id"},
	{"SignatureDoesNotMatch", 0, EACCES, false,
	 REFUSED ": check AWS_SECRET_ACCESS_KEY or aws_secret_access_key"},
	{"RequestTimeTooSkewed", 0, EACCES, false, REFUSED ": set this host's clock"},
	{"RequestExpired", 0, EACCES, false, REFUSED ": set this host's clock"},
	{"AccessDenied", 0, EACCES, false, PERMIT},
	{"NoSuchBucket", 0, EIO, false, "create the bucket"},
	{"PermanentRedirect", 0, EINVAL, false, REGION},
	{"AuthorizationHeaderMalformed", 0, EINVAL, false, REGION},
	{"QuotaExceeded", 0, EDQUOT, false, QUOTA},
	{"QuotaExceededException", 0, EDQUOT, false, QUOTA},
	{"XMinioStorageFull", 0, ENOSPC, false, ROOM},
	{"EntityTooLarge", 0, EFBIG, false, NULL},
	{"NoSuchKey", 0, ENOENT, false, NULL},
	{"NoSuchUpload", 0, EIO, false, "another host ended the upload: begin again"},
	{"BadDigest", 0, EBADMSG, true, NULL},
	{"XAmzContentSHA256Mismatch", 0, EBADMSG, true, NULL},
	{"IncompleteBody", 0, EBADMSG, true, NULL},
	{"RequestTimeout", 0, ETIMEDOUT, true, NULL},
	{"InternalError", 0, EIO, true, NULL},
	{"ServiceUnavailable", 0, EIO, true, NULL},
	{"SlowDown", 0, EIO, true, NULL},
	{"OperationAborted", 0, EIO, true, NULL},
	{NULL, 401, EACCES, false, REFUSED},
	{NULL, 403, EACCES, false, REFUSED},
	{NULL, 404, ENOENT, false, NULL},
	{NULL, 408, ETIMEDOUT, true, NULL},
	{NULL, 429, EIO, true, NULL},
	{NULL, 500, EIO, true, NULL},
	{NULL, 501, EOPNOTSUPP, false, NULL},
	{NULL, 502, EIO, true, NULL},
	{NULL, 503, EIO, true, NULL},
	{NULL, 504, EIO, true, NULL},
	{NULL, 507, ENOSPC, false, ROOM},
};

static const struct judgement elsewhere = {NULL, 0, EINVAL, false, REGION};
static const struct judgement unknown = {NULL, 0, EIO, false, NULL};

/* The code says more than the status does. */
static const struct judgement *judge(long status, const char *code)
{
	const size_t count = sizeof(judgements) / sizeof(judgements[0]);

	for (size_t i = 0; i < count; i++)
		if (judgements[i].code && !strcmp(judgements[i].code, code))
			return &judgements[i];
	for (size_t i = 0; i < count; i++)
		if (judgements[i].status == status)
			return &judgements[i];
	return status / 100 == 3 ? &elsewhere : &unknown;
}

int s3_prefix_error(const struct s3 *s3, const struct s3_request *request, struct err *err)
{
	return err_prefix(err, "cannot %s %s%s%s", request->doing,
			  request->object ? request->object : "", request->object ? " in " : "",
			  s3->base.where);
}

int s3_judge_status(const struct s3 *s3, const struct s3_request *request,
		    const struct s3_response *response, bool *ret_again, struct err *err)
{
	const struct s3_xml_error *error = &response->error;
	const struct judgement *verdict = judge(response->status, error->code);
	/* Only an object that is asked for can be missing. */
	bool asked = request->object && (request->into || !strcmp(request->method, "HEAD") ||
					 !strcmp(request->method, "DELETE"));
	int rc = verdict->error == ENOENT && !asked ? EIO : verdict->error;

	*ret_again = verdict->again;
	rc = err_set(err, rc, "HTTP %ld%s%s%s%s%s%s%s", response->status,
		     error->code[0] ? " " : "", error->code, error->message[0] ? " (" : "",
		     error->message, error->message[0] ? ")" : "", verdict->remedy ? "; " : "",
		     verdict->remedy ? verdict->remedy : "");
	s3_prefix_error(s3, request, err);
	return rc;
}

bool s3_credentials_refused(const struct s3_response *response)
{
	const char *code = response->error.code;

	return response->status / 100 == 4 && judge(response->status, code)->error == EACCES &&
	       strcmp(code, "AccessDenied") != 0 && strcmp(code, "RequestTimeTooSkewed") != 0;
}

int s3_judge_transfer(const struct s3 *s3, const struct s3_request *request, CURLcode code,
		      const char *detail, bool *ret_again, struct err *err)
{
	const char *remedy = "";
	int error = EIO;

	*ret_again = true;
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT: error = ETIMEDOUT; break;
	case CURLE_ABORTED_BY_CALLBACK:
		error = ETIMEDOUT;
		detail = "the service stands still";
		break;
	case CURLE_PARTIAL_FILE: error = EBADMSG; break;
	case CURLE_WRITE_ERROR:
		error = EBADMSG;
		detail = "the service sends more than it should";
		break;
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST: remedy = "; is the endpoint right and up?"; break;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		*ret_again = false;
		remedy = "; is AWS_CA_BUNDLE right?";
		break;
	case CURLE_OUT_OF_MEMORY:
		*ret_again = false;
		error = ENOMEM;
		break;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_BAD_FUNCTION_ARGUMENT:
		*ret_again = false;
		error = EINVAL;
		break;
	default: break;
	}
	error = err_set(err, error, "%s%s", detail[0] ? detail : curl_easy_strerror(code),
			remedy);
	s3_prefix_error(s3, request, err);
	return error;
}
