/* SPDX-License-Identifier: BSD-3-Clause */
/* Names that are safe as path components: ids, clusters, tags, parts and their files. */
#ifndef STASIS_STORE_NAME_H
#define STASIS_STORE_NAME_H

#include <stdbool.h>
#include <stddef.h>

enum { NAME_LEN_MAX = 63, NAME_FILE_LEN_MAX = 127 };

/* 1 to `max` characters of A-Z a-z 0-9 . _ - of which the first is not a dot. */
bool name_valid(const char *name, size_t max);

#endif
