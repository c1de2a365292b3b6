/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QEMU's stream of a background snapshot, decoded.
 *
 * Design notes
 *
 * The stream is that of a migration, version 3: a head, the section "configuration", then "ram"
 * in parts, its pages in no order, and behind its last part the sections of all devices. A
 * device's section tells no length, so only a QEMU can decode it. That is why the order
 * matters: what stands behind RAM is handed on as it is.
 *
 * RAM begins with a table of blocks: the guest's RAM, and the read-only memories of its
 * firmware. The latter are checked and left out, since a QEMU makes them anew at its start.
 * Each part of RAM is a row of words, an offset with flags in its low bits, each with what
 * belongs to it; it ends with a flag, and the section's footer.
 *
 * The bytes come from a QEMU that its guest may have taken over. What it says must fit into the
 * RAM that the machine is known to have, and all of that RAM must be there at the end; what the
 * pages hold is the guest's own affair.
 *
 * An item is decoded when all of it is there, and is small. So nothing of an item that was cut
 * is kept here: its bytes come again.
 */
#include "vm/ram/stream.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "vm/ram/capture.h"

/* Kinds of sections, and what ends one. */
enum {
	SECTION_START = 0x01,
	SECTION_PART = 0x02,
	SECTION_FULL = 0x04,
	SECTION_CONFIGURATION = 0x07,
	SECTION_FOOTER = 0x7e,
};

/* What the low bits of a word of RAM say. */
enum {
	RAM_ZERO = 0x02,
	RAM_BLOCKS = 0x04,
	RAM_PAGE = 0x08,
	RAM_EOS = 0x10,
	RAM_SAME_BLOCK = 0x20,
	RAM_FLAGS = RAM_PAGE_BYTES - 1,
};

enum { RAM_VERSION = 4, BLOCKS_MAX = 64, NAME_SIZE = 256, MACHINE_MAX = 256 };

#define STREAM_HEAD "QEVM\0\0\0\3"
#define RAM_SECTION "ram"

struct block {
	char name[NAME_SIZE];
	uint64_t bytes;
};

/* The bytes of the item that is decoded; `cut`: it goes on behind them. */
struct item {
	const uint8_t *at;
	size_t left;
	bool cut;
};

typedef int (*item_fn)(struct ram_stream *stream, struct item *item, struct err *err);

struct ram_stream {
	struct ram_stream_sink sink;
	item_fn next; /* what decodes the next item */
	uint32_t section;
	struct block blocks[BLOCKS_MAX];
	unsigned int block_count;
	uint64_t blocks_left; /* bytes of RAM whose blocks are still to come */
	const struct block *guest, *current;
	uint8_t *seen; /* a bit for each of the guest's pages */
	uint64_t pages_left;
	uint64_t device_bytes;
};

static const void *item_take(struct item *item, size_t len)
{
	const void *at = item->at;

	if (item->cut || item->left < len) {
		item->cut = true;
		return NULL;
	}
	item->at += len;
	item->left -= len;
	return at;
}

static uint8_t item_u8(struct item *item)
{
	const uint8_t *at = item_take(item, sizeof(*at));

	return at ? *at : 0;
}

static uint32_t item_u32(struct item *item)
{
	const void *at = item_take(item, sizeof(uint32_t));
	uint32_t value = 0;

	if (at)
		memcpy(&value, at, sizeof(value));
	return be32toh(value);
}

static uint64_t item_u64(struct item *item)
{
	const void *at = item_take(item, sizeof(uint64_t));
	uint64_t value = 0;

	if (at)
		memcpy(&value, at, sizeof(value));
	return be64toh(value);
}

/* A length of one byte, and a name without NULs. */
static void item_name(struct item *item, char ret_name[NAME_SIZE])
{
	size_t len = item_u8(item);
	const char *at = item_take(item, len);

	if (at)
		memcpy(ret_name, at, len);
	ret_name[at ? len : 0] = '\0';
}

static int refuse(struct err *err, const char *what)
{
	return err_set(err, EPROTO, "QEMU's stream of a background snapshot is not known: %s",
		       what);
}

static int next_section(struct ram_stream *stream, struct item *item, struct err *err);
static int next_word(struct ram_stream *stream, struct item *item, struct err *err);

static int next_devices(struct ram_stream *stream, struct item *item, struct err *err)
{
	size_t len = item->left;
	const void *at = item_take(item, len);

	stream->device_bytes += len;
	return stream->sink.devices(stream->sink.arg, at, len, err);
}

/* RAM. */

static const struct block *block_find(const struct ram_stream *stream, const char *name)
{
	for (unsigned int i = 0; i < stream->block_count; i++)
		if (!strcmp(stream->blocks[i].name, name))
			return &stream->blocks[i];
	return NULL;
}

static int block_add(struct ram_stream *stream, const struct block *block, struct err *err)
{
	if (stream->block_count == BLOCKS_MAX)
		return refuse(err, "too many blocks of RAM");
	if (!block->bytes || block->bytes % RAM_PAGE_BYTES ||
	    block->bytes > stream->blocks_left)
		return refuse(err, "the size of a block of RAM");
	if (block_find(stream, block->name))
		return refuse(err, "two blocks of RAM have one name");
	stream->blocks[stream->block_count] = *block;
	if (!strcmp(block->name, stream->sink.block)) {
		if (block->bytes != stream->sink.bytes)
			return refuse(err, "the guest's RAM has another size");
		stream->guest = &stream->blocks[stream->block_count];
	}
	stream->block_count++;
	stream->blocks_left -= block->bytes;
	return 0;
}

static int next_block(struct ram_stream *stream, struct item *item, struct err *err)
{
	struct block block;
	int rc;

	item_name(item, block.name);
	block.bytes = item_u64(item);
	if (item->cut)
		return 0;
	rc = block_add(stream, &block, err);
	if (rc < 0)
		return rc;
	if (stream->blocks_left > 0)
		return 0;
	stream->next = next_word;
	return stream->guest ? 0 : refuse(err, "the guest's RAM is not in it");
}

static int blocks_begin(struct ram_stream *stream, uint64_t bytes, const struct item *item,
			struct err *err)
{
	if (item->cut)
		return 0;
	if (stream->block_count > 0 || bytes == 0)
		return refuse(err, "the table of RAM's blocks");
	stream->blocks_left = bytes;
	stream->next = next_block;
	return 0;
}

static void guest_page(struct ram_stream *stream, uint64_t offset, const void *page)
{
	uint64_t number = offset / RAM_PAGE_BYTES;
	uint8_t bit = (uint8_t)(1 << number % 8);

	if (!(stream->seen[number / 8] & bit)) {
		stream->seen[number / 8] |= bit;
		stream->pages_left--;
	}
	stream->sink.page(stream->sink.arg, offset, page);
}

static int page_take(struct ram_stream *stream, uint64_t offset, unsigned int flags,
		     struct item *item, struct err *err)
{
	const struct block *block = stream->current;
	const void *page = NULL;
	char name[NAME_SIZE];

	if (!(flags & RAM_SAME_BLOCK)) {
		item_name(item, name);
		block = item->cut ? NULL : block_find(stream, name);
	}
	if (flags & RAM_PAGE)
		page = item_take(item, RAM_PAGE_BYTES);
	else if (item_u8(item) != 0)
		return refuse(err, "a page is filled with something else than zeros");
	if (item->cut)
		return 0;
	if (!block)
		return refuse(err, "a page of no block of RAM");
	if (offset >= block->bytes)
		return refuse(err, "a page behind the end of its block of RAM");
	stream->current = block;
	if (block == stream->guest)
		guest_page(stream, offset, page);
	return 0;
}

static int next_footer(struct ram_stream *stream, struct item *item, struct err *err)
{
	uint8_t kind = item_u8(item);
	uint32_t section = item_u32(item);

	if (item->cut)
		return 0;
	if (kind != SECTION_FOOTER || section != stream->section)
		return refuse(err, "the end of a part of RAM");
	stream->next = next_section;
	return 0;
}

static int next_word(struct ram_stream *stream, struct item *item, struct err *err)
{
	uint64_t word = item_u64(item);
	uint64_t offset = word & ~(uint64_t)RAM_FLAGS;
	unsigned int flags = word & RAM_FLAGS;

	switch (flags) {
	case RAM_BLOCKS: return blocks_begin(stream, offset, item, err);
	case RAM_PAGE:
	case RAM_PAGE | RAM_SAME_BLOCK:
	case RAM_ZERO:
	case RAM_ZERO | RAM_SAME_BLOCK: return page_take(stream, offset, flags, item, err);
	case RAM_EOS: stream->next = next_footer; return 0;
	default: return item->cut ? 0 : refuse(err, "the flags of a page");
	}
}

/* Sections up to the devices. */

static int section_begin(struct ram_stream *stream, struct item *item, struct err *err)
{
	char name[NAME_SIZE];
	uint32_t section = item_u32(item), version;

	item_name(item, name);
	item_u32(item); /* number of the instance */
	version = item_u32(item);
	if (item->cut)
		return 0;
	if (stream->block_count > 0 || strcmp(name, RAM_SECTION) != 0)
		return refuse(err, "something else than RAM comes in parts");
	if (version != RAM_VERSION)
		return refuse(err, "the version of RAM");
	stream->section = section;
	stream->next = next_word;
	return 0;
}

static int section_continue(struct ram_stream *stream, struct item *item, struct err *err)
{
	uint32_t section = item_u32(item);

	if (item->cut)
		return 0;
	if (stream->block_count == 0 || section != stream->section)
		return refuse(err, "a part of what has not begun");
	stream->next = next_word;
	return 0;
}

static int configuration(struct item *item, struct err *err)
{
	uint32_t len = item_u32(item);

	if (len > MACHINE_MAX)
		return refuse(err, "the name of the machine");
	item_take(item, len);
	return 0;
}

/* The first device's section, of which nothing is used up. */
static int devices_begin(struct ram_stream *stream, struct err *err)
{
	if (stream->block_count == 0 || stream->blocks_left > 0 || stream->pages_left > 0)
		return refuse(err, "devices come before all of the guest's RAM");
	stream->next = next_devices;
	return 0;
}

static int next_section(struct ram_stream *stream, struct item *item, struct err *err)
{
	if (item->at[0] == SECTION_FULL)
		return devices_begin(stream, err);
	switch (item_u8(item)) {
	case SECTION_CONFIGURATION: return configuration(item, err);
	case SECTION_START: return section_begin(stream, item, err);
	case SECTION_PART: return section_continue(stream, item, err);
	default: return refuse(err, "a kind of section");
	}
}

static int next_head(struct ram_stream *stream, struct item *item, struct err *err)
{
	const void *head = item_take(item, sizeof(STREAM_HEAD) - 1);

	if (!head)
		return 0;
	if (memcmp(head, STREAM_HEAD, sizeof(STREAM_HEAD) - 1) != 0)
		return refuse(err, "its head");
	stream->next = next_section;
	return 0;
}

struct ram_stream *ram_stream_create(const struct ram_stream_sink *sink, struct err *err)
{
	struct ram_stream *stream = calloc(1, sizeof(*stream));

	if (stream) {
		stream->sink = *sink;
		stream->next = next_head;
		stream->pages_left = sink->bytes / RAM_PAGE_BYTES;
		stream->seen = calloc(stream->pages_left / 8 + 1, 1);
	}
	if (!stream || !stream->seen) {
		err_sys(err, ENOMEM, "stream of a background snapshot");
		ram_stream_destroy(stream);
		return NULL;
	}
	return stream;
}

void ram_stream_destroy(struct ram_stream *stream)
{
	if (!stream)
		return;
	free(stream->seen);
	free(stream);
}

int ram_stream_feed(struct ram_stream *stream, const void *bytes, size_t len, size_t *ret_used,
		    struct err *err)
{
	struct item item = {.at = bytes, .left = len};

	*ret_used = 0;
	while (item.left > 0) {
		int rc = stream->next(stream, &item, err);

		if (rc < 0)
			return rc;
		if (item.cut)
			break;
		*ret_used = len - item.left;
	}
	return 0;
}

int ram_stream_end(const struct ram_stream *stream, size_t left, struct err *err)
{
	return stream->device_bytes > 0 && left == 0 ? 0 : refuse(err, "it ends too early");
}
