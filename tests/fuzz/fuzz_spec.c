/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: a cluster's description as INI file and as JSON; what is accepted must survive
 * the way through JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const struct spec *spec)
{
	struct spec *back = calloc(1, sizeof(*back));
	json_t *json = spec_to_json(spec), *again;
	struct err err;

	if (!back || spec_from_json(json, back, &err) < 0)
		abort();
	again = spec_to_json(back);
	if (!json_equal(json, again))
		abort();
	json_decref(again);
	json_decref(json);
	free(back);
}

static void try_ini(const uint8_t *data, size_t size, struct spec *spec)
{
	static int fd = -1;
	char path[64];
	struct err err;

	if (fd < 0)
		fd = memfd_create("fuzz.ini", MFD_CLOEXEC);
	if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (spec_read_ini(path, spec, &err) == 0)
		round_trip(spec);
	else if (!err.msg[0])
		abort();
}

static void try_json(const uint8_t *data, size_t size, struct spec *spec)
{
	json_t *json = json_loadb((const char *)data, size, JSON_ALLOW_NUL, NULL);
	struct err err;

	if (json && spec_from_json(json, spec, &err) == 0)
		round_trip(spec);
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct spec *spec = malloc(sizeof(*spec));

	if (!spec)
		abort();
	if (size > 0 && data[0] == '{')
		try_json(data, size, spec);
	else
		try_ini(data, size, spec);
	free(spec);
	return 0;
}
