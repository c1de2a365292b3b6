/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's RAM file: its size, its mapping, which of its pages exist.
 *
 * Whether a page exists is asked piece by piece, so that many threads can ask at once. lseek(2)
 * alone would not do: looking for the end of an extent walks all of it, 40 ns a page, however
 * little of it is wanted. mincore(2) says it for a piece, in 3 ns a page that the capture has
 * looked at before; but it does not tell holes from pages that are swapped out. So lseek(2) is
 * asked what mincore(2) does not see: it finds the next page that exists, and costs little
 * however long the hole is.
 */
#include "vm/ram/file.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* The first page at or behind `pos` that exists, at most `end`. */
static int next_existing(int fd, uint64_t pos, uint64_t end, uint64_t *ret_pos, struct err *err)
{
	off_t at = lseek(fd, (off_t)pos, SEEK_DATA);

	if (at < 0 && errno != ENXIO)
		return err_sys(err, errno, "cannot find the populated parts of guest RAM");
	*ret_pos = at < 0 || (uint64_t)at > end ? end : (uint64_t)at;
	return 0;
}

int ram_find_pages(int fd, const void *ram, uint64_t start, uint64_t end,
		   unsigned char ret_exist[RAM_PIECE_PAGES], struct err *err)
{
	uint64_t at;
	int rc = next_existing(fd, start, end, &at, err);

	memset(ret_exist, 0, RAM_PIECE_PAGES);
	if (rc < 0 || at == end)
		return rc;
	if (mincore((char *)(uintptr_t)ram + at, end - at,
		    ret_exist + (at - start) / RAM_PAGE_BYTES) < 0)
		return err_sys(err, errno, "cannot find the populated parts of guest RAM");
	while (at < end) {
		unsigned char *exists = &ret_exist[(at - start) / RAM_PAGE_BYTES];

		*exists &= 1;
		if (!*exists) { /* a hole, or swapped out */
			uint64_t next;

			rc = next_existing(fd, at, end, &next, err);
			if (rc < 0)
				return rc;
			*exists = next == at;
			if (next > at) {
				at = next;
				continue;
			}
		}
		at += RAM_PAGE_BYTES;
	}
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

int ram_populate(int ram_fd, uint64_t ram_bytes, struct err *err)
{
	int rc = ram_check(ram_fd, ram_bytes, err);
	const void *ram = rc < 0 ? NULL : ram_map(ram_fd, ram_bytes, err);

	if (!ram)
		return rc < 0 ? rc : -ENOMEM;
	if (madvise((void *)(uintptr_t)ram, ram_bytes, MADV_POPULATE_READ) < 0)
		rc = err_sys(err, errno, "cannot populate guest RAM");
	munmap((void *)(uintptr_t)ram, ram_bytes);
	return rc;
}
