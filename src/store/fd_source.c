/* SPDX-License-Identifier: BSD-3-Clause */
/* A regular file or memfd as the source of a stream or image; its holes are skipped. */
#include "store/fd_source.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

struct fd_source {
	int fd;
};

int fd_source_create(int fd, struct fd_source **ret_source, uint64_t *ret_bytes,
		     struct err *err)
{
	struct fd_source *source;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot stat the source of a stream");
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "the source of a stream is not a regular file");
	source = malloc(sizeof(*source));
	if (!source)
		return err_sys(err, ENOMEM, "source of a stream");
	source->fd = fd;
	*ret_source = source;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

uint64_t fd_source_next_data(void *source, uint64_t offset)
{
	off_t at = lseek(((const struct fd_source *)source)->fd, (off_t)offset, SEEK_DATA);

	if (at >= 0)
		return (uint64_t)at;
	/* A file system that cannot tell: everything may be data, and a real fault shows when
	 * it is read. */
	return errno == ENXIO ? UINT64_MAX : offset;
}

int fd_source_block(void *source, uint64_t offset, uint32_t len, void *scratch,
		    const void **ret_data, struct err *err)
{
	*ret_data = scratch;
	return io_pread_all(((const struct fd_source *)source)->fd, scratch, len, (off_t)offset,
			    err);
}
