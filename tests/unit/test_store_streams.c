/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of streams in the store: their trees, what is stored once, puts on a base, files, cost,
 * levels, filling and random reading. */
#include "store_fixture.h"

#include <stdatomic.h>

#include "base/parallel.h"
#include "store/hash.h"

static struct store_txn *begin(struct store *store)
{
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX];
	struct store_txn *txn;

	assert_ok(store_begin(store, "demo", id, &txn, &err));
	return txn;
}

static struct stream_ref put(struct store_txn *txn, const struct store_source *source)
{
	struct store_part part = {.source = source};
	struct store_work work = {.threads = 3};
	struct err err = ERR_INIT;

	assert_ok(store_txn_put(txn, &part, 1, &work, &err));
	return part.ref;
}

static struct stream_ref put_bytes(struct store_txn *txn, const uint8_t *bytes, size_t len)
{
	struct store_source source = memory_source(bytes, len);

	return put(txn, &source);
}

/* Commit a checkpoint all of whose streams are this one. */
static void commit(struct store_txn *txn, const struct stream_ref *ref)
{
	const struct stream_ref refs[3] = {*ref, *ref, *ref};
	json_t *manifest = manifest_make("demo", "", 1, refs, refs);
	struct err err = ERR_INIT;

	assert_ok(store_commit(txn, manifest, &err));
	json_decref(manifest);
}

/* As chunk.h has it: pages that are not all zero, a short last one as it is. */
static uint64_t data_bytes(const uint8_t *bytes, size_t len)
{
	static const uint8_t zeros[PAGE_BYTES];
	uint64_t sum = 0;

	for (size_t at = 0; at < len; at += PAGE_BYTES) {
		size_t part = len - at < PAGE_BYTES ? len - at : PAGE_BYTES;

		sum += memcmp(bytes + at, zeros, part) ? part : 0;
	}
	return sum;
}

/* The root as docs/formats/tree.md defines it, by a second, simpler implementation. */
static struct chunk_id node_id(const struct chunk_id *ids, size_t count)
{
	uint8_t raw[CHUNK_BYTES_MAX] = {0};
	struct chunk_id id = {0};
	size_t len = 32;

	for (size_t i = 0; i < count; i++) {
		if (chunk_id_is_zero(&ids[i]))
			continue;
		raw[i / 8] |= (uint8_t)(1 << i % 8);
		memcpy(raw + len, ids[i].bytes, 32);
		len += 32;
	}
	if (len > 32)
		hash_sha256(&(struct iovec){raw, len}, 1, id.bytes, NULL);
	return id;
}

static struct chunk_id root_of(const uint8_t *bytes, size_t len)
{
	size_t count = (len + PAGE_BYTES - 1) / PAGE_BYTES;
	struct chunk_id *ids = calloc(count + 1, sizeof(*ids)), root;

	for (size_t i = 0; i < count; i++) {
		size_t at = i * PAGE_BYTES,
		       part = len - at < PAGE_BYTES ? len - at : PAGE_BYTES;

		if (data_bytes(bytes + at, part))
			hash_sha256(&(struct iovec){(void *)(uintptr_t)(bytes + at), part}, 1,
				    ids[i].bytes, NULL);
	}
	while (count > 0) {
		size_t above = (count + NODE_FANOUT - 1) / NODE_FANOUT;

		for (size_t i = 0; i < above; i++) {
			size_t first = i * NODE_FANOUT, left = count - first;

			ids[i] = node_id(ids + first, left < NODE_FANOUT ? left : NODE_FANOUT);
		}
		count = above > 1 ? above : 0;
	}
	root = ids[0];
	free(ids);
	return root;
}

static const size_t sizes[] = {
	0,
	1,
	4095,
	4096,
	4097,
	8192,
	BLOCK_BYTES - 1,
	BLOCK_BYTES,
	BLOCK_BYTES + 1,
	2 * BLOCK_BYTES,
	2 * BLOCK_BYTES + PAGE_BYTES,
	MEMORY_BYTES,
};

enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static void test_sizes(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct store_txn *txn = begin(store);
	struct stream_ref refs[SIZES], last;

	for (uint32_t i = 0; i < SIZES; i++) {
		uint8_t *bytes = memory_make(sizes[i], i);
		struct chunk_id root = root_of(bytes, sizes[i]);

		refs[i] = put_bytes(txn, bytes, sizes[i]);
		assert_int_equal(refs[i].logical_bytes, sizes[i]);
		assert_int_equal(refs[i].data_bytes, data_bytes(bytes, sizes[i]));
		assert_memory_equal(&refs[i].root, &root, sizeof(root));
		last = refs[i];
		free(bytes);
	}
	commit(txn, &last);
	for (uint32_t i = 0; i < SIZES; i++) {
		uint8_t *bytes = memory_make(sizes[i], i);

		check_stream(store, &refs[i], bytes, sizes[i]);
		free(bytes);
	}
	store_close(store);
}

/* More than one level of nodes, with and without blocks in it. */
static void test_tall_tree(void **state)
{
	const struct fixture *fx = *state;
	const size_t len = (size_t)(NODE_FANOUT + 2) * BLOCK_BYTES + 100;
	struct store *store = open_store(fx);
	struct store_txn *txn = begin(store);
	uint8_t *bytes = calloc(1, len);
	struct store_cost cost;
	struct stream_ref ref, zeros;
	struct chunk_id root;

	assert_non_null(bytes);
	zeros = put_bytes(txn, bytes, len);
	assert_true(chunk_id_is_zero(&zeros.root));
	assert_int_equal(zeros.data_bytes, 0);
	bytes[5] = 1;
	bytes[(size_t)NODE_FANOUT * BLOCK_BYTES - 1] = 2;
	bytes[(size_t)NODE_FANOUT * BLOCK_BYTES] = 3;
	bytes[len - 1] = 4;
	ref = put_bytes(txn, bytes, len);
	root = root_of(bytes, len);
	assert_memory_equal(&ref.root, &root, sizeof(root));
	assert_int_equal(ref.data_bytes, 3 * PAGE_BYTES + 100);
	store_txn_cost(txn, &cost);
	assert_int_equal(cost.logical_bytes, 2 * len);
	assert_int_equal(cost.data_bytes, ref.data_bytes);
	assert_int_equal(cost.new_bytes, ref.data_bytes);
	commit(txn, &ref);
	check_stream(store, &ref, bytes, len);
	memset(bytes, 0, len);
	check_stream(store, &zeros, bytes, len);
	free(bytes);
	store_close(store);
}

static uint64_t new_bytes(const struct store_txn *txn)
{
	struct store_cost cost;

	store_txn_cost(txn, &cost);
	return cost.new_bytes;
}

static void test_stored_once(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct store_txn *txn = begin(store);
	uint8_t *a = memory_make(MEMORY_BYTES, 1), *twice = calloc(2, MEMORY_BYTES);
	uint64_t data = data_bytes(a, MEMORY_BYTES), before;
	struct store_part parts[4];
	struct store_source source = memory_source(a, MEMORY_BYTES);
	struct store_work work = {.threads = 4};
	struct err err = ERR_INIT;

	/* Streams of one put that are equal, by several threads. */
	for (int i = 0; i < 4; i++)
		parts[i] = (struct store_part){.source = &source};
	assert_ok(store_txn_put(txn, parts, 4, &work, &err));
	assert_int_equal(new_bytes(txn), data);
	/* Within a stream, at other offsets; only the last, short page is new. */
	memcpy(twice, a, 3 * BLOCK_BYTES);
	memcpy(twice + 3 * BLOCK_BYTES, a, 3 * BLOCK_BYTES);
	put_bytes(txn, twice, 6 * BLOCK_BYTES);
	assert_int_equal(new_bytes(txn), data);
	commit(txn, &parts[2].ref);
	/* Between checkpoints; and the store has only nodes to add for pages that it has. */
	txn = begin(store);
	assert_memory_equal(&(struct stream_ref[1]){put_bytes(txn, a, MEMORY_BYTES)},
			    &parts[0].ref, sizeof(parts[0].ref));
	assert_int_equal(new_bytes(txn), 0);
	a[0] ^= 1;
	before = new_bytes(txn);
	put_bytes(txn, a, MEMORY_BYTES);
	assert_int_equal(new_bytes(txn) - before, PAGE_BYTES);
	store_abort(txn);
	free(twice);
	free(a);
	store_close(store);
}

static void test_images_share(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct store_txn *txn = begin(store);
	struct stream_ref image, stream;
	struct err err = ERR_INIT;
	char *bytes;
	size_t len;
	uint64_t before;

	assert_ok(store_txn_put_file(txn, fx->file[2], &image, NULL, &err));
	assert_ok(io_read_file(fx->file[2], 1 << 20, &bytes, &len, &err));
	before = new_bytes(txn);
	assert_int_equal(before, data_bytes((uint8_t *)bytes, len));
	stream = put_bytes(txn, (uint8_t *)bytes, len);
	assert_memory_equal(&image, &stream, sizeof(image));
	assert_int_equal(new_bytes(txn), before);
	store_abort(txn);
	free(bytes);
	store_close(store);
}

/* Puts on a base. */

struct based {
	const uint8_t *bytes, *base_bytes;
	size_t len, base_len;
	atomic_uint blocks; /* that were asked for */
	bool all;           /* say that everything changed */
};

static int based_block(void *arg, uint64_t offset, uint32_t len, void *scratch,
		       const void **ret_data, struct err *err)
{
	struct based *b = arg;

	(void)err;
	atomic_fetch_add(&b->blocks, 1);
	memcpy(scratch, b->bytes + offset, len);
	*ret_data = scratch;
	return 0;
}

static bool based_changed(void *arg, uint64_t offset, uint32_t len,
			  uint8_t bitmap[NODE_FANOUT / 8])
{
	const struct based *b = arg;
	bool any = false;

	for (size_t page = 0; page * PAGE_BYTES < len; page++) {
		size_t at = offset + page * PAGE_BYTES, part = len - page * PAGE_BYTES;

		if (part > PAGE_BYTES)
			part = PAGE_BYTES;
		/* What is behind the base's end need not be told. */
		if (at >= b->base_len && !b->all)
			continue;
		if (at + part > b->base_len)
			part = at < b->base_len ? b->base_len - at : 0;
		if (!b->all && !memcmp(b->bytes + at, b->base_bytes + at, part))
			continue;
		bitmap[page / 8] |= (uint8_t)(1 << page % 8);
		any = true;
	}
	return any;
}

static uint64_t based_next(void *arg, uint64_t offset)
{
	(void)arg;
	return offset;
}

static struct stream_ref put_based(struct store_txn *txn, struct based *b,
				   const struct stream_ref *base)
{
	struct store_source source = {
		.logical_bytes = b->len,
		.next_data = based_next,
		.block = based_block,
		.base = base,
		.changed = based_changed,
		.arg = b,
	};

	return put(txn, &source);
}

/* Change some pages: `kind` 0 none, 1 one byte, 2 some pages to zero and zero pages to data, 3
 * everything. */
static void change(uint8_t *bytes, size_t len, int kind, uint32_t seed)
{
	if (kind == 1 && len)
		bytes[len / 2] ^= 0x55;
	for (size_t at = 0; kind == 2 && at < len; at += 7 * PAGE_BYTES)
		for (size_t i = at; i < at + PAGE_BYTES && i < len; i++)
			bytes[i] = bytes[i] ? 0 : (uint8_t)(i * seed + 1);
	if (kind == 3)
		memory_fill(bytes, len, seed + 1000);
}

static void check_based(struct store_txn *txn, size_t base_len, size_t len, int kind)
{
	size_t most = base_len > len ? base_len : len;
	uint8_t *old = memory_make(most, 40), *new = memory_make(most, 40);
	struct based b = {.bytes = new, .base_bytes = old, .len = len, .base_len = base_len};
	struct stream_ref base = put_bytes(txn, old, base_len), with, without;

	change(new, len, kind, 9);
	with = put_based(txn, &b, &base);
	without = put_bytes(txn, new, len);
	if (!stream_ref_equal(&with, &without))
		fail_msg("from %zu to %zu bytes, change %d: data %llu, want %llu; roots are %s",
			 base_len, len, kind, (unsigned long long)with.data_bytes,
			 (unsigned long long)without.data_bytes,
			 chunk_id_equal(&with.root, &without.root) ? "equal" : "not equal");
	assert_int_equal(with.data_bytes, data_bytes(new, len));
	if (kind == 0 && base_len == len)
		assert_int_equal(b.blocks, 0);
	free(old);
	free(new);
}

static void test_base(void **state)
{
	static const size_t lens[] = {0,
				      1,
				      5000,
				      8192,
				      9000,
				      BLOCK_BYTES - 5000,
				      BLOCK_BYTES,
				      BLOCK_BYTES + 1,
				      2 * BLOCK_BYTES - 3,
				      3 * BLOCK_BYTES + 7 * PAGE_BYTES};
	enum { LENS = sizeof(lens) / sizeof(lens[0]) };
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	uint8_t *anchor = memory_make(lens[LENS - 1], 40);
	struct store_txn *txn = begin(store);
	struct stream_ref ref = put_bytes(txn, anchor, lens[LENS - 1]);

	/* Bases of the transactions are streams that exist. */
	for (size_t i = 0; i < LENS; i++)
		put_bytes(txn, anchor, lens[i]);
	commit(txn, &ref);
	txn = begin(store);
	for (size_t i = 0; i < LENS; i++)
		for (size_t j = 0; j < LENS; j++)
			for (int kind = 0; kind < 4; kind++)
				check_based(txn, lens[i], lens[j], kind);
	store_abort(txn);
	free(anchor);
	store_close(store);
}

/* Every page is said to have changed, and none did: nothing is new, everything was looked at.
 */
static void test_base_cost(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	uint8_t *bytes = memory_make(MEMORY_BYTES, 3);
	struct based b = {.bytes = bytes,
			  .base_bytes = bytes,
			  .len = MEMORY_BYTES,
			  .base_len = MEMORY_BYTES};
	struct store_txn *txn = begin(store);
	struct stream_ref base = put_bytes(txn, bytes, MEMORY_BYTES), ref;
	struct store_cost cost;

	commit(txn, &base);
	txn = begin(store);
	ref = put_based(txn, &b, &base);
	assert_true(stream_ref_equal(&ref, &base));
	store_txn_cost(txn, &cost);
	assert_int_equal(cost.taken_bytes, 0);
	assert_int_equal(cost.stored_bytes, 0);
	assert_int_equal(cost.data_bytes, base.data_bytes);
	b.all = true;
	ref = put_based(txn, &b, &base);
	assert_true(stream_ref_equal(&ref, &base));
	store_txn_cost(txn, &cost);
	assert_int_equal(cost.taken_bytes, base.data_bytes);
	assert_int_equal(cost.new_bytes, 0);
	assert_int_equal(cost.logical_bytes, 2 * MEMORY_BYTES);
	commit(txn, &ref);
	check_all_good(store);
	free(bytes);
	store_close(store);
}

static int failing_block(void *arg, uint64_t offset, uint32_t len, void *scratch,
			 const void **ret_data, struct err *err)
{
	if (offset >= BLOCK_BYTES)
		return err_set(err, EIO, "the source is gone");
	return based_block(arg, offset, len, scratch, ret_data, err);
}

/* A transaction that lacks a part of a stream cannot be committed. */
static void test_failed_source(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	uint8_t *bytes = memory_make(MEMORY_BYTES, 3);
	struct based b = {.bytes = bytes, .len = MEMORY_BYTES};
	struct store_source source = {.logical_bytes = MEMORY_BYTES,
				      .next_data = based_next,
				      .block = failing_block,
				      .arg = &b};
	struct store_part part = {.source = &source};
	struct store_txn *txn = begin(store);
	struct stream_ref good = put_bytes(txn, bytes, 5000);
	const struct stream_ref refs[3] = {good, good, good};
	json_t *manifest = manifest_make("demo", "", 1, refs, refs);
	struct err err = ERR_INIT;

	assert_fails(store_txn_put(txn, &part, 1, NULL, &err), EIO, "the source is gone");
	assert_fails(store_commit(txn, manifest, &err), EINVAL, "not written whole");
	source.logical_bytes = STREAM_BYTES_MAX + 1;
	txn = begin(store);
	assert_fails(store_txn_put(txn, &part, 1, NULL, &err), EFBIG, "more than a stream");
	store_abort(txn);
	assert_int_equal(checkpoints_count(store, NULL), 0);
	assert_int_equal(dir_count(fx->store, "packs"), 0);
	json_decref(manifest);
	free(bytes);
	store_close(store);
}

/* Files. */

static void test_files(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct store_txn *txn = begin(store);
	struct stream_ref first, again;
	struct store_cost cost;
	struct err err = ERR_INIT;

	usleep(150000); /* the file's times settle, so that it is remembered */
	assert_ok(store_txn_put_file(txn, fx->file[0], &first, NULL, &err));
	commit(txn, &first);
	txn = begin(store);
	assert_ok(store_txn_put_file(txn, fx->file[0], &again, NULL, &err));
	assert_true(stream_ref_equal(&first, &again));
	store_txn_cost(txn, &cost);
	assert_int_equal(cost.taken_bytes, 0);
	/* Of other bytes it is another stream, of the same ones the same. */
	file_flip(fx->file[0], 5, 1);
	assert_ok(store_txn_put_file(txn, fx->file[0], &again, NULL, &err));
	assert_false(stream_ref_equal(&first, &again));
	file_flip(fx->file[0], 5, 1);
	assert_ok(store_txn_put_file(txn, fx->file[0], &again, NULL, &err));
	assert_true(stream_ref_equal(&first, &again));
	assert_fails(store_txn_put_file(txn, fx->dir, &again, NULL, &err), EINVAL,
		     "not a regular file");
	assert_fails(store_txn_put_file(txn, "/nonexistent", &again, NULL, &err), ENOENT,
		     "/nonexistent");
	store_abort(txn);
	store_close(store);
}

/* A remembered file is of use only as long as some checkpoint has its stream. */
static void test_recall_and_adopt(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct stream_ref ref, other = {.logical_bytes = 1, .root = {{1}}};
	struct store_cost cost;
	struct err err = ERR_INIT;
	struct store_entry *entries;
	struct store_txn *txn;
	size_t count;

	usleep(150000);
	txn = begin(store);
	assert_ok(store_txn_put_file(txn, fx->file[1], &ref, NULL, &err));
	commit(txn, &ref);
	txn = begin(store);
	assert_int_equal(store_txn_adopt(txn, &ref, &err), 1);
	assert_int_equal(store_txn_adopt(txn, &other, &err), 0);
	commit(txn, &ref);
	assert_int_equal(check_all_good(store), 2);
	assert_ok(store_list(store, NULL, &entries, &count, &err));
	for (size_t i = 0; i < count; i++)
		assert_ok(store_remove(store, entries[i].id, &err));
	free(entries);
	txn = begin(store);
	assert_int_equal(store_txn_adopt(txn, &ref, &err), 0);
	assert_ok(store_txn_put_file(txn, fx->file[1], &ref, NULL, &err));
	store_txn_cost(txn, &cost);
	assert_int_not_equal(cost.taken_bytes, 0);
	commit(txn, &ref);
	assert_int_equal(check_all_good(store), 1);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_sizes),
		FIXTURE_TEST(test_tall_tree),
		FIXTURE_TEST(test_stored_once),
		FIXTURE_TEST(test_images_share),
		FIXTURE_TEST(test_base),
		FIXTURE_TEST(test_base_cost),
		FIXTURE_TEST(test_failed_source),
		FIXTURE_TEST(test_files),
		FIXTURE_TEST(test_recall_and_adopt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
