/* SPDX-License-Identifier: BSD-3-Clause */
/* The writer of the S3 backend: one PUT for a small object, an upload in parts for a larger
 * one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/log.h"
#include "store/backend/s3_priv.h"

enum {
	PART_BYTES = 8 << 20,
	PARTS_MAX = 10000, /* S3's own limit */
	QUERY_MAX = 3 * S3_UPLOAD_MAX + 64,
	PART_XML_MAX = 256,
};

struct part {
	uint8_t md5[S3_MD5_BYTES];
	char etag[128];
};

struct backend_writer {
	struct s3 *s3;
	char object[BACKEND_OBJECT_MAX];
	char *buffer; /* PART_BYTES; what is not sent yet */
	size_t len;
	uint64_t sent;
	char upload_id[S3_UPLOAD_MAX]; /* empty: no upload is begun */
	int64_t begun_ns;              /* the upload, by the service's clock */
	struct part *parts;
	size_t part_count;
};

static void query_upload(char ret_query[QUERY_MAX], unsigned int part, const char *upload_id)
{
	int used = part ? snprintf(ret_query, QUERY_MAX, "partNumber=%u&", part) : 0;

	used += snprintf(ret_query + used, QUERY_MAX - (size_t)used, "uploadId=");
	s3_query_encode(upload_id, ret_query + used, QUERY_MAX - (size_t)used);
}

int s3_begin(struct backend *backend, const char *name, struct backend_writer **ret_writer,
	     struct err *err)
{
	CLEANUP_FREE struct backend_writer *writer = NULL;
	int rc = backend_check_object(name, err);

	if (rc < 0)
		return rc;
	writer = calloc(1, sizeof(*writer));
	if (writer)
		writer->buffer = malloc(PART_BYTES);
	if (!writer || !writer->buffer)
		return err_sys(err, ENOMEM, "object %s", name);
	writer->s3 = (struct s3 *)backend;
	snprintf(writer->object, sizeof(writer->object), "%s", name);
	*ret_writer = TAKE_PTR(writer);
	return 0;
}

static void writer_free(struct backend_writer *writer)
{
	free(writer->parts);
	free(writer->buffer);
	free(writer);
}

static int accept_begun(struct s3 *s3, const struct s3_request *request,
			struct s3_response *response, bool *ret_again, struct err *err)
{
	struct backend_writer *writer = request->arg;
	int rc;

	writer->begun_ns = response->date_ns;
	rc = s3_xml_field(response->body ? response->body : "", response->body_len,
			  "InitiateMultipartUploadResult/UploadId", writer->upload_id,
			  sizeof(writer->upload_id), err);

	if (rc == 0 && !writer->upload_id[0])
		rc = err_set(err, EBADMSG, "the service's upload has no id");
	if (rc < 0) {
		writer->upload_id[0] = '\0';
		*ret_again = rc == -EBADMSG;
		s3_prefix_error(s3, request, err);
	}
	return rc;
}

static int upload_begin(struct backend_writer *writer, struct err *err)
{
	struct s3_request request = {.doing = "begin to upload",
				     .method = "POST",
				     .object = writer->object,
				     .query = "uploads=",
				     .accept = accept_begun,
				     .arg = writer};
	struct s3_response response;
	int rc = s3_send(writer->s3, &request, &response, err);

	s3_response_release(&response);
	return rc;
}

/* Send the buffer as the next part. */
static int upload_part(struct backend_writer *writer, struct err *err)
{
	struct s3_request request = {.doing = "upload a part of",
				     .method = "PUT",
				     .object = writer->object,
				     .body = writer->buffer,
				     .body_len = writer->len};
	char query[QUERY_MAX];
	struct s3_response response;
	struct part *more;
	int rc;

	if (writer->part_count == PARTS_MAX)
		return err_set(
			err, EFBIG,
			"object %s is larger than the %d parts of %d bytes that S3 takes",
			writer->object, PARTS_MAX, PART_BYTES);
	more = reallocarray(writer->parts, writer->part_count + 1, sizeof(*more));
	if (!more)
		return err_sys(err, ENOMEM, "object %s", writer->object);
	writer->parts = more;
	more += writer->part_count;
	rc = s3_md5(writer->buffer, writer->len, more->md5, err);
	if (rc < 0)
		return rc;
	query_upload(query, (unsigned int)writer->part_count + 1, writer->upload_id);
	request.query = query;
	request.md5 = more->md5;
	rc = s3_send(writer->s3, &request, &response, err);
	s3_response_release(&response);
	if (rc < 0)
		return rc;
	if (!response.etag[0])
		return err_set(err, EBADMSG, "the service gave no ETag for a part of %s",
			       writer->object);
	memcpy(more->etag, response.etag, sizeof(more->etag));
	writer->part_count++;
	writer->sent += writer->len;
	writer->len = 0;
	return 0;
}

int s3_append(struct backend_writer *writer, const void *data, size_t len, struct err *err)
{
	const char *at = data;

	while (len > 0) {
		size_t room = PART_BYTES - writer->len, n = len < room ? len : room;
		int rc = 0;

		if (room == 0) {
			if (!writer->upload_id[0])
				rc = upload_begin(writer, err);
			if (rc == 0)
				rc = upload_part(writer, err);
			if (rc < 0)
				return rc;
			continue;
		}
		memcpy(writer->buffer + writer->len, at, n);
		writer->len += n;
		at += n;
		len -= n;
	}
	return 0;
}

int s3_upload_abort(struct s3 *s3, const char *object, const char *upload_id, bool once,
		    struct err *err)
{
	char query[QUERY_MAX];
	struct s3_request request = {.doing = "give up the upload of",
				     .method = "DELETE",
				     .object = object,
				     .query = query,
				     .once = once};
	struct s3_response response;
	int rc;

	query_upload(query, 0, upload_id);
	rc = s3_send(s3, &request, &response, err);
	if (rc < 0 && response.status == 404 &&
	    strcmp(response.error.code, "NoSuchBucket") != 0)
		rc = 0;
	s3_response_release(&response);
	return rc;
}

void s3_abort(struct backend_writer *writer)
{
	struct err err = ERR_INIT;

	if (writer->upload_id[0] &&
	    s3_upload_abort(writer->s3, writer->object, writer->upload_id, true, &err) < 0)
		log_warn("an unfinished upload is left for tidying: %s", err.msg);
	writer_free(writer);
}

/* The ETag that S3 gives to what was uploaded: the MD5 of the parts' MD5s and their number. */
static int etag_whole(const struct backend_writer *writer, char ret_etag[128], struct err *err)
{
	size_t len = writer->part_count * S3_MD5_BYTES;
	CLEANUP_FREE uint8_t *all = malloc(len);
	uint8_t md5[S3_MD5_BYTES];
	char hex[S3_MD5_HEX_MAX];
	int rc;

	if (!all)
		return err_sys(err, ENOMEM, "object %s", writer->object);
	for (size_t i = 0; i < writer->part_count; i++)
		memcpy(all + i * S3_MD5_BYTES, writer->parts[i].md5, S3_MD5_BYTES);
	rc = s3_md5(all, len, md5, err);
	hex_encode(md5, sizeof(md5), hex);
	snprintf(ret_etag, 128, "%s-%zu", hex, writer->part_count);
	return rc;
}

/* An earlier try may have completed the upload though its answer was lost (libcurl by itself
 * repeats what is lost on an old connection): the object in place is then this one. */
static bool complete_before(const struct backend_writer *writer)
{
	struct s3_request request = {
		.doing = "look at", .method = "HEAD", .object = writer->object};
	struct s3_response response;
	bool same, comparable;
	char want[128];

	same = s3_send(writer->s3, &request, &response, NULL) == 0 &&
	       response.length == (int64_t)writer->sent && etag_whole(writer, want, NULL) == 0;
	s3_response_release(&response);
	if (!same)
		return false;
	comparable = !response.encrypted && strchr(response.etag, '-');
	return comparable ? !strcmp(response.etag, want)
			  : response.modified_ns >= writer->begun_ns;
}

/* Status 200 says only that the service began to put the parts together: the body says how it
 * ended. */
static int accept_complete(struct s3 *s3, const struct s3_request *request,
			   struct s3_response *response, bool *ret_again, struct err *err)
{
	const char *body = response->body ? response->body : "";
	char etag[128];
	int rc;

	if (s3_xml_error(body, response->body_len, &response->error))
		return s3_judge_status(s3, request, response, ret_again, err);
	rc = s3_xml_field(body, response->body_len, "CompleteMultipartUploadResult/ETag", etag,
			  sizeof(etag), err);
	if (rc < 0) {
		*ret_again = rc == -EBADMSG;
		s3_prefix_error(s3, request, err);
	}
	return rc;
}

static int upload_complete(struct backend_writer *writer, struct err *err)
{
	static const char head[] = "<CompleteMultipartUpload>",
			  tail[] = "</CompleteMultipartUpload>";
	size_t size = sizeof(head) + sizeof(tail) + writer->part_count * PART_XML_MAX, used;
	CLEANUP_FREE char *xml = malloc(size);
	char query[QUERY_MAX];
	struct s3_request request = {.doing = "complete the upload of",
				     .method = "POST",
				     .object = writer->object,
				     .query = query,
				     .accept = accept_complete};
	struct s3_response response;
	int rc;

	if (!xml)
		return err_sys(err, ENOMEM, "object %s", writer->object);
	used = (size_t)snprintf(xml, size, "%s", head);
	for (size_t i = 0; i < writer->part_count; i++)
		used += (size_t)snprintf(xml + used, size - used,
					 "<Part><PartNumber>%zu</PartNumber>"
					 "<ETag>&quot;%s&quot;</ETag></Part>",
					 i + 1, writer->parts[i].etag);
	used += (size_t)snprintf(xml + used, size - used, "%s", tail);
	request.body = xml;
	request.body_len = used;
	query_upload(query, 0, writer->upload_id);
	rc = s3_send(writer->s3, &request, &response, err);
	if (rc < 0 && !strcmp(response.error.code, "NoSuchUpload") && complete_before(writer))
		rc = 0;
	s3_response_release(&response);
	return rc;
}

static int put_whole(struct backend_writer *writer, struct err *err)
{
	uint8_t md5[S3_MD5_BYTES];
	struct s3_request request = {.doing = "put",
				     .method = "PUT",
				     .object = writer->object,
				     .body = writer->buffer,
				     .body_len = writer->len,
				     .md5 = md5};
	struct s3_response response;
	int rc = s3_md5(writer->buffer, writer->len, md5, err);

	if (rc < 0)
		return rc;
	rc = s3_send(writer->s3, &request, &response, err);
	s3_response_release(&response);
	return rc;
}

int s3_commit(struct backend_writer *writer, struct err *err)
{
	int rc;

	if (!writer->upload_id[0]) {
		rc = put_whole(writer, err);
	} else {
		rc = upload_part(writer, err);
		if (rc == 0)
			rc = upload_complete(writer, err);
	}
	if (rc < 0)
		s3_abort(writer);
	else
		writer_free(writer);
	return rc;
}
