/* SPDX-License-Identifier: BSD-3-Clause */
/* Decoding of the XML documents with which an S3 service answers. */
#ifndef STASIS_STORE_BACKEND_S3_XML_H
#define STASIS_STORE_BACKEND_S3_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
	S3_XML_DEPTH_MAX = 8,
	S3_XML_TEXT_MAX = 4096, /* of one element, with its NUL */
	S3_XML_ITEMS_MAX = 10000,
	S3_KEY_MAX = 1024 + 1,
	S3_UPLOAD_MAX = 1024,
	S3_TOKEN_MAX = S3_XML_TEXT_MAX,
};

struct s3_xml_error {
	char code[80];
	char message[300];
};

/* An object or an unfinished upload. */
struct s3_xml_item {
	char key[S3_KEY_MAX];
	char upload_id[S3_UPLOAD_MAX]; /* of an upload */
	uint64_t bytes;                /* of an object */
	int64_t time_ns; /* when it was changed or begun; whole seconds, as in HTTP's headers */
};

/* One page of a list. If there are more, the tokens are what to ask for next. */
struct s3_xml_page {
	struct s3_xml_item *items;
	size_t count;
	bool truncated;
	char token[S3_TOKEN_MAX];        /* of objects; of uploads the key */
	char upload_token[S3_TOKEN_MAX]; /* of uploads */
};

/* -EBADMSG for anything that is not such a document, whole and well-formed. */
int s3_xml_objects(const char *text, size_t len, struct s3_xml_page *ret_page, struct err *err);
int s3_xml_uploads(const char *text, size_t len, struct s3_xml_page *ret_page, struct err *err);
void s3_xml_page_free(struct s3_xml_page *page);

/* The text of one element, "InitiateMultipartUploadResult/UploadId" for instance; -EBADMSG also
 * when there is none or it does not fit. */
int s3_xml_field(const char *text, size_t len, const char *path, char *ret_text, size_t size,
		 struct err *err);

/* Whether the document is an <Error>; if it is, what it says. */
bool s3_xml_error(const char *text, size_t len, struct s3_xml_error *ret_error);

#endif
