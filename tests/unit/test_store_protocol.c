/* SPDX-License-Identifier: BSD-3-Clause */
/* Leases, removals and collections of several processes, each a store of its own, in the orders
 * in which data were lost or a reader was left without them (tests/model/collection.pml). */
#include "store_fixture.h"

#include "store/lease.h"

enum { LEN = 2 * BLOCK_BYTES + 100 };

static bool none_changed(void *arg, uint64_t offset, uint32_t len,
			 uint8_t bitmap[NODE_FANOUT / 8])
{
	(void)arg;
	(void)offset;
	(void)len;
	(void)bitmap;
	return false;
}

/* Put one stream, all of `bytes`, or all of the base. */
static struct stream_ref put(struct store_txn *txn, const uint8_t *bytes,
			     const struct stream_ref *base)
{
	struct store_source source = memory_source(bytes, LEN);
	struct store_part part = {.source = &source};
	struct err err = ERR_INIT;

	source.base = base;
	source.changed = base ? none_changed : NULL;
	assert_ok(store_txn_put(txn, &part, 1, NULL, &err));
	return part.ref;
}

static struct store_txn *begin(struct store *store, char ret_id[STORE_ID_MAX])
{
	struct err err = ERR_INIT;
	struct store_txn *txn;

	assert_ok(store_begin(store, "demo", ret_id, &txn, &err));
	return txn;
}

static void commit(struct store_txn *txn, const struct stream_ref *ref)
{
	const struct stream_ref none[3] = {0}, parts[3] = {*ref, {0}, {0}};
	json_t *manifest = manifest_make("demo", "", 1, none, parts);
	struct err err = ERR_INIT;

	assert_ok(store_commit(txn, manifest, &err));
	json_decref(manifest);
}

static struct store_gc_report collect(struct store *store)
{
	struct store_gc_report report;
	struct err err = ERR_INIT;

	assert_ok(store_gc(store, NULL, &report, &err));
	return report;
}

static void remove_checkpoint(struct store *store, const char *id)
{
	struct err err = ERR_INIT;

	assert_ok(store_remove(store, id, &err));
}

/* A checkpoint that needs a pack which is condemned: its writer relied on a pack that nobody
 * needed any more, and a collection found that before it was published. */
static struct stream_ref need_condemned(struct store *writer, struct store *other,
					const uint8_t *bytes, char ret_id[STORE_ID_MAX])
{
	char old[STORE_ID_MAX];
	struct store_txn *txn = begin(writer, old);
	struct stream_ref ref = put(txn, bytes, NULL);
	struct store_gc_report report;

	commit(txn, &ref);
	remove_checkpoint(other, old);
	txn = begin(writer, ret_id);
	ref = put(txn, bytes, NULL);
	report = collect(other);
	assert_int_equal(report.condemned, 1);
	assert_int_equal(report.deleted, 0);
	commit(txn, &ref);
	return ref;
}

/* A checkpoint is removed while another one has it as its base. */
static void base_is_removed(void **state)
{
	const struct fixture *fx = *state;
	struct store *writer = open_store(fx), *other = open_store(fx);
	uint8_t *bytes = memory_make(LEN, 7);
	char first[STORE_ID_MAX], second[STORE_ID_MAX];
	struct stream_ref ref = need_condemned(writer, other, bytes, first), again;
	struct store_txn *txn = begin(writer, second);
	struct err err = ERR_INIT;
	json_t *manifest;

	again = put(txn, bytes, &ref);
	remove_checkpoint(other, first);
	assert_int_equal(store_manifest(other, first, &manifest, &err), -ENOENT);
	assert_int_equal(checkpoints_count(other, "demo"), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(collect(other).deleted, 0);
	commit(txn, &again);
	assert_ok(verify_full(writer, second, &err));
	for (int i = 0; i < 3; i++)
		collect(other);
	assert_ok(verify_full(writer, second, &err));
	assert_int_equal(dir_count(fx->store, "removed"), 0);
	assert_int_equal(dir_count(fx->store, "manifests"), 1);
	remove_checkpoint(writer, second);
	collect(writer);
	assert_int_equal(dir_count(fx->store, "packs"), 0);
	free(bytes);
	store_close(writer);
	store_close(other);
}

/* A reader began when only a condemned pack had a chunk; then a good one came. */
static void reader_of_condemned(void **state)
{
	const struct fixture *fx = *state;
	struct store *writer = open_store(fx), *other = open_store(fx), *reader;
	uint8_t *bytes = memory_make(LEN, 8);
	char first[STORE_ID_MAX], second[STORE_ID_MAX];
	struct stream_ref ref = need_condemned(writer, other, bytes, first), again;
	struct store_lease *lease;
	struct store_txn *late;
	struct err err = ERR_INIT;

	reader = open_store(fx);
	assert_ok(store_lease_begin(reader, first, &lease, &err));
	late = begin(other, second);
	again = put(late, bytes, NULL);
	commit(late, &again);
	assert_int_equal(dir_count(fx->store, "packs"), 2);
	for (int i = 0; i < 3; i++) {
		struct store_gc_report report = collect(writer);

		assert_int_equal(report.deleted, 0);
		assert_int_equal(report.waiting, 1);
	}
	check_stream(reader, &ref, bytes, LEN);
	store_lease_end(lease);
	assert_int_equal(collect(writer).deleted, 1);
	assert_ok(verify_full(writer, first, &err));
	assert_ok(verify_full(writer, second, &err));
	free(bytes);
	store_close(writer);
	store_close(other);
	store_close(reader);
}

static void one_collection(void **state)
{
	const struct fixture *fx = *state;
	struct store *one = open_store(fx), *two = open_store(fx);
	struct store_gc_report report;
	struct store_lease *lease;
	struct err err = ERR_INIT;

	assert_ok(lease_begin(one, true, &lease, &err));
	assert_int_equal(store_gc(two, NULL, &report, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "another collection"));
	store_lease_end(lease);
	collect(two);
	assert_int_equal(dir_count(fx->store, "leases"), 0);
	store_close(one);
	store_close(two);
}

/* A commit that fails after its packs are durable leaves them to the collection. */
static void failed_commit(void **state)
{
	const struct fixture *fx = *state;
	const struct stream_ref none[3] = {0};
	struct store *store = open_store(fx);
	uint8_t *bytes = memory_make(LEN, 9);
	char id[STORE_ID_MAX], good[STORE_ID_MAX];
	struct store_txn *txn = begin(store, id);
	struct stream_ref parts[3] = {put(txn, bytes, NULL), {0}, {0}}, ref;
	json_t *manifest;
	struct err err = ERR_INIT;

	parts[1] = parts[0];
	parts[1].logical_bytes++;
	manifest = manifest_make("demo", "", 1, none, parts);
	assert_int_equal(store_commit(txn, manifest, &err), -EINVAL);
	json_decref(manifest);
	assert_int_equal(dir_count(fx->store, "packs"), 1);
	/* Others may rely on it. */
	txn = begin(store, good);
	ref = put(txn, bytes, NULL);
	commit(txn, &ref);
	collect(store);
	assert_int_equal(dir_count(fx->store, "packs"), 1);
	assert_ok(verify_full(store, good, &err));
	remove_checkpoint(store, good);
	collect(store);
	assert_int_equal(dir_count(fx->store, "packs"), 0);
	free(bytes);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(base_is_removed),
		FIXTURE_TEST(reader_of_condemned),
		FIXTURE_TEST(one_collection),
		FIXTURE_TEST(failed_commit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
