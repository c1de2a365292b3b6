/* SPDX-License-Identifier: BSD-3-Clause */
/* The object that makes a location a store: its version, its id, how it is encrypted. */
#ifndef STASIS_STORE_FORMAT_H
#define STASIS_STORE_FORMAT_H

#include "store/crypt.h"
#include "store/store.h"

#define FORMAT_OBJECT "store/format"

enum { STORE_FORMAT_VERSION = 2, FORMAT_BYTES_MAX = 512 };

struct store_format {
	uint8_t id[CRYPT_SALT_BYTES];
	bool encrypted;
	uint8_t check[CRYPT_KEY_BYTES]; /* tells a wrong key, if it is encrypted */
};

void format_encode(const struct store_format *format, char ret_text[FORMAT_BYTES_MAX]);
/* Nothing but the text is looked at; `where` is for the sentence. -EPROTONOSUPPORT: another
 * version. */
int format_decode(const char *text, const char *where, struct store_format *ret_format,
		  struct err *err);

#endif
