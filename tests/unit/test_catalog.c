/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the catalog: whatever happens to the database, the manifests bring it back. */
#include "store_fixture.h"

#include <sqlite3.h>

#include "store/catalog.h"

enum { CHECKPOINTS = 5 };

/* A store with some checkpoints, one of them quarantined; the list of it in *ret_entries. */
static void filled_store(const struct fixture *fx, struct store_entry **ret_entries)
{
	char ids[CHECKPOINTS][STORE_ID_MAX], path[IO_PATH_MAX];
	struct err err = ERR_INIT;
	struct store *store;
	size_t count;

	assert_ok(store_open(fx->store, &store, &err));
	for (uint32_t i = 0; i < CHECKPOINTS; i++)
		assert_ok(checkpoint_make(fx, store, i % 2 ? "odd" : "even", 100 + i, ids[i],
					  &err));
	assert_ok(store_part_path(store, ids[2], "vm0.ram", path, sizeof(path), &err));
	file_flip(path, 1000, 1);
	assert_int_equal(store_verify(store, ids[2], false, NULL, NULL, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, ids[0]));
	assert_ok(store_list(store, NULL, ret_entries, &count, &err));
	assert_int_equal(count, CHECKPOINTS);
	assert_true((*ret_entries)[2].damaged);
	store_close(store);
}

static void check_same(struct store *store, const struct store_entry *want, size_t want_count)
{
	struct store_entry *entries;
	struct err err = ERR_INIT;
	size_t count;

	assert_ok(store_list(store, NULL, &entries, &count, &err));
	assert_int_equal(count, want_count);
	for (size_t i = 0; i < count; i++) {
		assert_string_equal(entries[i].id, want[i].id);
		assert_string_equal(entries[i].cluster, want[i].cluster);
		assert_string_equal(entries[i].tag, want[i].tag);
		assert_int_equal(entries[i].created_ns, want[i].created_ns);
		assert_int_equal(entries[i].bytes, want[i].bytes);
		assert_int_equal(entries[i].pause_ns, want[i].pause_ns);
		assert_int_equal(entries[i].vms, want[i].vms);
		assert_int_equal(entries[i].damaged, want[i].damaged);
	}
	free(entries);
}

static void reopen_and_check(const struct fixture *fx, const struct store_entry *want)
{
	struct err err = ERR_INIT;
	struct store *store;

	assert_ok(store_open(fx->store, &store, &err));
	check_same(store, want, CHECKPOINTS);
	assert_ok(store_rebuild_catalog(store, &err));
	check_same(store, want, CHECKPOINTS);
	store_close(store);
}

static void run_sql(const char *path, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void test_rebuilt_after_anything(void **state)
{
	static const char *const statements[] = {
		"PRAGMA user_version = 7",
		"PRAGMA user_version = 0",
		"DROP TABLE checkpoint",
		"DELETE FROM checkpoint WHERE created_ns = 101",
		"INSERT INTO checkpoint VALUES ('ghost', 'odd', '', 1, 1, 1, 1, 0)",
		"UPDATE checkpoint SET id = 'ghost' WHERE created_ns = 103",
		"UPDATE checkpoint SET damaged = 0",
		"UPDATE checkpoint SET damaged = 1",
	};
	const struct fixture *fx = *state;
	struct store_entry *want;
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];

	filled_store(fx, &want);
	snprintf(path, sizeof(path), "%.200s/catalog.db", fx->store);
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
		run_sql(path, statements[i]);
		reopen_and_check(fx, want);
	}
	assert_ok(catalog_unlink(path, &err));
	reopen_and_check(fx, want);
	assert_ok(
		io_replace_file(path, "this is no database, but long enough", 36, 0600, &err));
	reopen_and_check(fx, want);
	assert_ok(io_replace_file(path, "", 0, 0600, &err));
	reopen_and_check(fx, want);
	assert_int_equal(truncate(path, 5000), 0);
	reopen_and_check(fx, want);
	for (off_t at = 0; at < 12000; at += 512) {
		file_flip(path, at, 0xff);
		reopen_and_check(fx, want);
	}
	free(want);
}

/* A database that cannot be replaced: the catalog lives in memory. */
static void test_unusable_path(void **state)
{
	const struct fixture *fx = *state;
	struct store_entry *want;
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];

	filled_store(fx, &want);
	snprintf(path, sizeof(path), "%.200s/catalog.db", fx->store);
	assert_ok(catalog_unlink(path, &err));
	assert_int_equal(mkdir(path, 0700), 0);
	reopen_and_check(fx, want);
	free(want);
}

/* The database is destroyed under an open store. */
static void test_damaged_while_open(void **state)
{
	const struct fixture *fx = *state;
	struct store_entry *want;
	char path[IO_PATH_MAX], id[STORE_ID_MAX];
	struct err err = ERR_INIT;
	struct store *store;

	filled_store(fx, &want);
	snprintf(path, sizeof(path), "%.200s/catalog.db", fx->store);
	assert_ok(store_open(fx->store, &store, &err));
	run_sql(path, "DROP TABLE checkpoint; DROP TABLE file");
	check_same(store, want, CHECKPOINTS);
	run_sql(path, "DROP TABLE checkpoint; DROP TABLE file");
	assert_ok(checkpoint_make(fx, store, "new", 200, id, &err));
	assert_ok(store_remove(store, id, &err));
	check_same(store, want, CHECKPOINTS);
	store_close(store);
	free(want);
}

/* Checkpoints whose manifests cannot be read are listed, as damaged, under their cluster. */
static void test_unreadable_manifests(void **state)
{
	const struct fixture *fx = *state;
	struct store_entry *want, *entries;
	char path[IO_PATH_MAX], newest[STORE_ID_MAX];
	struct err err = ERR_INIT;
	struct store *store;
	json_t *manifest;
	size_t count;

	filled_store(fx, &want);
	for (size_t i = 3; i < 5; i++) {
		snprintf(path, sizeof(path), "%.200s/checkpoints/%s/manifest", fx->store,
			 want[i].id);
		/* One is damaged, the other of version 2. */
		file_flip(path, i == 3 ? 500 : 16, i == 3 ? 1 : 3);
	}
	assert_ok(store_open(fx->store, &store, &err));
	assert_ok(store_rebuild_catalog(store, &err));
	assert_ok(store_list(store, "odd", &entries, &count, &err));
	assert_int_equal(count, 2);
	assert_string_equal(entries[1].id, want[3].id);
	assert_true(entries[1].damaged);
	free(entries);
	assert_ok(store_newest(store, "odd", newest, &err));
	assert_string_equal(newest, want[1].id);
	assert_int_equal(store_manifest(store, want[3].id, &manifest, &err), -EBADMSG);
	assert_int_equal(store_manifest(store, want[4].id, &manifest, &err), -EPROTONOSUPPORT);
	assert_non_null(strstr(err.msg, want[4].id));
	assert_non_null(strstr(err.msg, "version 2"));
	assert_ok(store_remove(store, want[3].id, &err));
	store_close(store);
	free(want);
}

/* A manifest in the wrong directory is not that checkpoint. */
static void test_swapped_manifest(void **state)
{
	const struct fixture *fx = *state;
	struct store_entry *want;
	char from[IO_PATH_MAX], to[IO_PATH_MAX], *text;
	struct err err = ERR_INIT;
	struct store *store;
	json_t *manifest;
	size_t len;

	filled_store(fx, &want);
	snprintf(from, sizeof(from), "%.200s/checkpoints/%s/manifest", fx->store, want[0].id);
	snprintf(to, sizeof(to), "%.200s/checkpoints/%s/manifest", fx->store, want[4].id);
	assert_ok(io_read_file(from, MANIFEST_BYTES_MAX, &text, &len, &err));
	assert_ok(io_replace_file(to, text, len, 0600, &err));
	free(text);
	assert_ok(store_open(fx->store, &store, &err));
	assert_int_equal(store_manifest(store, want[4].id, &manifest, &err), -EBADMSG);
	assert_int_equal(store_verify(store, want[4].id, true, NULL, NULL, &err), -EBADMSG);
	store_close(store);
	free(want);
}

static void test_rows_and_files(void **state)
{
	const struct fixture *fx = *state;
	struct store_entry row = {.id = "a-1",
				  .cluster = "a",
				  .tag = "t",
				  .created_ns = 5,
				  .bytes = 1ULL << 50,
				  .pause_ns = 1LL << 40,
				  .vms = 8};
	struct catalog_file file = {.device = 1,
				    .inode = UINT64_MAX,
				    .size_bytes = 3,
				    .mtime_ns = 4,
				    .ctime_ns = 5};
	struct simg_ref ref = {.logical_bytes = 3, .file_bytes = 300, .root = {9}}, back;
	struct catalog *catalog;
	struct store_entry *rows;
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];
	size_t count;

	snprintf(path, sizeof(path), "%s/c.db", fx->dir);
	assert_ok(catalog_open(path, &catalog, &err));
	assert_ok(catalog_put(catalog, &row, &err));
	assert_ok(catalog_set_damaged(catalog, "a-1", true, &err));
	assert_ok(catalog_file_remember(catalog, &file, &ref, &err));
	catalog_close(catalog);
	assert_ok(catalog_open(path, &catalog, &err));
	assert_ok(catalog_list(catalog, "a", &rows, &count, &err));
	assert_int_equal(count, 1);
	assert_int_equal(rows[0].bytes, 1ULL << 50);
	assert_int_equal(rows[0].vms, 8);
	assert_true(rows[0].damaged);
	free(rows);
	assert_ok(catalog_list(catalog, "b", &rows, &count, &err));
	assert_int_equal(count, 0);
	free(rows);
	assert_int_equal(catalog_file_recall(catalog, &file, &back, &err), 1);
	assert_true(simg_ref_equal(&ref, &back));
	file.ctime_ns++;
	assert_int_equal(catalog_file_recall(catalog, &file, &back, &err), 0);
	file.ctime_ns--;
	/* Checkpoints are replaced as a whole, the memory of files stays. */
	assert_ok(catalog_replace(catalog, NULL, 0, &err));
	assert_int_equal(catalog_file_recall(catalog, &file, &back, &err), 1);
	assert_ok(catalog_file_forget(catalog, &ref, &err));
	assert_int_equal(catalog_file_recall(catalog, &file, &back, &err), 0);
	assert_ok(catalog_list(catalog, NULL, &rows, &count, &err));
	assert_int_equal(count, 0);
	free(rows);
	catalog_close(catalog);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_create, fixture_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_rebuilt_after_anything), TEST(test_unusable_path),
		TEST(test_damaged_while_open),     TEST(test_unreadable_manifests),
		TEST(test_swapped_manifest),       TEST(test_rows_and_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
