/* SPDX-License-Identifier: BSD-3-Clause */
/* Making and taking apart the parts of messages. */
#include "armci/coll/part.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* In the byte order of the hosts, which is the same for all of a job. */
struct header {
	uint32_t from;
	uint32_t class;
	uint64_t tag;
	uint64_t total;
	uint64_t offset;
};
static_assert(sizeof(struct header) == MBOX_PART_HEADER, "no padding");

int mbox_part_decode(const void *part, size_t bytes, int ranks, struct mbox_part *ret_part)
{
	struct header header;

	if (bytes < sizeof header || bytes > MBOX_PART_MAX)
		return -EINVAL;
	memcpy(&header, part, sizeof header);
	size_t data_bytes = bytes - sizeof header;
	if (header.from >= (uint32_t)ranks || header.class >= MBOX_CLASSES)
		return -EINVAL;
	if (header.total > PTRDIFF_MAX || header.offset > header.total ||
	    data_bytes > header.total - header.offset)
		return -EINVAL;
	if (data_bytes == 0 && header.total != 0)
		return -EINVAL;
	*ret_part = (struct mbox_part){
		.from = (int)header.from,
		.class = (enum mbox_class)header.class,
		.tag = header.tag,
		.total = header.total,
		.offset = header.offset,
		.data = (const char *)part + sizeof header,
		.bytes = data_bytes,
	};
	return 0;
}

void mbox_part_encode(const struct mbox_part *part, void *ret_header)
{
	struct header header = {
		.from = (uint32_t)part->from,
		.class = (uint32_t)part->class,
		.tag = part->tag,
		.total = part->total,
		.offset = part->offset,
	};

	memcpy(ret_header, &header, sizeof header);
}
