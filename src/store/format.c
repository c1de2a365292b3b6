/* SPDX-License-Identifier: BSD-3-Clause */
/* The object that makes a location a store: its version, its id, how it is encrypted. */
#include "store/format.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"

static const char magic[] = "stasis-store ";

void format_encode(const struct store_format *format, char ret_text[FORMAT_BYTES_MAX])
{
	char id[2 * CRYPT_SALT_BYTES + 1], check[2 * CRYPT_KEY_BYTES + 1];

	hex_encode(format->id, sizeof(format->id), id);
	hex_encode(format->check, sizeof(format->check), check);
	if (format->encrypted)
		snprintf(ret_text, FORMAT_BYTES_MAX,
			 "%s%d\nid %s\ncipher aes-256-gcm\ncheck %s\n", magic,
			 STORE_FORMAT_VERSION, id, check);
	else
		snprintf(ret_text, FORMAT_BYTES_MAX, "%s%d\nid %s\ncipher none\n", magic,
			 STORE_FORMAT_VERSION, id);
}

static bool skip(const char **at, const char *literal)
{
	size_t len = strlen(literal);

	if (strncmp(*at, literal, len))
		return false;
	*at += len;
	return true;
}

static bool skip_hex(const char **at, uint8_t *ret_bytes, size_t len)
{
	if (!hex_decode(*at, ret_bytes, len))
		return false;
	*at += 2 * len;
	return skip(at, "\n");
}

int format_decode(const char *text, const char *where, struct store_format *ret_format,
		  struct err *err)
{
	const char *at = text;
	unsigned long version = 0;
	char *end;
	bool ok = skip(&at, magic) && *at >= '1' && *at <= '9';

	if (ok) {
		version = strtoul(at, &end, 10);
		ok = *end == '\n';
		at = end + 1;
	}
	if (ok && version != STORE_FORMAT_VERSION)
		return err_set(
			err, EPROTONOSUPPORT,
			"the store %s has format version %lu, this program reads and writes "
			"version %d: name another store",
			where, version, STORE_FORMAT_VERSION);
	ok = ok && skip(&at, "id ") && skip_hex(&at, ret_format->id, sizeof(ret_format->id));
	ret_format->encrypted = ok && skip(&at, "cipher aes-256-gcm\n");
	if (ret_format->encrypted)
		ok = skip(&at, "check ") &&
		     skip_hex(&at, ret_format->check, sizeof(ret_format->check));
	else
		ok = ok && skip(&at, "cipher none\n");
	return ok && *at == '\0'
		       ? 0
		       : err_set(err, EBADMSG, "%s: store/format is not a store's", where);
}
