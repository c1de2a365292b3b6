/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: the XML documents of an S3 service, each read as everything that one can be. */
#include <stdlib.h>
#include <string.h>

#include "store/backend/s3_xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was taken ends where it should and is of the time that HTTP knows; a truncated page says
 * how to go on. A refusal has a sentence. */
static void check_page(int rc, struct s3_xml_page *page, const struct err *err)
{
	if (rc < 0) {
		if (page->items || err->msg[0] == '\0')
			abort();
		return;
	}
	if (page->count > S3_XML_ITEMS_MAX || (page->truncated && !page->token[0]))
		abort();
	for (size_t i = 0; i < page->count; i++) {
		const struct s3_xml_item *item = &page->items[i];

		if (strnlen(item->key, sizeof(item->key)) == sizeof(item->key) ||
		    strnlen(item->upload_id, sizeof(item->upload_id)) ==
			    sizeof(item->upload_id) ||
		    item->time_ns < 0 || item->time_ns % 1000000000)
			abort();
	}
	s3_xml_page_free(page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct s3_xml_page page;
	const char *text = (const char *)data;
	struct s3_xml_error error;
	struct err err = ERR_INIT;
	char field[64];

	check_page(s3_xml_objects(text, size, &page, &err), &page, &err);
	err = ERR_INIT;
	check_page(s3_xml_uploads(text, size, &page, &err), &page, &err);
	if (s3_xml_field(text, size, "CompleteMultipartUploadResult/ETag", field, sizeof(field),
			 NULL) == 0 &&
	    strnlen(field, sizeof(field)) == sizeof(field))
		abort();
	if (s3_xml_error(text, size, &error) && strpbrk(error.message, "\r\n"))
		abort();
	return 0;
}
