/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of what goes and what stays: the rules of prune, collections, figures, and a long run
 * of checkpoints that must not let anything grow. */
#include "store_fixture.h"

#include "base/clock.h"
#include "base/fault.h"

enum { SMALL_BYTES = 30 * PAGE_BYTES + 9 };

static void small_make(const struct fixture *fx, struct store *store, const char *cluster,
		       const char *tag, int64_t created_ns, uint32_t seed,
		       char ret_id[STORE_ID_MAX])
{
	struct recipe recipe = {.cluster = cluster,
				.tag = tag,
				.created_ns = created_ns,
				.seed = seed,
				.len = SMALL_BYTES,
				.threads = 1};
	struct err err = ERR_INIT;

	assert_ok(recipe_make(fx, store, &recipe, ret_id, &err));
}

static void quarantine(const struct fixture *fx, const char *id)
{
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];

	snprintf(path, sizeof(path), "%s/damaged", fx->store);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/damaged/%s", fx->store, id);
	assert_ok(io_replace_file(path, "a test\n", 7, 0600, &err));
}

/* Which of six checkpoints of two clusters go, as a bitmap: a0 a1 b0 a2(tag "keep") b1 a3. */
static unsigned int pruned(struct store *store, char ids[6][STORE_ID_MAX],
			   const struct store_retention *rule)
{
	struct store_retention dry = *rule;
	struct err err = ERR_INIT;
	unsigned int which = 0;
	store_id *gone;
	size_t count;

	dry.dry_run = true;
	assert_ok(store_prune(store, &dry, &gone, &count, &err));
	for (size_t i = 0; i < count; i++)
		for (unsigned int j = 0; j < 6; j++)
			which |= strcmp(gone[i], ids[j]) ? 0 : 1u << j;
	free(gone);
	return which;
}

static void test_rules(void **state)
{
	static const char *const clusters[] = {"a", "a", "b", "a", "b", "a"};
	static const char *const keep_tags[] = {"other", "keep", ""};
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	char ids[6][STORE_ID_MAX];
	int64_t now_ns = clock_real_ns();
	struct err err = ERR_INIT;
	store_id *gone;
	size_t count;

	for (uint32_t i = 0; i < 6; i++)
		small_make(fx, store, clusters[i], i == 3 ? "keep" : "",
			   now_ns - (6 - (int64_t)i) * 1000 * NS_PER_S, 10 * i, ids[i]);
	/* The newest of each cluster stays whatever is asked for. */
	assert_int_equal(pruned(store, ids, &(struct store_retention){0}), 0x0f);
	assert_int_equal(pruned(store, ids, &(struct store_retention){.keep = 1}), 0x0f);
	assert_int_equal(pruned(store, ids, &(struct store_retention){.keep = 2}), 0x03);
	assert_int_equal(pruned(store, ids, &(struct store_retention){.keep = 4}), 0);
	assert_int_equal(pruned(store, ids, &(struct store_retention){.keep = 100}), 0);
	assert_int_equal(
		pruned(store, ids, &(struct store_retention){.cluster = "a", .keep = 1}), 0x0b);
	assert_int_equal(pruned(store, ids, &(struct store_retention){.cluster = "none"}), 0);
	assert_int_equal(pruned(store, ids,
				&(struct store_retention){.keep_within_ns = 4500 * NS_PER_S}),
			 0x03);
	assert_int_equal(
		pruned(store, ids,
		       &(struct store_retention){.keep_tags = keep_tags, .keep_tag_count = 3}),
		0x07);
	/* A damaged one does not count, and is not kept for being the newest. */
	quarantine(fx, ids[5]);
	assert_int_equal(pruned(store, ids, &(struct store_retention){.keep = 2}), 0x21);
	assert_int_equal(
		pruned(store, ids,
		       &(struct store_retention){.keep = 1, .keep_within_ns = 1500 * NS_PER_S}),
		0x07);
	assert_int_equal(checkpoints_count(store, NULL), 6);
	assert_ok(
		store_prune(store, &(struct store_retention){.keep = 1}, &gone, &count, &err));
	assert_int_equal(count, 4);
	free(gone);
	assert_int_equal(check_all_good(store), 2);
	assert_int_equal(dir_count(fx->store, "damaged"), 0);
	store_close(store);
}

/* A pack of which little is needed is emptied, many small ones are put together. */
static void test_collection(void **state)
{
	enum { COUNT = 24 };
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	char ids[COUNT][STORE_ID_MAX];
	struct store_gc_report report;
	struct err err = ERR_INIT;
	uint64_t before;

	for (uint32_t i = 0; i < COUNT; i++)
		small_make(fx, store, "demo", "", i, 10 * i, ids[i]);
	assert_ok(store_gc(store, NULL, &report, &err));
	assert_int_equal(report.packs, COUNT);
	assert_int_equal(report.rewritten, COUNT);
	assert_int_equal(report.deleted, COUNT);
	assert_int_equal(dir_count(fx->store, "packs"), 1);
	assert_int_equal(check_all_good(store), COUNT);
	/* Nothing to do. */
	assert_ok(store_gc(store, NULL, &report, &err));
	assert_int_equal(report.packs, 1);
	assert_int_equal(report.rewritten + report.condemned + report.deleted, 0);
	before = tree_bytes(fx->store);
	for (uint32_t i = 0; i < COUNT - 2; i++)
		assert_ok(store_remove(store, ids[i], &err));
	assert_ok(store_gc(store, NULL, &report, &err));
	assert_int_equal(report.rewritten, 1);
	assert_int_equal(report.deleted, 1);
	assert_true(report.freed_bytes > before / 2);
	assert_true(tree_bytes(fx->store) < before / 4);
	assert_int_equal(check_all_good(store), 2);
	assert_ok(store_remove(store, ids[COUNT - 2], &err));
	assert_ok(store_remove(store, ids[COUNT - 1], &err));
	assert_ok(store_gc(store, NULL, &report, &err));
	assert_int_equal(report.live_bytes, 0);
	assert_int_equal(dir_count(fx->store, "packs") + dir_count(fx->store, "condemned"), 0);
	store_close(store);
}

/* A transaction that relied on a pack before it was condemned: the pack is reprieved. */
static void test_reprieve(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx), *other = open_store(fx);
	uint8_t *bytes = memory_make(SMALL_BYTES, 10);
	struct store_source source = memory_source(bytes, SMALL_BYTES);
	struct store_part part = {.source = &source};
	struct store_gc_report report;
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX];
	struct store_txn *txn;
	struct store_cost cost;
	json_t *manifest;

	small_make(fx, store, "demo", "", 1, 10, id);
	assert_ok(store_remove(store, id, &err));
	assert_ok(store_begin(other, "demo", id, &txn, &err));
	assert_ok(store_gc(store, NULL, &report, &err));
	assert_int_equal(report.condemned, 1);
	assert_int_equal(report.waiting, 1);
	/* It does not know of that, and does not store anew. */
	assert_ok(store_txn_put(txn, &part, 1, NULL, &err));
	store_txn_cost(txn, &cost);
	assert_int_equal(cost.new_bytes, 0);
	assert_ok(store_gc(store, NULL, &report, &err));
	assert_int_equal(report.deleted, 0);
	manifest = manifest_make("demo", "", 2,
				 (struct stream_ref[3]){part.ref, part.ref, part.ref},
				 (struct stream_ref[3]){part.ref, part.ref, part.ref});
	assert_ok(store_commit(txn, manifest, &err));
	json_decref(manifest);
	/* One that begins now does store it anew. */
	assert_ok(store_begin(other, "demo", id, &txn, &err));
	assert_ok(store_txn_put(txn, &part, 1, NULL, &err));
	store_txn_cost(txn, &cost);
	assert_int_equal(cost.new_bytes, part.ref.data_bytes);
	store_abort(txn);
	assert_ok(store_gc(store, NULL, &report, &err));
	assert_int_equal(report.deleted, 0);
	assert_int_equal(dir_count(fx->store, "condemned"), 0);
	assert_int_equal(check_all_good(store), 1);
	assert_int_equal(check_all_good(other), 1);
	free(bytes);
	store_close(other);
	store_close(store);
}

/* Streams that a transaction takes over, of a checkpoint that is removed meanwhile. */
static void test_removed_meanwhile(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx), *other = open_store(fx);
	struct store_gc_report report;
	struct manifest_stream *streams;
	struct store_lease *reader;
	struct err err = ERR_INIT;
	char first[STORE_ID_MAX], id[STORE_ID_MAX];
	struct store_txn *txn;
	json_t *manifest;
	size_t count;

	small_make(fx, store, "demo", "", 1, 10, first);
	assert_ok(store_begin(other, "demo", id, &txn, &err));
	assert_ok(store_manifest(store, first, &manifest, &err));
	assert_ok(manifest_streams(manifest, &streams, &count, &err));
	for (size_t i = 0; i < count; i++)
		assert_int_equal(store_txn_adopt(txn, &streams[i].ref, &err), 1);
	assert_ok(store_remove(store, first, &err));
	assert_fails(store_remove(store, first, &err), ENOENT, first);
	for (int i = 0; i < 3; i++)
		assert_ok(store_gc(store, NULL, &report, &err));
	assert_int_equal(report.condemned + report.deleted, 0);
	assert_ok(store_commit(txn, manifest, &err));
	for (int i = 0; i < 3; i++)
		assert_ok(store_gc(store, NULL, &report, &err));
	assert_int_equal(dir_count(fx->store, "manifests"), 1);
	assert_int_equal(check_all_good(store), 1);
	assert_ok(store_lease_begin(store, id, &reader, &err));
	assert_ok(store_remove(store, id, &err));
	assert_ok(store_gc(other, NULL, &report, &err));
	assert_int_equal(report.deleted, 0);
	assert_ok(store_fill(store, &(struct store_target){"late", streams[3].ref, -1}, 1, NULL,
			     &err));
	store_lease_end(reader);
	assert_ok(store_gc(other, NULL, &report, &err));
	assert_int_equal(report.deleted, 1);
	assert_int_equal(dir_count(fx->store, "packs") + dir_count(fx->store, "removed"), 0);
	json_decref(manifest);
	free(streams);
	store_close(other);
	store_close(store);
}

static void test_stats(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct store_stats stats;
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX];

	assert_ok(store_stats(store, &stats, &err));
	assert_int_equal(stats.checkpoints + stats.packs + stats.chunks + stats.data_bytes, 0);
	small_make(fx, store, "demo", "", 1, 10, id);
	small_make(fx, store, "demo", "", 2, 10, id);
	assert_ok(store_stats(store, &stats, &err));
	assert_int_equal(stats.checkpoints, 2);
	assert_int_equal(stats.damaged, 0);
	assert_int_equal(stats.packs, 1);
	assert_int_equal(stats.logical_bytes, 6 * SMALL_BYTES);
	assert_int_equal(stats.data_bytes, 6 * (10 * PAGE_BYTES + 9));
	assert_false(stats.encrypted);
	assert_true(stats.index_memory_bytes > 0);
	assert_true(stats.chunk_bytes > stats.data_bytes / 2);
	quarantine(fx, id);
	assert_ok(store_stats(store, &stats, &err));
	assert_int_equal(stats.damaged, 1);
	store_close(store);
}

/* Three hundred checkpoints with small changes, pruned and collected: nothing grows. */
static void test_long_run(void **state)
{
	enum { STEPS = 300, WARM = 50, KEPT = 5 };
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct store_stats stats;
	uint64_t packs = 0, bytes = 0, memory = 0;
	unsigned int fds = 0;
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX];

	for (uint32_t step = 0; step < STEPS; step++) {
		struct store_retention rule = {.keep = KEPT};
		struct store_gc_report report;
		store_id *gone;
		size_t count;

		/* Of its three streams one is new, the others are those of the steps before. */
		small_make(fx, store, "demo", "", step, step, id);
		assert_ok(store_prune(store, &rule, &gone, &count, &err));
		free(gone);
		assert_ok(store_gc(store, NULL, &report, &err));
		assert_ok(store_stats(store, &stats, &err));
		if (step < WARM) {
			packs = stats.packs > packs ? stats.packs : packs;
			bytes = tree_bytes(fx->store) > bytes ? tree_bytes(fx->store) : bytes;
			memory = stats.index_memory_bytes > memory ? stats.index_memory_bytes
								   : memory;
			fds = open_fds() > fds ? open_fds() : fds;
			continue;
		}
		assert_true(stats.packs <= packs + 2);
		assert_true(tree_bytes(fx->store) <= bytes + bytes / 4);
		assert_true(stats.index_memory_bytes <= memory + memory / 4);
		assert_true(open_fds() <= fds + 2);
	}
	print_message("    %llu packs, %llu bytes, %llu of index, %u descriptors\n",
		      (unsigned long long)stats.packs,
		      (unsigned long long)tree_bytes(fx->store),
		      (unsigned long long)stats.index_memory_bytes, open_fds());
	assert_int_equal(check_all_good(store), KEPT);
	store_close(store);
	store = open_store(fx);
	assert_int_equal(check_all_good(store), KEPT);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_rules),    FIXTURE_TEST(test_collection),
		FIXTURE_TEST(test_reprieve), FIXTURE_TEST(test_removed_meanwhile),
		FIXTURE_TEST(test_stats),    FIXTURE_TEST(test_long_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
