/* SPDX-License-Identifier: BSD-3-Clause */
/* QMP's wire format: JSON objects, one a line, out of a stream of bytes with bounds. */
#include "vm/qmp/decode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct qmp_decoder {
	char *bytes;
	size_t capacity;
	size_t start, end; /* what is buffered */
	size_t scanned;    /* up to here there is no newline */
};

struct qmp_decoder *qmp_decoder_create(void)
{
	return calloc(1, sizeof(struct qmp_decoder));
}

void qmp_decoder_destroy(struct qmp_decoder *decoder)
{
	if (!decoder)
		return;
	free(decoder->bytes);
	free(decoder);
}

int qmp_decoder_feed(struct qmp_decoder *decoder, const void *bytes, size_t len,
		     struct err *err)
{
	size_t held = decoder->end - decoder->start;

	if (len > QMP_LINE_MAX || held > QMP_LINE_MAX - len)
		return err_set(err, EMSGSIZE,
			       "QEMU's monitor sent a line of more than %d bytes",
			       QMP_LINE_MAX);
	if (decoder->start > 0) {
		memmove(decoder->bytes, decoder->bytes + decoder->start, held);
		decoder->scanned -= decoder->start;
		decoder->start = 0;
		decoder->end = held;
	}
	if (held + len > decoder->capacity) {
		size_t capacity = decoder->capacity ? decoder->capacity : 4096;
		char *grown;

		while (capacity < held + len)
			capacity *= 2;
		grown = realloc(decoder->bytes, capacity);
		if (!grown)
			return err_sys(err, ENOMEM, "answer of QEMU's monitor");
		decoder->bytes = grown;
		decoder->capacity = capacity;
	}
	if (len > 0)
		memcpy(decoder->bytes + held, bytes, len);
	decoder->end = held + len;
	return 0;
}

static int decode_line(const char *line, size_t len, json_t **ret_object, struct err *err)
{
	json_error_t why;
	json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);

	if (!object)
		return err_set(err, EPROTO, "QEMU's monitor sent a line that is not JSON: %s",
			       why.text);
	if (!json_is_object(object)) {
		json_decref(object);
		return err_set(err, EPROTO, "QEMU's monitor sent JSON that is not an object");
	}
	*ret_object = object;
	return 1;
}

static size_t skip_space(const char *line, size_t len)
{
	while (len > 0 &&
	       (line[len - 1] == '\r' || line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	return len;
}

int qmp_decoder_next(struct qmp_decoder *decoder, json_t **ret_object, struct err *err)
{
	while (decoder->scanned < decoder->end) {
		const char *line = decoder->bytes + decoder->start;
		const char *newline = memchr(decoder->bytes + decoder->scanned, '\n',
					     decoder->end - decoder->scanned);
		size_t len;

		if (!newline) {
			decoder->scanned = decoder->end;
			return 0;
		}
		decoder->start = decoder->scanned = (size_t)(newline - decoder->bytes) + 1;
		len = skip_space(line, (size_t)(newline - line));
		if (len > 0)
			return decode_line(line, len, ret_object, err);
	}
	return 0;
}
