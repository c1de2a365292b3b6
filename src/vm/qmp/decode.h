/* SPDX-License-Identifier: BSD-3-Clause */
/* QMP's wire format: JSON objects, one a line, out of a stream of bytes with bounds. */
#ifndef STASIS_VM_QMP_DECODE_H
#define STASIS_VM_QMP_DECODE_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

/* The longest answer in use, query-named-block-nodes, has some 10 KB. */
enum { QMP_LINE_MAX = 4 << 20 };

struct qmp_decoder;

struct qmp_decoder *qmp_decoder_create(void); /* NULL: no memory */
void qmp_decoder_destroy(struct qmp_decoder *decoder);

/* Add bytes; -EMSGSIZE when a line grows beyond QMP_LINE_MAX. */
int qmp_decoder_feed(struct qmp_decoder *decoder, const void *bytes, size_t len,
		     struct err *err);

/* 1: *ret_object is the next object, the caller's; 0: more bytes are needed; -EPROTO: not a
 * JSON object. */
int qmp_decoder_next(struct qmp_decoder *decoder, json_t **ret_object, struct err *err);

#endif
