/* SPDX-License-Identifier: BSD-3-Clause */
/* What all backends share: the check of names, and room for them. */
#ifndef STASIS_STORE_BACKEND_BACKEND_PRIV_H
#define STASIS_STORE_BACKEND_BACKEND_PRIV_H

#include "store/backend/backend.h"
#include "store/name.h"

enum {
	BACKEND_KIND_LEN_MAX = NAME_LEN_MAX,
	BACKEND_NAME_LEN_MAX = NAME_FILE_LEN_MAX,
	BACKEND_OBJECT_MAX = BACKEND_KIND_LEN_MAX + 1 + BACKEND_NAME_LEN_MAX + 1,
};

/* -EINVAL unless it is "kind/name"; a name in the sense of the files that are listed. */
int backend_check_object(const char *name, struct err *err);
int backend_check_kind(const char *kind, struct err *err);

/* The sentences that are the same for every backend: no such object; it ends too early. */
int backend_missing(const struct backend *backend, const char *name, struct err *err);
int backend_short(const struct backend *backend, const char *name, uint64_t bytes,
		  uint64_t offset, size_t len, struct err *err);

#endif
