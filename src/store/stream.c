/* SPDX-License-Identifier: BSD-3-Clause */
/* Random reading of one stream, checked: for disks that are served to a VM from the store. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "store/chunk_reader.h"
#include "store/store_priv.h"
#include "store/tree.h"

enum { READERS = 8 };

/* Readers are lent to the calling threads; who finds none waits. */
struct store_stream {
	struct store *store;
	struct stream_ref ref;
	struct chunk_id *leaves;
	pthread_mutex_t lock;
	pthread_cond_t returned;
	struct chunk_reader *readers[READERS];
	unsigned int idle;
};

int store_stream_open(struct store *store, const struct stream_ref *ref,
		      struct store_stream **ret_stream, struct err *err)
{
	struct store_stream *stream = calloc(1, sizeof(*stream));
	int rc = 0;

	if (!stream)
		return err_sys(err, ENOMEM, "stream");
	stream->store = store;
	stream->ref = *ref;
	pthread_mutex_init(&stream->lock, NULL);
	pthread_cond_init(&stream->returned, NULL);
	index_hold(store->index);
	while (rc == 0 && stream->idle < READERS) {
		rc = chunk_reader_create(store, &stream->readers[stream->idle], err);
		stream->idle += rc == 0;
	}
	if (rc == 0)
		rc = tree_leaves(stream->readers[0], ref, &stream->leaves, err);
	if (rc < 0)
		store_stream_close(stream);
	else
		*ret_stream = stream;
	return rc;
}

void store_stream_close(struct store_stream *stream)
{
	if (!stream)
		return;
	while (stream->idle > 0)
		chunk_reader_destroy(stream->readers[--stream->idle]);
	index_drop(stream->store->index);
	pthread_cond_destroy(&stream->returned);
	pthread_mutex_destroy(&stream->lock);
	free(stream->leaves);
	free(stream);
}

static struct chunk_reader *reader_take(struct store_stream *stream)
{
	struct chunk_reader *reader;

	pthread_mutex_lock(&stream->lock);
	while (stream->idle == 0)
		pthread_cond_wait(&stream->returned, &stream->lock);
	reader = stream->readers[--stream->idle];
	pthread_mutex_unlock(&stream->lock);
	return reader;
}

static void reader_return(struct store_stream *stream, struct chunk_reader *reader)
{
	pthread_mutex_lock(&stream->lock);
	stream->readers[stream->idle++] = reader;
	pthread_cond_signal(&stream->returned);
	pthread_mutex_unlock(&stream->lock);
}

/* The part of [offset, offset + len) that lies in one block. */
static int block_read(struct store_stream *stream, struct chunk_reader *reader, uint64_t block,
		      uint64_t offset, uint8_t *buf, size_t len, struct err *err)
{
	uint8_t raw[CHUNK_BYTES_MAX];
	struct node_ids node;
	int rc = tree_leaf(reader, &stream->ref, block, &stream->leaves[block], &node, err);

	while (len > 0 && rc == 0) {
		const struct chunk_id *id = &node.ids[offset / PAGE_BYTES % NODE_FANOUT];
		size_t at = offset % PAGE_BYTES, part = PAGE_BYTES - at, have = PAGE_BYTES;

		if (part > len)
			part = len;
		if (chunk_id_is_zero(id))
			memset(buf, 0, part);
		else
			rc = chunk_read(reader, id, raw, &have, err);
		if (rc == 0 && !chunk_id_is_zero(id) && at + part > have)
			rc = err_set(err, EBADMSG, "a chunk of a stream is too short");
		if (rc == 0 && !chunk_id_is_zero(id))
			memcpy(buf, raw + at, part);
		buf += part;
		offset += part;
		len -= part;
	}
	return rc;
}

int store_stream_read(struct store_stream *stream, uint64_t offset, void *buf, size_t len,
		      struct err *err)
{
	struct chunk_reader *reader;
	uint8_t *at = buf;
	int rc = 0;

	if (offset > stream->ref.logical_bytes || len > stream->ref.logical_bytes - offset)
		return err_set(err, EINVAL, "a read behind the end of a stream");
	reader = reader_take(stream);
	while (len > 0 && rc == 0) {
		size_t part = BLOCK_BYTES - offset % BLOCK_BYTES;

		if (part > len)
			part = len;
		rc = block_read(stream, reader, offset / BLOCK_BYTES, offset, at, part, err);
		at += part;
		offset += part;
		len -= part;
	}
	reader_return(stream, reader);
	return rc;
}

int store_stream_extent(struct store_stream *stream, uint64_t offset, bool *ret_data,
			uint64_t *ret_end, struct err *err)
{
	uint64_t logical = stream->ref.logical_bytes, block = offset / BLOCK_BYTES, end;
	struct chunk_reader *reader;
	struct node_ids node;
	unsigned int page = offset / PAGE_BYTES % NODE_FANOUT;
	int rc;

	if (offset >= logical)
		return err_set(err, EINVAL, "an offset behind the end of a stream");
	reader = reader_take(stream);
	rc = tree_leaf(reader, &stream->ref, block, &stream->leaves[block], &node, err);
	reader_return(stream, reader);
	if (rc < 0)
		return rc;
	*ret_data = !chunk_id_is_zero(&node.ids[page]);
	while (page < NODE_FANOUT && chunk_id_is_zero(&node.ids[page]) == !*ret_data)
		page++;
	end = block * BLOCK_BYTES + (uint64_t)page * PAGE_BYTES;
	/* Whole blocks of zeros go together. */
	while (!*ret_data && end % BLOCK_BYTES == 0 && end < logical &&
	       chunk_id_is_zero(&stream->leaves[end / BLOCK_BYTES]))
		end += BLOCK_BYTES;
	*ret_end = end < logical ? end : logical;
	return 0;
}
