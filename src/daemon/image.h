/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest images: built by guest/build-image, or given back by a store. */
#ifndef STASIS_DAEMON_IMAGE_H
#define STASIS_DAEMON_IMAGE_H

#include "base/err.h"
#include "base/spec.h"
#include "daemon/daemon.h"

/* Build, or find in the cache, the image that a spec asks for. */
int image_build(const struct spec *spec, struct progress *progress, char *ret_dir, size_t size,
		struct err *err);

/* What a checkpoint remembers of an image: enough to make it again anywhere. */
struct image_refs {
	struct stream_ref kernel, initrd, disk;
	char disk_format[8];
	char cmdline[1024];
};

/* Put the image's files into the store (instant when they are there). */
int image_put(const char *image_dir, struct store_txn *txn, struct image_refs *ret_refs,
	      struct err *err);

/* Whether the directory holds this image, as far as the store remembers its files. */
bool image_is(const char *image_dir, const struct image_refs *refs);

/* Make an image directory from the store in the cache, or find it there. */
int image_get(const struct image_refs *refs, struct progress *progress, char *ret_dir,
	      size_t size, struct err *err);

#endif
