/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: whole packs, as they are and with their sums mended; then two of them with the
 * same chunks in one index. */
#include <stdlib.h>

#include "fuzz_packs.h"
#include "store/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Put the bytes into the backend as a pack of this number, and load it. */
static struct pack *load(struct backend *backend, uint8_t *raw, size_t size, uint8_t number)
{
	uint8_t id[PACK_ID_BYTES] = {number};
	char name[PACK_NAME_MAX], object[PACK_OBJECT_MAX];
	struct pack *pack;

	if (size >= PACK_HEADER_BYTES)
		memcpy(raw + 16, id, sizeof(id));
	pack_mend(raw, size);
	pack_name(id, name);
	pack_object("packs", name, object);
	if (backend_put(backend, object, raw, size, NULL) < 0 ||
	    pack_load(backend, NULL, name, size, &pack, NULL) < 0)
		abort();
	return pack;
}

/* Open all segments; chunks lie inside them. */
static void open_all(struct backend *backend, const struct pack *pack)
{
	uint8_t *scratch = malloc(SEGMENT_STORED_MAX), *raw = malloc(SEGMENT_RAW_MAX);

	if (!scratch || !raw || (pack->unreadable && pack->chunk_count))
		abort();
	for (uint32_t i = 0; i < pack->segment_count; i++) {
		const struct pack_segment *s = &pack->segments[i];
		const struct pack_chunk *last =
			&pack->chunks[s->first_chunk + s->chunk_count - 1];

		if (last->segment != i || last->offset + last->bytes != s->raw_bytes)
			abort();
		pack_segment_read(backend, pack, i, scratch, raw, NULL);
	}
	free(scratch);
	free(raw);
}

/* Every chunk is found, in the pack that is better. */
static void find_all(struct index *index, const struct pack *from, const struct pack *best)
{
	for (uint32_t i = 0; i < from->chunk_count; i++) {
		struct place place;
		bool known;

		if (!index_find(index, &from->chunks[i].id, &place) || place.pack != best ||
		    place.offset + place.bytes > best->segments[place.segment].raw_bytes)
			abort();
		index_known(index, &from->chunks[i].id, 1, &known);
		if (!known && !chunk_id_is_zero(&from->chunks[i].id))
			abort();
	}
}

static void index_both(struct backend *backend, uint8_t *raw, size_t size)
{
	struct pack *one = load(backend, raw, size, 1), *two = load(backend, raw, size, 2);
	struct index *index = index_create();

	if (!index || index_add(index, one, NULL) < 0 || index_add(index, two, NULL) < 0)
		abort();
	find_all(index, one, one);
	index_condemn(index, one->name, true);
	find_all(index, one, two);
	if (index_refresh(index, backend, NULL, NULL) < 0) /* it is not condemned there */
		abort();
	find_all(index, two, one);
	index_destroy(index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct backend *backend;
	struct pack_header header;
	struct pack_footer footer;
	uint8_t *raw = malloc(size + 1);
	struct pack *pack;
	char name[PACK_NAME_MAX];

	if (!raw || backend_open_memory("fuzz", &backend, NULL) < 0)
		abort();
	memcpy(raw, data, size);
	if (size >= PACK_HEADER_BYTES + PACK_FOOTER_BYTES) {
		char object[PACK_OBJECT_MAX];

		pack_header_decode(raw, "fuzz", &header, NULL);
		pack_footer_decode(raw + size - PACK_FOOTER_BYTES, size, false, "fuzz", &footer,
				   NULL);
		pack_name(raw + 16, name);
		pack_object("packs", name, object);
		if (backend_put(backend, object, raw, size, NULL) < 0 ||
		    pack_load(backend, NULL, name, size, &pack, NULL) < 0)
			abort();
		open_all(backend, pack);
		pack_destroy(pack);
		if (backend->ops->remove(backend, object, NULL) < 0)
			abort();
	}
	pack = load(backend, raw, size, 1);
	open_all(backend, pack);
	pack_destroy(pack);
	index_both(backend, raw, size);
	backend_close(backend);
	backend_memory_forget("fuzz");
	free(raw);
	return 0;
}
