/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing of packs: segments go into the pack that is open; all packs of a piece of work become
 * durable, and known, together.
 *
 * Segments come from several threads and are appended under a lock, encrypted there too, as the
 * number of a segment, which is its nonce, is its place. They are gathered in a ring of buffers
 * that a thread writes out, so that the others have the processors while the medium works.
 * Buffers are whole pages, as a directory takes them past the page cache. A pack that has grown
 * to PACK_BYTES_MAX is ended and another one begun, except in an export, which is one pack.
 */
#include "store/pack_set.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/store_priv.h"

/* So much is written at a time. A segment and what goes before it are less. */
enum { BUFFERS = 4, BUFFER_BYTES = 1 << 20, BUFFER_ALIGN = 4096 };

_Static_assert(PACK_HEADER_BYTES + SEGMENT_STORED_MAX + CRYPT_TAG_BYTES <= BUFFER_BYTES,
	       "what is appended fills a buffer once at most");

/* The pack that is being written. */
struct open_pack {
	struct pack *pack;
	struct backend_writer *writer; /* or the set's stream */
	uint8_t header[PACK_HEADER_BYTES];
	size_t segment_room, chunk_room;
};

struct pack_set {
	struct store *store;
	pack_append_fn append; /* NULL: the backend */
	void *append_arg;
	struct pack **packs; /* durable ones */
	size_t pack_count;
	uint64_t bytes;
	int64_t write_ns;
	struct err failure; /* code: the open pack lacks bytes, nothing goes behind them */
	pthread_mutex_t lock;
	pthread_cond_t filled, written;
	struct open_pack open;
	uint8_t *ring;    /* BUFFERS of them */
	size_t fill;      /* bytes in the buffer that is being filled */
	uint64_t full;    /* buffers that were filled, so far */
	uint64_t out;     /* of those, written */
	bool ending_pack; /* nothing is appended meanwhile */
	bool ending;
	bool has_thread;
	pthread_t thread;
};

int pack_set_create(struct store *store, struct pack_set **ret_set, struct err *err)
{
	return pack_set_create_stream(store, NULL, NULL, ret_set, err);
}

int pack_set_create_stream(struct store *store, pack_append_fn append, void *arg,
			   struct pack_set **ret_set, struct err *err)
{
	struct pack_set *set = calloc(1, sizeof(*set));

	if (!set)
		return err_sys(err, ENOMEM, "packs");
	set->store = store;
	set->append = append;
	set->append_arg = arg;
	pthread_mutex_init(&set->lock, NULL);
	pthread_cond_init(&set->filled, NULL);
	pthread_cond_init(&set->written, NULL);
	set->ring = aligned_alloc(BUFFER_ALIGN, (size_t)BUFFERS * BUFFER_BYTES);
	if (!set->ring) {
		pack_set_destroy(set);
		return err_sys(err, ENOMEM, "packs");
	}
	*ret_set = set;
	return 0;
}

static uint8_t *buffer_of(const struct pack_set *set, uint64_t number)
{
	return set->ring + number % BUFFERS * BUFFER_BYTES;
}

/* The set is good for nothing from now on; lock held. */
static int set_fail(struct pack_set *set, int rc, const struct err *fault)
{
	if (rc < 0 && !set->failure.code) {
		set->failure = *fault;
		set->failure.code = -rc;
	}
	return rc;
}

/* Write to the open pack, or to the stream. By one thread at a time. */
static int open_out(struct pack_set *set, const void *data, size_t len, int64_t *io_ns,
		    struct err *err)
{
	struct backend *backend = set->store->backend;
	int64_t begin_ns = clock_mono_ns();
	int rc = 0;

	if (len)
		rc = set->append ? set->append(data, len, set->append_arg, err)
				 : backend->ops->append(set->open.writer, data, len, err);
	*io_ns += clock_mono_ns() - begin_ns;
	return rc;
}

/* The thread: buffers leave in the order in which they were filled. After a failure, or when
 * nobody wants them any more, they are only emptied. */
static void *set_write(void *arg)
{
	struct pack_set *set = arg;

	pthread_mutex_lock(&set->lock);
	for (;;) {
		struct err fault = ERR_INIT;
		int64_t ns = 0;
		int rc = 0;

		while (set->out == set->full && !set->ending)
			pthread_cond_wait(&set->filled, &set->lock);
		if (set->out == set->full)
			break;
		if (!set->failure.code && !set->ending) {
			pthread_mutex_unlock(&set->lock);
			rc = open_out(set, buffer_of(set, set->out), BUFFER_BYTES, &ns, &fault);
			pthread_mutex_lock(&set->lock);
		}
		set_fail(set, rc, &fault);
		set->write_ns += ns;
		set->out++;
		pthread_cond_broadcast(&set->written);
	}
	pthread_mutex_unlock(&set->lock);
	return NULL;
}

/* Append to the open pack; lock held, and the next buffer is empty. */
static void gather(struct pack_set *set, const void *data, size_t len)
{
	size_t room = BUFFER_BYTES - set->fill, first = len < room ? len : room;

	memcpy(buffer_of(set, set->full) + set->fill, data, first);
	set->fill += first;
	if (set->fill == BUFFER_BYTES) {
		set->full++;
		set->fill = len - first;
		memcpy(buffer_of(set, set->full), (const uint8_t *)data + first, set->fill);
		pthread_cond_signal(&set->filled);
	}
	set->bytes += len;
	set->open.pack->bytes += len;
}

/* Wait until something can be appended; lock held. */
static void room_wait(struct pack_set *set)
{
	while (set->ending_pack || set->full - set->out > BUFFERS - 2)
		pthread_cond_wait(&set->written, &set->lock);
}

/* See to it that full buffers are written: by the thread, or here where none can be had. Lock
 * held. */
static int full_write(struct pack_set *set, struct err *err)
{
	int rc = 0;

	if (!set->has_thread)
		set->has_thread = pthread_create(&set->thread, NULL, set_write, set) == 0;
	while (!set->has_thread && set->out < set->full && rc == 0) {
		rc = open_out(set, buffer_of(set, set->out), BUFFER_BYTES, &set->write_ns, err);
		set->out++;
	}
	return rc;
}

/* End the thread; buffers that are full are dropped. */
static void thread_end(struct pack_set *set)
{
	if (!set->has_thread)
		return;
	pthread_mutex_lock(&set->lock);
	set->ending = true;
	pthread_cond_signal(&set->filled);
	pthread_mutex_unlock(&set->lock);
	pthread_join(set->thread, NULL);
	set->has_thread = false;
	set->ending = false;
}

void pack_set_drain(struct pack_set *set)
{
	pthread_mutex_lock(&set->lock);
	while (set->out < set->full && !set->failure.code)
		pthread_cond_wait(&set->written, &set->lock);
	pthread_mutex_unlock(&set->lock);
	thread_end(set);
}

static int open_begin(struct pack_set *set, struct err *err)
{
	struct backend *backend = set->store->backend;
	struct open_pack *open = &set->open;
	struct pack *pack = calloc(1, sizeof(*pack));
	char object[PACK_OBJECT_MAX];
	int rc = 0;

	*open = (struct open_pack){.pack = pack};
	if (!pack)
		return err_sys(err, ENOMEM, "pack");
	pack->header.encrypted = set->store->crypt != NULL;
	if (getrandom(pack->header.id, sizeof(pack->header.id), 0) != sizeof(pack->header.id))
		return err_sys(err, errno, "no random number for a pack");
	pack_name(pack->header.id, pack->name);
	if (pack->header.encrypted)
		rc = crypt_object_key(set->store->crypt, pack->header.id, pack->key, err);
	pack_object("packs", pack->name, object);
	if (rc == 0 && !set->append)
		rc = backend->ops->begin(backend, object, &open->writer, err);
	if (rc < 0)
		return rc;
	pack_header_encode(&pack->header, open->header);
	gather(set, open->header, sizeof(open->header));
	return 0;
}

static void open_drop(struct pack_set *set)
{
	if (set->open.writer)
		set->store->backend->ops->abort(set->open.writer);
	pack_destroy(set->open.pack);
	set->open = (struct open_pack){0};
}

static int grow(void **array, size_t *room, size_t need, size_t item, struct err *err)
{
	size_t more = *room ? *room : 256;
	void *grown;

	if (need <= *room)
		return 0;
	while (more < need)
		more *= 2;
	grown = reallocarray(*array, more, item);
	if (!grown)
		return err_sys(err, ENOMEM, "index of a pack");
	*array = grown;
	*room = more;
	return 0;
}

/* Note the segment in the index of the open pack. */
static int open_note(struct pack_set *set, const struct segment_image *image, struct err *err)
{
	struct open_pack *open = &set->open;
	struct pack *pack = open->pack;
	int rc = grow((void **)&pack->segments, &open->segment_room,
		      (size_t)pack->segment_count + 1, sizeof(*pack->segments), err);

	if (rc == 0)
		rc = grow((void **)&pack->chunks, &open->chunk_room,
			  (size_t)pack->chunk_count + image->entry.chunk_count,
			  sizeof(*pack->chunks), err);
	if (rc < 0)
		return rc;
	pack->segments[pack->segment_count] = image->entry;
	pack->segments[pack->segment_count].first_chunk = pack->chunk_count;
	for (uint32_t i = 0, offset = 0; i < image->entry.chunk_count; i++) {
		struct pack_chunk *chunk = &pack->chunks[pack->chunk_count++];

		*chunk = image->chunks[i];
		chunk->segment = pack->segment_count;
		chunk->offset = offset;
		offset += chunk->bytes;
	}
	pack->segment_count++;
	return 0;
}

static bool open_full(const struct pack_set *set, const struct segment_image *image)
{
	const struct pack *pack = set->open.pack;

	return !set->append && (pack->bytes + image->entry.stored_bytes > PACK_BYTES_MAX ||
				pack->segment_count == PACK_SEGMENTS_MAX ||
				pack->chunk_count + image->entry.chunk_count > PACK_CHUNKS_MAX);
}

static int open_end(struct pack_set *set, struct err *err);

static int add_locked(struct pack_set *set, struct segment_image *image, struct err *err)
{
	struct pack *pack;
	int rc = 0;

	if (set->open.pack && open_full(set, image))
		rc = open_end(set, err);
	if (rc == 0 && !set->open.pack)
		rc = open_begin(set, err);
	if (rc < 0)
		return rc;
	pack = set->open.pack;
	image->entry.offset = pack->bytes;
	if (pack->header.encrypted) {
		rc = crypt_seal(pack->key, pack->segment_count, image->stored,
				image->entry.stored_bytes, image->stored, err);
		image->entry.stored_bytes += CRYPT_TAG_BYTES;
	}
	if (rc < 0)
		return rc;
	image->entry.check = pack_check_sum(image->stored, image->entry.stored_bytes);
	gather(set, image->stored, image->entry.stored_bytes);
	return open_note(set, image, err);
}

int pack_set_add(struct pack_set *set, struct segment_image *image, struct err *err)
{
	struct err fault = ERR_INIT;
	int rc = 0;

	pthread_mutex_lock(&set->lock);
	room_wait(set);
	if (!set->failure.code)
		set_fail(set, add_locked(set, image, &fault), &fault);
	if (set->full > set->out && !set->failure.code)
		set_fail(set, full_write(set, &fault), &fault);
	if (set->failure.code)
		rc = err_set(err, set->failure.code, "%s", set->failure.msg);
	pthread_mutex_unlock(&set->lock);
	return rc;
}

/* What is gathered, index and footer. */
static int open_close(struct pack_set *set, struct err *err)
{
	struct pack *pack = set->open.pack;
	size_t raw_bytes = pack_index_raw_bytes(pack->segment_count, pack->chunk_count);
	CLEANUP_FREE uint8_t *index = malloc(raw_bytes + CRYPT_TAG_BYTES);
	struct pack_footer footer = {
		.index_offset = pack->bytes,
		.index_bytes = raw_bytes,
		.segment_count = pack->segment_count,
		.chunk_count = pack->chunk_count,
	};
	uint8_t raw[PACK_FOOTER_BYTES];
	int rc = 0;

	if (!index)
		return err_sys(err, ENOMEM, "index of a pack");
	pack_index_encode(pack->segments, pack->segment_count, pack->chunks, pack->chunk_count,
			  index);
	if (pack->header.encrypted) {
		rc = crypt_seal(pack->key, PACK_INDEX_NUMBER, index, raw_bytes, index, err);
		footer.index_bytes += CRYPT_TAG_BYTES;
	}
	if (rc == 0)
		rc = pack_footer_encode(&footer, set->open.header, index, raw, err);
	if (rc < 0)
		return rc;
	rc = open_out(set, buffer_of(set, set->full), set->fill, &set->write_ns, err);
	set->fill = 0;
	if (rc == 0)
		rc = open_out(set, index, footer.index_bytes, &set->write_ns, err);
	if (rc == 0)
		rc = open_out(set, raw, sizeof(raw), &set->write_ns, err);
	pack->bytes += footer.index_bytes + sizeof(raw);
	set->bytes += footer.index_bytes + sizeof(raw);
	return rc;
}

/* End the open pack, with nothing on its way: it is durable afterwards, and in the set's list.
 */
static int open_commit(struct pack_set *set, struct err *err)
{
	struct backend *backend = set->store->backend;
	struct pack **more =
		reallocarray(set->packs, set->pack_count + 1, sizeof(struct pack *));
	int64_t begin_ns;
	int rc;

	if (!more)
		return err_sys(err, ENOMEM, "packs");
	set->packs = more;
	rc = open_close(set, err);
	begin_ns = clock_mono_ns();
	if (rc == 0 && !set->append)
		rc = backend->ops->commit(TAKE_PTR(set->open.writer), err);
	set->write_ns += clock_mono_ns() - begin_ns;
	if (rc < 0)
		return rc;
	set->packs[set->pack_count++] = TAKE_PTR(set->open.pack);
	set->open = (struct open_pack){0};
	return 0;
}

static int open_end(struct pack_set *set, struct err *err)
{
	int rc;

	set->ending_pack = true;
	while (set->out < set->full)
		pthread_cond_wait(&set->written, &set->lock);
	rc = set->failure.code ? err_set(err, set->failure.code, "%s", set->failure.msg)
			       : open_commit(set, err);
	set->ending_pack = false;
	pthread_cond_broadcast(&set->written);
	return rc;
}

int pack_set_finish(struct pack_set *set, struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&set->lock);
	if (set->failure.code)
		rc = err_set(err, set->failure.code, "%s", set->failure.msg);
	/* An export has its pack even if there is nothing in it. */
	if (rc == 0 && !set->open.pack && set->append && set->pack_count == 0)
		rc = open_begin(set, err);
	if (rc == 0 && set->open.pack) {
		struct err fault = ERR_INIT;

		rc = set_fail(set, open_end(set, &fault), &fault);
		if (rc < 0)
			err_set(err, -rc, "%s", fault.msg);
	}
	pthread_mutex_unlock(&set->lock);
	if (rc == 0 && !set->append)
		governor_wrote(&set->store->governor, set->bytes, set->write_ns);
	return rc;
}

int pack_set_publish(struct pack_set *set, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < set->pack_count; i++) {
		int added = index_add(set->store->index, TAKE_PTR(set->packs[i]), err);

		if (rc == 0)
			rc = added;
	}
	set->pack_count = 0;
	return rc;
}

void pack_set_destroy(struct pack_set *set)
{
	if (!set)
		return;
	thread_end(set);
	if (set->open.pack)
		open_drop(set);
	/* Durable ones were there for others to see, who may rely on them already. */
	if (set->pack_count && !set->append)
		log_info("store=%s %zu packs are left for the next collection",
			 set->store->backend->where, set->pack_count);
	for (size_t i = 0; i < set->pack_count; i++)
		pack_destroy(set->packs[i]);
	free(set->packs);
	free(set->ring);
	pthread_cond_destroy(&set->filled);
	pthread_cond_destroy(&set->written);
	pthread_mutex_destroy(&set->lock);
	free(set);
}

uint64_t pack_set_bytes(const struct pack_set *set)
{
	return set->bytes;
}

int64_t pack_set_write_ns(const struct pack_set *set)
{
	return set->write_ns;
}
