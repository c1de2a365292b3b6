/* SPDX-License-Identifier: BSD-3-Clause */
/* Decoding of the XML documents with which an S3 service answers. */
#include "store/backend/s3_xml.h"

#include <errno.h>
#include <expat.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

/* Told of each element at its end: the names from the root to it with slashes between, and its
 * own text. 0 or -errno. */
typedef int (*element_fn)(const char *path, const char *text, void *arg, struct err *err);

/*
 * Only the text behind an element's last child is kept, which is all of it for the elements
 * that matter: those have no children.
 */
struct walk {
	XML_Parser parser;
	element_fn fn;
	void *arg;
	struct err *err;
	int rc;
	unsigned int depth;
	size_t path_len, path_ends[S3_XML_DEPTH_MAX];
	char path[S3_XML_DEPTH_MAX * 80];
	size_t text_len;
	char text[S3_XML_TEXT_MAX];
};

static void walk_stop(struct walk *walk, int rc)
{
	walk->rc = rc;
	XML_StopParser(walk->parser, XML_FALSE);
}

static void walk_refuse(struct walk *walk, const char *why)
{
	walk_stop(walk, err_set(walk->err, EBADMSG, "the service's XML %s", why));
}

static void on_start(void *arg, const char *name, const char **attributes)
{
	struct walk *walk = arg;
	size_t len = strlen(name), slash = walk->depth > 0;

	(void)attributes;
	if (walk->depth == S3_XML_DEPTH_MAX ||
	    walk->path_len + slash + len >= sizeof(walk->path)) {
		walk_refuse(walk, "is nested too deep");
		return;
	}
	walk->path_ends[walk->depth++] = walk->path_len;
	if (slash)
		walk->path[walk->path_len++] = '/';
	memcpy(walk->path + walk->path_len, name, len + 1);
	walk->path_len += len;
	walk->text_len = 0;
}

static void on_text(void *arg, const char *text, int len)
{
	struct walk *walk = arg;

	if ((size_t)len >= sizeof(walk->text) - walk->text_len) {
		walk_refuse(walk, "has an element that is too long");
		return;
	}
	memcpy(walk->text + walk->text_len, text, (size_t)len);
	walk->text_len += (size_t)len;
}

static void on_end(void *arg, const char *name)
{
	struct walk *walk = arg;
	int rc;

	(void)name;
	walk->text[walk->text_len] = '\0';
	rc = walk->fn(walk->path, walk->text, walk->arg, walk->err);
	walk->path_len = walk->path_ends[--walk->depth];
	walk->path[walk->path_len] = '\0';
	walk->text_len = 0;
	if (rc < 0)
		walk_stop(walk, rc);
}

/* No answer of S3 has one; entities come with it. */
static void on_doctype(void *arg, const char *name, const char *sysid, const char *pubid,
		       int internal)
{
	(void)name;
	(void)sysid;
	(void)pubid;
	(void)internal;
	walk_refuse(arg, "has a DOCTYPE");
}

static int walk_document(const char *text, size_t len, element_fn fn, void *arg,
			 struct err *err)
{
	struct walk walk = {.fn = fn, .arg = arg, .err = err};

	if (len > INT_MAX)
		return err_set(err, EBADMSG, "the service's XML is too long");
	walk.parser = XML_ParserCreate(NULL);
	if (!walk.parser)
		return err_sys(err, ENOMEM, "XML");
	XML_SetUserData(walk.parser, &walk);
	XML_SetElementHandler(walk.parser, on_start, on_end);
	XML_SetCharacterDataHandler(walk.parser, on_text);
	XML_SetStartDoctypeDeclHandler(walk.parser, on_doctype);
	if (XML_Parse(walk.parser, text, (int)len, 1) == XML_STATUS_ERROR && walk.rc == 0)
		walk.rc = err_set(err, EBADMSG, "the service's XML is damaged in line %lu: %s",
				  XML_GetCurrentLineNumber(walk.parser),
				  XML_ErrorString(XML_GetErrorCode(walk.parser)));
	XML_ParserFree(walk.parser);
	return walk.rc;
}

/* The names of the elements of one kind of list. */
struct page_names {
	const char *root, *item, *key, *time, *bytes, *upload_id;
	const char *truncated, *token, *upload_token;
};

static const struct page_names object_names = {
	.root = "ListBucketResult",
	.item = "ListBucketResult/Contents",
	.key = "ListBucketResult/Contents/Key",
	.time = "ListBucketResult/Contents/LastModified",
	.bytes = "ListBucketResult/Contents/Size",
	.truncated = "ListBucketResult/IsTruncated",
	.token = "ListBucketResult/NextContinuationToken",
};

static const struct page_names upload_names = {
	.root = "ListMultipartUploadsResult",
	.item = "ListMultipartUploadsResult/Upload",
	.key = "ListMultipartUploadsResult/Upload/Key",
	.time = "ListMultipartUploadsResult/Upload/Initiated",
	.upload_id = "ListMultipartUploadsResult/Upload/UploadId",
	.truncated = "ListMultipartUploadsResult/IsTruncated",
	.token = "ListMultipartUploadsResult/NextKeyMarker",
	.upload_token = "ListMultipartUploadsResult/NextUploadIdMarker",
};

struct page_reader {
	const struct page_names *names;
	struct s3_xml_page *page;
	struct s3_xml_item item; /* the one at hand */
	bool have_root, have_key, have_time, have_bytes, have_upload_id;
};

static int bad(struct err *err, const char *path, const char *text)
{
	return err_set(err, EBADMSG, "the service's XML has \"%.80s\" for %s", text, path);
}

static int copy(char *ret_text, size_t size, const char *path, const char *text,
		struct err *err)
{
	if ((size_t)snprintf(ret_text, size, "%s", text) >= size)
		return bad(err, path, text);
	return 0;
}

static int read_bytes(const char *path, const char *text, uint64_t *ret_bytes, struct err *err)
{
	char *end;

	if (*text < '0' || *text > '9')
		return bad(err, path, text);
	errno = 0;
	*ret_bytes = strtoull(text, &end, 10);
	return *end || errno ? bad(err, path, text) : 0;
}

/* 2026-01-31T12:34:56.789Z; the fraction may be missing. */
static int read_time(const char *path, const char *text, int64_t *ret_ns, struct err *err)
{
	struct tm tm = {0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	time_t seconds;

	if (end && *end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	if (!end || strcmp(end, "Z") || tm.tm_year < 70 || tm.tm_year > 300)
		return bad(err, path, text);
	seconds = timegm(&tm);
	*ret_ns = (int64_t)seconds * NS_PER_S;
	return 0;
}

/* The item at hand is complete. */
static int page_push(struct page_reader *reader, struct err *err)
{
	const struct page_names *names = reader->names;
	struct s3_xml_page *page = reader->page;

	if (!reader->have_key || !reader->have_time || (names->bytes && !reader->have_bytes) ||
	    (names->upload_id && !reader->have_upload_id))
		return err_set(err, EBADMSG, "the service's XML has an incomplete %s",
			       names->item);
	if (page->count == S3_XML_ITEMS_MAX)
		return err_set(err, EBADMSG, "the service's XML has more than %d of %s",
			       S3_XML_ITEMS_MAX, names->item);
	if (page->count % 256 == 0) {
		struct s3_xml_item *more =
			reallocarray(page->items, page->count + 256, sizeof(*more));

		if (!more)
			return err_sys(err, ENOMEM, "a list of the service");
		page->items = more;
	}
	page->items[page->count++] = reader->item;
	memset(&reader->item, 0, sizeof(reader->item));
	reader->have_key = reader->have_time = false;
	reader->have_bytes = reader->have_upload_id = false;
	return 0;
}

static bool is(const char *path, const char *name)
{
	return name && !strcmp(path, name);
}

static int page_element(const char *path, const char *text, void *arg, struct err *err)
{
	struct page_reader *reader = arg;
	const struct page_names *names = reader->names;
	struct s3_xml_page *page = reader->page;
	struct s3_xml_item *item = &reader->item;

	if (is(path, names->root))
		reader->have_root = true;
	if (is(path, names->item))
		return page_push(reader, err);
	if (is(path, names->key)) {
		reader->have_key = true;
		return copy(item->key, sizeof(item->key), path, text, err);
	}
	if (is(path, names->time)) {
		reader->have_time = true;
		return read_time(path, text, &item->time_ns, err);
	}
	if (is(path, names->bytes)) {
		reader->have_bytes = true;
		return read_bytes(path, text, &item->bytes, err);
	}
	if (is(path, names->upload_id)) {
		reader->have_upload_id = true;
		return copy(item->upload_id, sizeof(item->upload_id), path, text, err);
	}
	if (is(path, names->token))
		return copy(page->token, sizeof(page->token), path, text, err);
	if (is(path, names->upload_token))
		return copy(page->upload_token, sizeof(page->upload_token), path, text, err);
	if (is(path, names->truncated)) {
		page->truncated = !strcmp(text, "true");
		return page->truncated || !strcmp(text, "false") ? 0 : bad(err, path, text);
	}
	return 0;
}

static int page_read(const struct page_names *names, const char *text, size_t len,
		     struct s3_xml_page *ret_page, struct err *err)
{
	struct page_reader reader = {.names = names, .page = ret_page};
	int rc;

	*ret_page = (struct s3_xml_page){0};
	rc = walk_document(text, len, page_element, &reader, err);
	if (rc == 0 && !reader.have_root)
		rc = err_set(err, EBADMSG, "the service's XML is no %s", names->root);
	if (rc == 0 && ret_page->truncated && !ret_page->token[0])
		rc = err_set(err, EBADMSG, "the service's XML is truncated without %s",
			     names->token);
	if (rc < 0)
		s3_xml_page_free(ret_page);
	return rc;
}

int s3_xml_objects(const char *text, size_t len, struct s3_xml_page *ret_page, struct err *err)
{
	return page_read(&object_names, text, len, ret_page, err);
}

int s3_xml_uploads(const char *text, size_t len, struct s3_xml_page *ret_page, struct err *err)
{
	return page_read(&upload_names, text, len, ret_page, err);
}

void s3_xml_page_free(struct s3_xml_page *page)
{
	free(page->items);
	page->items = NULL;
	page->count = 0;
}

struct field_reader {
	const char *path;
	char *text;
	size_t size;
	bool found;
};

static int field_element(const char *path, const char *text, void *arg, struct err *err)
{
	struct field_reader *reader = arg;

	if (strcmp(path, reader->path) != 0)
		return 0;
	reader->found = true;
	return copy(reader->text, reader->size, path, text, err);
}

int s3_xml_field(const char *text, size_t len, const char *path, char *ret_text, size_t size,
		 struct err *err)
{
	struct field_reader reader = {.path = path, .text = ret_text, .size = size};
	int rc = walk_document(text, len, field_element, &reader, err);

	if (rc == 0 && !reader.found)
		rc = err_set(err, EBADMSG, "the service's XML has no %s", path);
	return rc;
}

/* One line of what may be several, cut to fit. */
static void copy_line(char *ret_text, size_t size, const char *text)
{
	size_t len = strcspn(text, "\r\n");

	snprintf(ret_text, size, "%.*s", len < size ? (int)len : (int)size - 1, text);
	len = strlen(ret_text);
	if (len > 0 && ret_text[len - 1] == '.')
		ret_text[len - 1] = '\0';
}

static int error_element(const char *path, const char *text, void *arg, struct err *err)
{
	struct s3_xml_error *error = arg;

	(void)err;
	if (!strcmp(path, "Error/Code"))
		copy_line(error->code, sizeof(error->code), text);
	if (!strcmp(path, "Error/Message"))
		copy_line(error->message, sizeof(error->message), text);
	return 0;
}

bool s3_xml_error(const char *text, size_t len, struct s3_xml_error *ret_error)
{
	*ret_error = (struct s3_xml_error){0};
	return walk_document(text, len, error_element, ret_error, NULL) == 0 &&
	       ret_error->code[0];
}
