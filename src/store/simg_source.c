/* SPDX-License-Identifier: BSD-3-Clause */
/* An image source over a file or memfd, whose holes are skipped. */
#include "store/fd_source.h"
#include "store/simg.h"

int simg_source_fd(int fd, struct simg_source *ret_source, struct err *err)
{
	struct fd_source *source;
	uint64_t bytes;
	int rc = fd_source_create(fd, &source, &bytes, err);

	if (rc < 0)
		return rc;
	*ret_source = (struct simg_source){
		.logical_bytes = bytes,
		.next_data = fd_source_next_data,
		.block = fd_source_block,
		.arg = source,
	};
	return 0;
}
