/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the store as a whole: opening, transactions, lists, removal, collection, several
 * handles on one location. */
#include "store_fixture.h"

#include "base/clock.h"
#include "base/parallel.h"

static void test_commit_and_read(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct store_entry *entries;
	char first[STORE_ID_MAX], second[STORE_ID_MAX], newest[STORE_ID_MAX];
	struct err err = ERR_INIT;
	uint64_t free_bytes;
	size_t count;

	assert_fails(store_newest(store, "demo", newest, &err), ENOENT, "no good checkpoint");
	assert_ok(checkpoint_make(fx, store, "demo", 10, first, &err));
	assert_ok(checkpoint_make(fx, store, "demo", 20, second, &err));
	assert_ok(checkpoint_make(fx, store, "other", 30, newest, &err));
	assert_ok(store_list(store, "demo", &entries, &count, &err));
	assert_int_equal(count, 2);
	assert_string_equal(entries[0].id, first);
	assert_string_equal(entries[1].id, second);
	assert_string_equal(entries[0].cluster, "demo");
	assert_string_equal(entries[0].tag, "");
	assert_int_equal(entries[0].created_ns, 10);
	assert_int_equal(entries[0].pause_ns, 7);
	assert_int_equal(entries[0].vms, 1);
	assert_int_equal(entries[0].logical_bytes, 3 * MEMORY_BYTES);
	assert_true(entries[0].bytes > MEMORY_BYTES / 2);
	assert_false(entries[0].damaged);
	free(entries);
	assert_int_equal(checkpoints_count(store, NULL), 3);
	assert_ok(store_newest(store, "demo", newest, &err));
	assert_string_equal(newest, second);
	check_checkpoint(fx, store, first, 10);
	check_checkpoint(fx, store, second, 20);
	assert_ok(verify_full(store, first, &err));
	assert_ok(store_verify(store, second, true, NULL, &err));
	assert_ok(store_free_bytes(store, &free_bytes, &err));
	assert_true(free_bytes > 0);
	store_close(store);
	store = open_store(fx);
	assert_int_equal(checkpoints_count(store, NULL), 3);
	check_checkpoint(fx, store, first, 10);
	assert_int_equal(dir_count(fx->store, "leases"), 0);
	store_close(store);
}

static void test_open_refusals(void **state)
{
	struct fixture *fx = *state;
	struct store_config config = plain_config(fx);
	struct store *store;
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX], *text;
	size_t len, files = dir_count(fx->dir, "");

	config.location = fx->dir;
	assert_fails(store_open(&config, &store, &err), ENOTEMPTY, "not empty");
	assert_int_equal(dir_count(fx->dir, ""), files);
	config.location = fx->file[0];
	assert_fails(store_open(&config, &store, &err), ENOTDIR, "no directory");
	config.location = "";
	assert_fails(store_open(&config, &store, &err), EINVAL, "empty");
	config.location = "ftp://host/x";
	assert_fails(store_open(&config, &store, &err), EINVAL, "ftp://host/x");
	config.location = fx->store;
	store_close(open_config(&config));
	snprintf(path, sizeof(path), "%s/store/format", fx->store);
	assert_ok(io_read_file(path, 1000, &text, &len, &err));
	text[strlen("stasis-store ")] = '3';
	assert_ok(io_replace_file(path, text, len, 0600, &err));
	assert_fails(store_open(&config, &store, &err), EPROTONOSUPPORT,
		     "format version 3, this program reads and writes version 2");
	for (size_t cut = 0; cut < len; cut += 7) {
		text[strlen("stasis-store ")] = '2';
		assert_ok(io_replace_file(path, text, cut, 0600, &err));
		assert_fails(store_open(&config, &store, &err), EBADMSG, "store/format");
	}
	free(text);
}

/* A store of the first form is left alone. */
static void test_first_form(void **state)
{
	struct fixture *fx = *state;
	struct store_config config = plain_config(fx);
	struct store *store;
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];

	assert_int_equal(mkdir(fx->store, 0700), 0);
	snprintf(path, sizeof(path), "%s/format", fx->store);
	assert_ok(io_replace_file(path, "stasis-store 1\n", 15, 0600, &err));
	assert_fails(store_open(&config, &store, &err), ENOTEMPTY, "format");
	assert_int_equal(dir_count(fx->store, ""), 1);
}

static void test_bad_names(void **state)
{
	static const char *const names[] = {
		"",
		".",
		"..",
		"../x",
		"a/b",
		".x",
		"a b",
		"\xc3\xa4",
		"0123456789012345678901234567890123456789012345678901234567890123"};
	struct store *store = open_store(*state);
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX];
	struct store_lease *lease;
	struct store_txn *txn;
	json_t *manifest;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(store_begin(store, names[i], id, &txn, &err), -EINVAL);
		assert_int_equal(store_manifest(store, names[i], &manifest, &err), -EINVAL);
		assert_int_equal(store_remove(store, names[i], &err), -EINVAL);
		assert_int_equal(store_verify(store, names[i], true, NULL, &err), -EINVAL);
		assert_int_equal(store_lease_begin(store, names[i], &lease, &err), -EINVAL);
		assert_int_equal(store_export(store, names[i], -1, NULL, &err), -EINVAL);
	}
	/* A cluster's name leaves room for the rest of the id. */
	assert_fails(
		store_begin(store, "012345678901234567890123456789012345678", id, &txn, &err),
		EINVAL, "38");
	assert_fails(store_manifest(store, "absent", &manifest, &err), ENOENT, "absent");
	assert_fails(store_remove(store, "absent", &err), ENOENT, "absent");
	assert_fails(store_verify(store, "absent", true, NULL, &err), ENOENT, "absent");
	assert_fails(store_export(store, "absent", -1, NULL, &err), ENOENT, "absent");
	store_close(store);
}

static void test_unique_ids(void **state)
{
	enum { COUNT = 100 };
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct store_txn *txns[COUNT];
	static char ids[COUNT][STORE_ID_MAX];
	struct err err = ERR_INIT;

	for (int i = 0; i < COUNT; i++) {
		assert_ok(store_begin(store, "01234567890123456789012345678901234567", ids[i],
				      &txns[i], &err));
		assert_int_equal(strlen(ids[i]), STORE_ID_MAX - 1);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(ids[i], ids[j]);
	}
	assert_int_equal(dir_count(fx->store, "leases"), COUNT);
	for (int i = 0; i < COUNT; i++)
		store_abort(txns[i]);
	assert_int_equal(dir_count(fx->store, "leases"), 0);
	assert_int_equal(dir_count(fx->store, "packs"), 0);
	store_abort(NULL);
	store_close(NULL);
	store_close(store);
}

/* Manifests that do not say what was put are refused, and nothing stays. */
static void test_commit_mismatch(void **state)
{
	static const int wants[] = {0, -EINVAL, -EINVAL, -EBADMSG, -EINVAL, -EINVAL};
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct store_gc_report report;
	struct err err = ERR_INIT;

	for (int kind = 0; kind < 6; kind++) {
		uint8_t *bytes = memory_make(9000, 50 + (uint32_t)kind);
		struct store_source source = memory_source(bytes, 9000);
		struct store_part parts[3] = {{&source, {0}}, {&source, {0}}, {&source, {0}}};
		struct stream_ref refs[3];
		char id[STORE_ID_MAX];
		struct store_txn *txn;
		json_t *manifest;

		assert_ok(store_begin(store, "demo", id, &txn, &err));
		assert_ok(store_txn_put(txn, parts, 3, NULL, &err));
		for (int i = 0; i < 3; i++)
			refs[i] = parts[i].ref;
		if (kind == 1)
			refs[1].root.bytes[0] ^= 1;
		if (kind == 5)
			refs[2].data_bytes++;
		manifest = manifest_make(kind == 2 ? "else" : "demo", "", 1, refs, refs);
		if (kind == 3)
			json_object_del(manifest, "host");
		if (kind == 4)
			json_object_del(manifest, "cluster");
		assert_int_equal(store_commit(txn, manifest, &err), wants[kind]);
		json_decref(manifest);
		free(bytes);
		assert_int_equal(checkpoints_count(store, NULL), 1);
	}
	assert_int_equal(check_all_good(store), 1);
	assert_ok(store_gc(store, NULL, &report, &err));
	assert_int_equal(dir_count(fx->store, "packs"), 1);
	store_close(store);
}

struct maker {
	const struct fixture *fx;
	struct store *store;
	char ids[8][STORE_ID_MAX];
};

static int make_one(size_t index, void *arg, struct err *err)
{
	struct maker *m = arg;
	struct store_gc_report report;
	int rc = checkpoint_make(m->fx, m->store, "demo", 10 * (uint32_t)index, m->ids[index],
				 err);

	if (rc == 0 && index % 2)
		rc = store_remove(m->store, m->ids[index], err);
	if (rc == 0 && index % 2 == 0)
		rc = verify_full(m->store, m->ids[index], err);
	if (rc == 0 && index >= 6)
		rc = store_gc(m->store, NULL, &report, err);
	return rc == -EBUSY ? 0 : rc;
}

/* Checkpoints, removals and collections by threads of one process. */
static void test_concurrent(void **state)
{
	struct maker m = {.fx = *state, .store = open_store(*state)};
	struct store_gc_report report;
	struct err err = ERR_INIT;

	assert_ok(parallel_each(8, make_one, &m, &err));
	assert_int_equal(checkpoints_count(m.store, "demo"), 4);
	assert_ok(store_gc(m.store, NULL, &report, &err));
	assert_ok(store_gc(m.store, NULL, &report, &err));
	assert_int_equal(dir_count(m.fx->store, "condemned"), 0);
	assert_int_equal(dir_count(m.fx->store, "leases"), 0);
	for (uint32_t i = 0; i < 8; i += 2)
		check_checkpoint(m.fx, m.store, m.ids[i], 10 * i);
	assert_int_equal(check_all_good(m.store), 4);
	store_close(m.store);
}

/* What one handle does another sees at once. */
static void test_two_handles(void **state)
{
	const struct fixture *fx = *state;
	struct store_config config = plain_config(fx);
	struct store *a = open_store(fx), *b, *c = open_store(fx);
	char first[STORE_ID_MAX], second[STORE_ID_MAX], newest[STORE_ID_MAX];
	struct store_gc_report report;
	struct store_cost cost;
	struct err err = ERR_INIT;
	struct stream_ref ref;
	struct store_txn *txn;

	config.cache_dir = NULL;
	b = open_config(&config);
	assert_ok(checkpoint_make(fx, a, "demo", 10, first, &err));
	assert_int_equal(checkpoints_count(b, NULL), 1);
	assert_int_equal(checkpoints_count(c, NULL), 1);
	check_checkpoint(fx, b, first, 10);
	assert_ok(checkpoint_make(fx, b, "demo", 20, second, &err));
	assert_ok(store_newest(a, "demo", newest, &err));
	assert_string_equal(newest, second);
	assert_ok(verify_full(a, second, &err));
	/* What b has, c does not store again. */
	assert_ok(store_begin(c, "demo", newest, &txn, &err));
	assert_ok(store_txn_put_file(txn, fx->file[0], &ref, NULL, &err));
	store_txn_cost(txn, &cost);
	assert_int_equal(cost.new_bytes, 0);
	store_abort(txn);
	assert_ok(store_remove(a, first, &err));
	assert_fails(store_remove(b, first, &err), ENOENT, first);
	assert_int_equal(checkpoints_count(c, NULL), 1);
	assert_ok(store_gc(c, NULL, &report, &err));
	check_checkpoint(fx, a, second, 20);
	check_checkpoint(fx, b, second, 20);
	assert_int_equal(check_all_good(b), 1);
	store_close(a);
	store_close(b);
	store_close(c);
}

static void test_read_only(void **state)
{
	const struct fixture *fx = *state;
	struct store_config config = plain_config(fx), reading = config;
	char id[STORE_ID_MAX], bad[STORE_ID_MAX], path[IO_PATH_MAX], name[256];
	struct store_gc_report report;
	struct store *store;
	struct err err = ERR_INIT;
	struct store_txn *txn;
	size_t before;
	int pipe_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	reading.read_only = true;
	assert_fails(store_open(&reading, &store, &err), ENOENT, "no store");
	assert_int_equal(access(fx->store, F_OK), -1);
	store = open_config(&config);
	assert_ok(checkpoint_make(fx, store, "demo", 10, id, &err));
	store_close(store);
	assert_int_equal(dir_count(fx->store, "leases"), 0);
	before = tree_bytes(fx->store);
	store = open_config(&reading);
	check_checkpoint(fx, store, id, 10);
	assert_int_equal(check_all_good(store), 1);
	assert_ok(store_export(store, id, pipe_fd, NULL, &err));
	assert_fails(store_begin(store, "demo", bad, &txn, &err), EROFS, "reading only");
	assert_fails(store_remove(store, id, &err), EROFS, "reading only");
	assert_fails(store_gc(store, NULL, &report, &err), EROFS, "reading only");
	assert_int_equal(tree_bytes(fx->store), before);
	/* Damage is told, not noted. */
	only_name(fx->store, "packs", name);
	snprintf(path, sizeof(path), "%s/packs/%.40s", fx->store, name);
	file_flip(path, 100, 1);
	assert_fails(verify_full(store, id, &err), EBADMSG, name);
	assert_int_equal(tree_bytes(fx->store), before);
	assert_int_equal(dir_count(fx->store, "damaged") + dir_count(fx->store, "suspect"), 0);
	assert_int_equal(dir_count(fx->store, ""), 4); /* store, leases, packs, manifests */
	store_close(store);
	close(pipe_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_commit_and_read), FIXTURE_TEST(test_open_refusals),
		FIXTURE_TEST(test_first_form),      FIXTURE_TEST(test_bad_names),
		FIXTURE_TEST(test_unique_ids),      FIXTURE_TEST(test_commit_mismatch),
		FIXTURE_TEST(test_concurrent),      FIXTURE_TEST(test_two_handles),
		FIXTURE_TEST(test_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
