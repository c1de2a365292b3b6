/* SPDX-License-Identifier: BSD-3-Clause */
/* The head of an exported checkpoint (docs/formats/export.md). */
#ifndef STASIS_STORE_EXPORT_H
#define STASIS_STORE_EXPORT_H

#include "store/format.h"

enum {
	EXPORT_HEAD_MAX = FORMAT_BYTES_MAX + 128,
	EXPORT_MANIFEST_MAX = MANIFEST_BYTES_MAX + 512, /* with first line and seal */
};

struct export_head {
	struct store_format format; /* of the store that it comes from */
	char id[STORE_ID_MAX];      /* of the checkpoint */
	uint64_t manifest_bytes;    /* as they follow: sealed, if the store is encrypted */
};

/* Its text, without NUL; the manifest's bytes follow, then a pack to the end. Returns the
 * length. */
size_t export_head_encode(const struct export_head *head, char ret_text[EXPORT_HEAD_MAX]);
/* From the first bytes of a file; *ret_len is how many the head has. Nothing but the bytes is
 * looked at. */
int export_head_decode(const char *bytes, size_t len, struct export_head *ret_head,
		       size_t *ret_len, struct err *err);

#endif
