/* SPDX-License-Identifier: BSD-3-Clause */
/* The manifest of a checkpoint: its envelope, its fields, and the files that it names
 * (docs/formats/manifest.md). */
#ifndef STASIS_STORE_MANIFEST_H
#define STASIS_STORE_MANIFEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "store/chunk.h"
#include "store/name.h"

enum {
	MANIFEST_VERSION = 2,
	MANIFEST_BYTES_MAX = 16 << 20,
	MANIFEST_VMS_MAX = 1024,
	MANIFEST_PHASES_MAX = 256,
};

/* One stream that a manifest names: a part of a VM, or an image that its VMs share. */
struct manifest_stream {
	char name[NAME_LEN_MAX + 8]; /* "vm0.ram"; of an image "kernel", "initrd" or "disk" */
	bool shared;
	struct stream_ref ref;
};

/* Turn a reference into {"root", "logical_bytes", "data_bytes"} (new reference, NULL without
 * memory). */
json_t *stream_ref_to_json(const struct stream_ref *ref);

/* Read one out of an object that holds these members among others; each is checked. */
int stream_ref_from_json(const json_t *object, struct stream_ref *ret_ref, struct err *err);

/*
 * Decode manifest bytes; nothing but the bytes is looked at. The fuzz target. -EBADMSG names
 * the first fault found, -EPROTONOSUPPORT is a newer version. New reference.
 */
int manifest_decode(const char *text, size_t len, json_t **ret_manifest, struct err *err);

/* Check and encode a whole document; *ret_text is malloc'ed, the caller's. */
int manifest_encode(const json_t *manifest, char **ret_text, size_t *ret_len, struct err *err);

/* Check presence, type and bounds of every field of the document. Unknown members are allowed.
 */
int manifest_check(const json_t *manifest, struct err *err);

/* All streams that a checked manifest names, the images first; *ret_streams is malloc'ed, the
 * caller's. */
int manifest_streams(const json_t *manifest, struct manifest_stream **ret_streams,
		     size_t *ret_count, struct err *err);

#endif
