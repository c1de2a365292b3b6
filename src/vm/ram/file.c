/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's RAM file: its populated extents, and how they are cut into pieces of work. */
#include "vm/ram/file.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vm/ram/capture.h"

int ram_check(int fd, uint64_t bytes, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "guest RAM file");
	if (bytes == 0 || bytes % RAM_PAGE_BYTES || (uint64_t)st.st_size != bytes)
		return err_set(err, EINVAL,
			       "the guest RAM file has %lld bytes, not the %llu of the machine",
			       (long long)st.st_size, (unsigned long long)bytes);
	return 0;
}

const void *ram_map(int fd, uint64_t bytes, struct err *err)
{
	const void *ram = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);

	if (ram == MAP_FAILED) {
		err_sys(err, errno, "cannot map guest RAM");
		return NULL;
	}
	return ram;
}

/* The data extent that begins at or behind `pos`; without one the results stay as they were. */
static int extent_next(int fd, uint64_t pos, uint64_t *ret_start, uint64_t *ret_end,
		       struct err *err)
{
	off_t at = lseek(fd, (off_t)pos, SEEK_DATA);

	if (at < 0 && errno != ENXIO)
		return err_sys(err, errno, "cannot find the populated parts of guest RAM");
	if (at < 0)
		return 0;
	*ret_start = (uint64_t)at;
	at = lseek(fd, at, SEEK_HOLE);
	if (at < 0)
		return err_sys(err, errno, "cannot find the populated parts of guest RAM");
	*ret_end = (uint64_t)at;
	return 0;
}

struct list {
	struct ram_piece *pieces;
	size_t count, capacity;
};

static int list_add(struct list *list, uint64_t start, uint64_t end, struct err *err)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? 2 * list->capacity : 256;
		struct ram_piece *grown = realloc(list->pieces, capacity * sizeof(*grown));

		if (!grown)
			return err_sys(err, ENOMEM, "list of the populated parts of guest RAM");
		list->pieces = grown;
		list->capacity = capacity;
	}
	list->pieces[list->count++] = (struct ram_piece){.start = start, .end = end};
	return 0;
}

int ram_pieces_find(int fd, uint64_t bytes, struct ram_piece **ret_pieces, size_t *ret_count,
		    struct err *err)
{
	struct list list = {0};
	uint64_t pos = 0;

	while (pos < bytes) {
		uint64_t data = bytes, hole = bytes;
		int rc = extent_next(fd, pos, &data, &hole, err);

		for (pos = data; pos < hole && rc == 0; pos += RAM_PIECE_BYTES)
			rc = list_add(&list, pos,
				      hole - pos < RAM_PIECE_BYTES ? hole
								   : pos + RAM_PIECE_BYTES,
				      err);
		if (rc < 0) {
			free(list.pieces);
			return rc;
		}
		pos = hole;
	}
	*ret_pieces = list.pieces;
	*ret_count = list.count;
	return 0;
}

int ram_populated_bytes(int ram_fd, uint64_t *ret_bytes, struct err *err)
{
	struct stat st;

	if (fstat(ram_fd, &st) < 0)
		return err_sys(err, errno, "guest RAM file");
	*ret_bytes = (uint64_t)st.st_blocks * 512;
	return 0;
}
