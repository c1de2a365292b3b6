/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: the decoder of QMP's lines, fed in pieces of a size that the input chooses. */
#include <stddef.h>
#include <stdint.h>

#include "vm/qmp/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct qmp_decoder *decoder;
	size_t piece;

	if (len == 0)
		return 0;
	decoder = qmp_decoder_create();
	if (!decoder)
		return 0;
	piece = (size_t)bytes[0] + 1;
	for (size_t at = 1; at < len; at += piece) {
		json_t *object;
		int rc;

		if (qmp_decoder_feed(decoder, bytes + at, len - at < piece ? len - at : piece,
				     NULL) < 0)
			break;
		while ((rc = qmp_decoder_next(decoder, &object, NULL)) != 0)
			if (rc > 0)
				json_decref(object);
	}
	qmp_decoder_destroy(decoder);
	return 0;
}
