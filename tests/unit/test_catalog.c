/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the catalog: whatever happens to the database, the manifests bring it back. */
#include "store_fixture.h"

#include <sqlite3.h>

#include "store/catalog.h"

enum { CHECKPOINTS = 5 };

/* Where the catalog is: the only database of the cache directory. */
static void catalog_path(const struct fixture *fx, char ret_path[IO_PATH_MAX])
{
	struct dirent *item;
	DIR *dir = opendir(fx->cache);

	assert_non_null(dir);
	ret_path[0] = '\0';
	while ((item = readdir(dir)))
		if (!strncmp(item->d_name, "catalog-", 8) && strstr(item->d_name, ".db") &&
		    !strchr(strstr(item->d_name, ".db"), '-'))
			snprintf(ret_path, IO_PATH_MAX, "%s/%s", fx->cache, item->d_name);
	closedir(dir);
	assert_string_not_equal(ret_path, "");
}

static int small_make(const struct fixture *fx, struct store *store, const char *cluster,
		      uint32_t seed, char ret_id[STORE_ID_MAX], struct err *err)
{
	struct recipe recipe = {.cluster = cluster,
				.created_ns = seed,
				.seed = 10 * seed,
				.len = 5 * PAGE_BYTES,
				.threads = 1};

	return recipe_make(fx, store, &recipe, ret_id, err);
}

/* A store with some checkpoints, one of them quarantined; the list of it in *ret_entries. */
static void filled_store(const struct fixture *fx, struct store_entry **ret_entries)
{
	char ids[CHECKPOINTS][STORE_ID_MAX], path[IO_PATH_MAX];
	struct err err = ERR_INIT;
	struct store *store = open_store(fx);
	size_t count;

	for (uint32_t i = 0; i < CHECKPOINTS; i++)
		assert_ok(small_make(fx, store, i % 2 ? "odd" : "even", 100 + i, ids[i], &err));
	snprintf(path, sizeof(path), "%s/damaged", fx->store);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/damaged/%s", fx->store, ids[2]);
	assert_ok(io_replace_file(path, "a test\n", 7, 0600, &err));
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
		assert_int_equal(entries[i].logical_bytes, want[i].logical_bytes);
		assert_int_equal(entries[i].pause_ns, want[i].pause_ns);
		assert_int_equal(entries[i].vms, want[i].vms);
		assert_int_equal(entries[i].damaged, want[i].damaged);
	}
	free(entries);
}

static void reopen_and_check(const struct fixture *fx, const struct store_entry *want)
{
	struct err err = ERR_INIT;
	struct store *store = open_store(fx);

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
		"INSERT INTO checkpoint VALUES ('ghost', 'odd', '', 1, 1, 1, 1, 1, 0)",
		"UPDATE checkpoint SET id = 'ghost' WHERE created_ns = 103",
		"UPDATE checkpoint SET damaged = 0",
		"UPDATE checkpoint SET damaged = 1",
	};
	const struct fixture *fx = *state;
	struct store_entry *want;
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];

	filled_store(fx, &want);
	catalog_path(fx, path);
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
	free(want);
}

/* Whatever byte of the database is flipped: the same checkpoints are listed, and a rebuild
 * makes their rows right. */
static void test_flipped_bytes(void **state)
{
	const struct fixture *fx = *state;
	struct store_entry *want;
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];

	filled_store(fx, &want);
	catalog_path(fx, path);
	for (off_t at = 0; at < 12000; at += 512) {
		struct store_entry *entries;
		struct store *store;
		size_t count;

		file_flip(path, at, 0xff);
		store = open_store(fx);
		assert_ok(store_list(store, NULL, &entries, &count, &err));
		assert_int_equal(count, CHECKPOINTS);
		free(entries);
		assert_ok(store_rebuild_catalog(store, &err));
		check_same(store, want, CHECKPOINTS);
		store_close(store);
	}
	free(want);
}

static int list_as_nobody(void *arg)
{
	const struct fixture *fx = arg;
	struct store *store;
	struct err err = ERR_INIT;
	struct store_config config = plain_config(fx);

	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		return 2;
	if (store_open(&config, &store, &err) < 0) {
		fprintf(stderr, "    child: %s\n", err.msg);
		return 1;
	}
	if (checkpoints_count(store, NULL) != CHECKPOINTS)
		return 3;
	store_close(store);
	return 0;
}

static int walk_chown(const struct fixture *fx)
{
	char command[800];

	snprintf(command, sizeof(command), "chmod 755 '%s' && chown -R 65534 '%s'", fx->dir,
		 fx->store);
	return system(command);
}

/* A cache directory that cannot be written to: the catalog is kept in memory. */
static void test_read_only_cache(void **state)
{
	struct fixture *fx = *state;
	struct store_entry *want;

	if (geteuid() != 0) {
		print_message("    skipped: only root can become somebody else\n");
		skip();
	}
	filled_store(fx, &want);
	assert_int_equal(walk_chown(fx), 0);
	assert_int_equal(chmod(fx->cache, 0500), 0);
	assert_int_equal(child_run(NULL, list_as_nobody, fx), 0);
	reopen_and_check(fx, want);
	free(want);
}

/* No cache directory at all, and one that is missing. */
static void test_no_cache(void **state)
{
	const struct fixture *fx = *state;
	struct store_config config = plain_config(fx);
	struct store_entry *want;
	struct store *store;

	filled_store(fx, &want);
	config.cache_dir = NULL;
	store = open_config(&config);
	check_same(store, want, CHECKPOINTS);
	store_close(store);
	config.cache_dir = "/nonexistent/directory";
	store = open_config(&config);
	check_same(store, want, CHECKPOINTS);
	store_close(store);
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
	catalog_path(fx, path);
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
	catalog_path(fx, path);
	store = open_store(fx);
	run_sql(path, "DROP TABLE checkpoint; DROP TABLE file");
	check_same(store, want, CHECKPOINTS);
	run_sql(path, "DROP TABLE checkpoint; DROP TABLE file");
	assert_ok(small_make(fx, store, "new", 200, id, &err));
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
		snprintf(path, sizeof(path), "%s/manifests/%s", fx->store, want[i].id);
		/* One is damaged, the other of version 3. */
		file_flip(path, i == 3 ? 500 : 16, 1);
	}
	store = open_store(fx);
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
	assert_non_null(strstr(err.msg, "version 3"));
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
	snprintf(from, sizeof(from), "%s/manifests/%s", fx->store, want[0].id);
	snprintf(to, sizeof(to), "%s/manifests/%s", fx->store, want[4].id);
	assert_ok(io_read_file(from, MANIFEST_BYTES_MAX, &text, &len, &err));
	assert_ok(io_replace_file(to, text, len, 0600, &err));
	free(text);
	store = open_store(fx);
	assert_int_equal(store_manifest(store, want[4].id, &manifest, &err), -EBADMSG);
	assert_int_equal(store_verify(store, want[4].id, true, NULL, &err), -EBADMSG);
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
				  .logical_bytes = 1ULL << 51,
				  .bytes = 1ULL << 50,
				  .pause_ns = 1LL << 40,
				  .vms = 8};
	struct catalog_file file = {.device = 1,
				    .inode = UINT64_MAX,
				    .size_bytes = 3,
				    .mtime_ns = 4,
				    .ctime_ns = 5};
	struct stream_ref ref = {.logical_bytes = 3, .data_bytes = 3, .root = {{9}}}, back;
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
	assert_int_equal(rows[0].logical_bytes, 1ULL << 51);
	assert_int_equal(rows[0].vms, 8);
	assert_true(rows[0].damaged);
	free(rows);
	assert_ok(catalog_list(catalog, "b", &rows, &count, &err));
	assert_int_equal(count, 0);
	free(rows);
	assert_int_equal(catalog_file_recall(catalog, &file, &back, &err), 1);
	assert_true(stream_ref_equal(&ref, &back));
	file.ctime_ns++;
	assert_int_equal(catalog_file_recall(catalog, &file, &back, &err), 0);
	file.ctime_ns--;
	assert_ok(catalog_remove(catalog, "a-1", &err));
	assert_ok(catalog_file_forget(catalog, &ref, &err));
	assert_int_equal(catalog_file_recall(catalog, &file, &back, &err), 0);
	assert_ok(catalog_list(catalog, NULL, &rows, &count, &err));
	assert_int_equal(count, 0);
	free(rows);
	catalog_close(catalog);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_rebuilt_after_anything),
		FIXTURE_TEST(test_flipped_bytes),
		FIXTURE_TEST(test_read_only_cache),
		FIXTURE_TEST(test_no_cache),
		FIXTURE_TEST(test_unusable_path),
		FIXTURE_TEST(test_damaged_while_open),
		FIXTURE_TEST(test_unreadable_manifests),
		FIXTURE_TEST(test_swapped_manifest),
		FIXTURE_TEST(test_rows_and_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
