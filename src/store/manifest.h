/* SPDX-License-Identifier: BSD-3-Clause */
/* The manifest of a checkpoint: its envelope, its fields, and the files that it names
 * (docs/formats/manifest.md). */
#ifndef STASIS_STORE_MANIFEST_H
#define STASIS_STORE_MANIFEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "store/name.h"
#include "store/simg.h"

enum {
	MANIFEST_VERSION = 1,
	MANIFEST_BYTES_MAX = 16 << 20,
	MANIFEST_VMS_MAX = 1024,
	MANIFEST_PHASES_MAX = 256,
};

/* One file that a manifest names: a part of the checkpoint, or an image shared by several. */
struct manifest_file {
	char name[NAME_FILE_LEN_MAX +
		  1]; /* "vm0.ram.simg"; of a shared image "kernel", "initrd" or "disk" */
	bool shared;
	struct simg_ref ref;
};

/* Turn an image's reference into {"root", "logical_bytes", "file_bytes"} (new reference, NULL
 * without memory). */
json_t *simg_ref_to_json(const struct simg_ref *ref);

/* Read one out of an object that holds these members among others; each is checked. */
int simg_ref_from_json(const json_t *object, struct simg_ref *ret_ref, struct err *err);

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

/* All files that a checked manifest names, the shared images first; *ret_files is malloc'ed,
 * the caller's. */
int manifest_files(const json_t *manifest, struct manifest_file **ret_files, size_t *ret_count,
		   struct err *err);

#endif
