/* SPDX-License-Identifier: BSD-3-Clause */
/* An image source over a file or memfd, whose holes are skipped. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "store/simg.h"

struct fd_source {
	int fd;
};

static uint64_t fd_next_data(void *arg, uint64_t offset)
{
	const struct fd_source *source = arg;
	off_t at = lseek(source->fd, (off_t)offset, SEEK_DATA);

	if (at >= 0)
		return (uint64_t)at;
	/* A file system that cannot tell: everything may be data, and a real fault shows when
	 * it is read. */
	return errno == ENXIO ? UINT64_MAX : offset;
}

static int fd_block(void *arg, uint64_t offset, uint32_t len, void *scratch,
		    const void **ret_data, struct err *err)
{
	const struct fd_source *source = arg;

	*ret_data = scratch;
	return io_pread_all(source->fd, scratch, len, (off_t)offset, err);
}

int simg_source_fd(int fd, struct simg_source *ret_source, struct err *err)
{
	struct fd_source *source;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot stat the source of an image");
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "the source of an image is not a regular file");
	source = malloc(sizeof(*source));
	if (!source)
		return err_sys(err, ENOMEM, "source of an image");
	source->fd = fd;
	*ret_source = (struct simg_source){
		.logical_bytes = (uint64_t)st.st_size,
		.next_data = fd_next_data,
		.block = fd_block,
		.arg = source,
	};
	return 0;
}
