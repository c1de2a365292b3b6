/* SPDX-License-Identifier: BSD-3-Clause */
/* Feeds every file of a corpus directory to a fuzz target: what the fuzzers have found stays
 * tested in every build. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char *argv[])
{
	struct err err = ERR_INIT;
	const struct dirent *entry;
	unsigned int count = 0;
	DIR *dir;

	if (argc != 2 || !(dir = opendir(argv[1]))) {
		fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
		return 2;
	}
	while ((entry = readdir(dir))) {
		char path[IO_PATH_MAX], *bytes;
		size_t len;

		if (entry->d_name[0] == '.')
			continue;
		if (io_path(path, sizeof(path), &err, "%s/%s", argv[1], entry->d_name) < 0 ||
		    io_read_file(path, 1 << 26, &bytes, &len, &err) < 0) {
			fprintf(stderr, "%s\n", err.msg);
			return 1;
		}
		LLVMFuzzerTestOneInput((const uint8_t *)bytes, len);
		free(bytes);
		count++;
	}
	closedir(dir);
	printf("%u inputs replayed\n", count);
	return count ? 0 : 1;
}
