/* SPDX-License-Identifier: BSD-3-Clause */
/* A set of chunk ids. */
#ifndef STASIS_STORE_ID_SET_H
#define STASIS_STORE_ID_SET_H

#include <stddef.h>

#include "base/err.h"
#include "store/chunk.h"

/* Not thread-safe. The id of zeros, which no chunk has, is never in it. */
struct id_set {
	struct chunk_id *slots;
	size_t slot_count, used;
};

void id_set_clear(struct id_set *set);
bool id_set_has(const struct id_set *set, const struct chunk_id *id);
/* 1 if it is new, 0 if it was there; -ENOMEM. */
int id_set_add(struct id_set *set, const struct chunk_id *id, struct err *err);

#endif
