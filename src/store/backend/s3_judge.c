/* SPDX-License-Identifier: BSD-3-Clause */
/* What a failed try of a request to an S3 service means, and what helps. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/backend/s3_priv.h"

/* S3's error codes that say more than the HTTP status does. */
static const struct judgement {
	const char *code;
	int error;
	bool again;
	const char *remedy; /* NULL: none is known */
} judgements[] = {
	{"ExpiredToken", EACCES, false, "the credentials have expired: renew them"},
	{"TokenRefreshRequired", EACCES, false, "the credentials have expired: renew them"},
	{"InvalidToken", EACCES, false,
	 "the credentials are refused: check AWS_SESSION_TOKEN or aws_session_token"},
	{"InvalidAccessKeyId", EACCES, false,
	 "the credentials are refused: check AWS_ACCESS_KEY_ID or aws_access_key_id"},
	{"SignatureDoesNotMatch", EACCES, false,
	 "the credentials are refused: check AWS_SECRET_ACCESS_KEY or aws_secret_access_key"},
	{"RequestTimeTooSkewed", EACCES, false,
	 "the credentials are refused: set this host's clock"},
	{"RequestExpired", EACCES, false, "the credentials are refused: set this host's clock"},
	{"AccessDenied", EACCES, false,
	 "the credentials are refused: they need s3:GetObject, PutObject, DeleteObject, "
	 "AbortMultipartUpload, ListBucket and ListBucketMultipartUploads"},
	{"NoSuchBucket", EIO, false, "create the bucket"},
	{"PermanentRedirect", EINVAL, false, "set AWS_REGION to the bucket's region"},
	{"AuthorizationHeaderMalformed", EINVAL, false,
	 "set AWS_REGION to the bucket's region"},
	{"QuotaExceeded", EDQUOT, false, "remove checkpoints or raise the quota"},
	{"QuotaExceededException", EDQUOT, false, "remove checkpoints or raise the quota"},
	{"XMinioStorageFull", ENOSPC, false, "remove checkpoints or give the service room"},
	{"EntityTooLarge", EFBIG, false, NULL},
	{"NoSuchKey", ENOENT, false, NULL},
	{"NoSuchUpload", EIO, false, "another host ended the upload: begin again"},
	{"BadDigest", EBADMSG, true, NULL},
	{"XAmzContentSHA256Mismatch", EBADMSG, true, NULL},
	{"IncompleteBody", EBADMSG, true, NULL},
	{"RequestTimeout", ETIMEDOUT, true, NULL},
	{"InternalError", EIO, true, NULL},
	{"ServiceUnavailable", EIO, true, NULL},
	{"SlowDown", EIO, true, NULL},
	{"OperationAborted", EIO, true, NULL},
};

static struct judgement judge(long status, const char *code)
{
	for (size_t i = 0; i < sizeof(judgements) / sizeof(judgements[0]); i++)
		if (!strcmp(judgements[i].code, code))
			return judgements[i];
	switch (status) {
	case 401:
	case 403:
		return (struct judgement){.error = EACCES,
					  .remedy = "the credentials are refused"};
	case 404: return (struct judgement){.error = ENOENT};
	case 408: return (struct judgement){.error = ETIMEDOUT, .again = true};
	case 429:
	case 500:
	case 502:
	case 503:
	case 504: return (struct judgement){.error = EIO, .again = true};
	case 501: return (struct judgement){.error = EOPNOTSUPP};
	case 507:
		return (struct judgement){
			.error = ENOSPC,
			.remedy = "remove checkpoints or give the service room"};
	default:
		if (status / 100 == 3)
			return (struct judgement){
				.error = EINVAL,
				.remedy =
					"set AWS_REGION to the bucket's region, or the endpoint"};
		return (struct judgement){.error = EIO};
	}
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
	struct judgement verdict = judge(response->status, error->code);
	int rc;

	*ret_again = verdict.again;
	rc = err_set(err, verdict.error, "HTTP %ld%s%s%s%s%s%s%s", response->status,
		     error->code[0] ? " " : "", error->code, error->message[0] ? " (" : "",
		     error->message, error->message[0] ? ")" : "", verdict.remedy ? "; " : "",
		     verdict.remedy ? verdict.remedy : "");
	s3_prefix_error(s3, request, err);
	return rc;
}

bool s3_credentials_refused(const struct s3_response *response)
{
	const char *code = response->error.code;

	return response->status / 100 == 4 && judge(response->status, code).error == EACCES &&
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
