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

bool name_valid_file(const char *name)
{
	static const char suffix[] = ".simg";
	size_t len = strlen(name);

	return name_valid(name, NAME_FILE_LEN_MAX) && len >= sizeof(suffix) &&
	       !strcmp(name + len - (sizeof(suffix) - 1), suffix);
}
