/* SPDX-License-Identifier: BSD-3-Clause */
/* Loading libfabric. */
#include "armci/transport/ofi/libfabric.h"

#include <dlfcn.h> /* dlvsym: glibc, the BSDs */
#include <errno.h>
#include <string.h>

#define LIBRARY "libfabric.so.1"

struct libfabric libfabric;

int libfabric_load(struct err *err)
{
	static void *library;
	/*
	 * The versions of libfabric 1.6 and all later ones: these agree with each other on the
	 * size of struct fi_info, whose later fields nobody here looks at.
	 */
	const struct {
		const char *name, *version;
		void *function;
	} symbols[] = {
		{"fi_getinfo", "FABRIC_1.3", &libfabric.getinfo},
		{"fi_freeinfo", "FABRIC_1.3", &libfabric.freeinfo},
		{"fi_dupinfo", "FABRIC_1.3", &libfabric.dupinfo},
		{"fi_fabric", "FABRIC_1.1", &libfabric.fabric},
		{"fi_strerror", "FABRIC_1.0", &libfabric.strerror},
		{"fi_version", "FABRIC_1.0", &libfabric.version},
	};

	if (library)
		return 0;
	void *opened = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!opened)
		return err_set(err, ENODEV, "libfabric does not load (package libfabric1): %s",
			       dlerror());
	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		void *found = dlvsym(opened, symbols[i].name, symbols[i].version);

		if (!found) {
			dlclose(opened);
			return err_set(err, ENODEV, "%s has no %s of version %s", LIBRARY,
				       symbols[i].name, symbols[i].version);
		}
		memcpy(symbols[i].function, &found, sizeof(found));
	}
	library = opened;
	return 0;
}
