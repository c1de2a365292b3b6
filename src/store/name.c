/* SPDX-License-Identifier: BSD-3-Clause */
/* Names that are safe as path components: ids, clusters, tags, parts and their files. */
#include "store/name.h"

#include <string.h>

bool name_valid(const char *name, size_t max)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	size_t len = strspn(name, allowed);

	return len > 0 && len <= max && name[len] == '\0' && name[0] != '.';
}
