/* SPDX-License-Identifier: BSD-3-Clause */
/* Settings of a store in S3-compatible object storage, at s3://bucket/prefix. */
#ifndef STASIS_STORE_BACKEND_S3_H
#define STASIS_STORE_BACKEND_S3_H

#include <stdint.h>

#include "base/err.h"

/*
 * Where each setting is looked for, in this order; the files are those of other S3 programs.
 * The profile is AWS_PROFILE, else "default".
 *
 *   access key      AWS_ACCESS_KEY_ID; aws_access_key_id of the profile
 *   secret key      AWS_SECRET_ACCESS_KEY; aws_secret_access_key
 *   session token   AWS_SESSION_TOKEN; aws_session_token (only temporary keys have one)
 *   region          AWS_REGION; AWS_DEFAULT_REGION; region; us-east-1
 *   endpoint        AWS_ENDPOINT_URL_S3; AWS_ENDPOINT_URL; endpoint_url;
 *                   https://s3.<region>.amazonaws.com
 *   certificates    AWS_CA_BUNDLE; ca_bundle; the system's
 *
 * Files: AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials, with a section [profile]; and
 * AWS_CONFIG_FILE, else ~/.aws/config, with a section [profile NAME] ([default] for that one).
 * Keys out of the environment go together: a file's token is not used with them. Files are read
 * again when the service refuses the keys, so that renewed ones are found.
 *
 * Buckets are addressed by path (http://host/bucket/object). The bucket must exist. Needed
 * permissions: s3:GetObject, PutObject, DeleteObject, AbortMultipartUpload, and on the bucket
 * ListBucket and ListBucketMultipartUploads.
 *
 * What fails for a reason that may pass is tried again for STASIS_S3_DEADLINE_S seconds
 * (default 60), each request by itself; a part of 8 MiB is one request. A transfer that makes
 * progress is not cut off by the deadline, one that stands still for a third of it (at most
 * 20 s) is.
 */
struct s3_settings {
	char *access_key, *secret_key, *session_token; /* token: NULL if there is none */
	char *region, *endpoint, *ca_bundle;           /* bundle: NULL for the system's */
	int64_t deadline_ms;
};

/* -EACCES: there are no keys; the sentence says where they were looked for. */
int s3_settings_load(struct s3_settings *ret_settings, struct err *err);
void s3_settings_free(struct s3_settings *settings);

#endif
