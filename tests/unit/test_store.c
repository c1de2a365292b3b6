/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the store: transactions, verification, removal, shared images. */
#include "store_fixture.h"

#include "base/parallel.h"

static void test_commit_and_read(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct store_entry *entries;
	char first[STORE_ID_MAX], second[STORE_ID_MAX], newest[STORE_ID_MAX];
	struct err err = ERR_INIT;
	size_t count;

	assert_int_equal(store_newest(store, "demo", newest, &err), -ENOENT);
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
	assert_true(entries[0].bytes > MEMORY_BYTES / 2);
	assert_false(entries[0].damaged);
	free(entries);
	assert_int_equal(list_count(store, NULL), 3);
	assert_ok(store_newest(store, "demo", newest, &err));
	assert_string_equal(newest, second);
	check_part(store, first, "vm0.ram", 10);
	check_part(store, first, "vm0.disk", 12);
	check_part(store, second, "vm0.state", 21);
	assert_ok(store_verify(store, first, false, NULL, NULL, &err));
	store_close(store);
	store = open_store(fx);
	assert_int_equal(list_count(store, NULL), 3);
	check_part(store, first, "vm0.ram", 10);
	store_close(store);
}

static int open_expect_busy(void *arg)
{
	const struct fixture *fx = arg;
	struct err err = ERR_INIT;
	struct store *store;

	return store_open(fx->store, &store, &err) == -EBUSY && strstr(err.msg, "pid ") ? 0 : 1;
}

static void test_open_refusals(void **state)
{
	struct fixture *fx = *state;
	struct store *store, *again;
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];

	assert_int_equal(store_open(fx->dir, &store, &err), -ENOTEMPTY);
	assert_int_equal(dir_count(fx->dir, ""), 3);
	store = open_store(fx);
	assert_int_equal(store_open(fx->store, &again, &err), -EBUSY);
	assert_int_equal(child_run(NULL, open_expect_busy, fx), 0);
	store_close(store);
	snprintf(path, sizeof(path), "%s/format", fx->store);
	assert_ok(io_replace_file(path, "stasis-store 2\n", 15, 0600, &err));
	assert_int_equal(store_open(fx->store, &store, &err), -EPROTONOSUPPORT);
	assert_non_null(
		strstr(err.msg, "format version 2, this program knows versions up to 1"));
	assert_ok(io_replace_file(path, "nonsense\n", 9, 0600, &err));
	assert_int_equal(store_open(fx->store, &store, &err), -EBADMSG);
	assert_int_equal(store_open(fx->file[0], &store, &err), -ENOTDIR);
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
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX], path[IO_PATH_MAX];
	struct store_txn *txn;
	json_t *manifest;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(store_begin(store, names[i], id, &txn, &err), -EINVAL);
		assert_int_equal(store_manifest(store, names[i], &manifest, &err), -EINVAL);
		assert_int_equal(store_remove(store, names[i], &err), -EINVAL);
		assert_int_equal(
			store_part_path(store, names[i], "p", path, sizeof(path), &err),
			-EINVAL);
	}
	assert_int_equal(store_part_path(store, "id", "../x", path, sizeof(path), &err),
			 -EINVAL);
	assert_int_equal(store_manifest(store, "absent", &manifest, &err), -ENOENT);
	assert_int_equal(store_remove(store, "absent", &err), -ENOENT);
	assert_int_equal(store_verify(store, "absent", true, NULL, NULL, &err), -ENOENT);
	store_close(store);
}

static void test_unique_ids(void **state)
{
	enum { COUNT = 300 };
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct store_txn *txns[COUNT];
	static char ids[COUNT][STORE_ID_MAX];
	struct err err = ERR_INIT;

	for (int i = 0; i < COUNT; i++) {
		assert_ok(store_begin(store, "012345678901234567890123456789012345678901",
				      ids[i], &txns[i], &err));
		assert_int_equal(strlen(ids[i]), STORE_ID_MAX - 1);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(ids[i], ids[j]);
	}
	assert_int_equal(dir_count(fx->store, "checkpoints"), COUNT);
	for (int i = 0; i < COUNT; i++)
		store_abort(txns[i]);
	assert_int_equal(dir_count(fx->store, "checkpoints"), 0);
	store_close(store);
}

/* Manifests that do not say what was put are refused, and nothing stays. */
static void test_commit_mismatch(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	uint8_t bytes[4096] = {1};
	struct simg_source source = memory_source(bytes, sizeof(bytes));
	static const char *const parts[] = {"vm0.ram", "vm0.state", "vm0.disk"};
	static const int wants[] = {0, -EINVAL, -EINVAL, -EINVAL, -EBADMSG, -ENOENT, -EINVAL};
	struct err err = ERR_INIT;

	for (int kind = 0; kind < 7; kind++) {
		struct simg_ref images[3], refs[3];
		char id[STORE_ID_MAX];
		struct store_txn *txn;
		json_t *manifest;

		assert_ok(store_begin(store, "demo", id, &txn, &err));
		for (int i = 0; i < 3; i++) {
			assert_ok(store_image_put(store, fx->file[i], &images[i], &err));
			assert_ok(store_txn_put(txn, parts[i], &source, 0, NULL, NULL, &refs[i],
						&err));
		}
		assert_int_equal(
			store_txn_put(txn, parts[0], &source, 0, NULL, NULL, &refs[0], &err),
			-EEXIST);
		if (kind == 1)
			assert_ok(store_txn_put(txn, "extra", &source, 0, NULL, NULL, &refs[0],
						&err));
		if (kind == 2)
			refs[1].root[0] ^= 1;
		manifest = manifest_make(kind == 3 ? "else" : "demo", 1, images, refs);
		if (kind == 4)
			json_object_del(manifest, "host");
		if (kind == 5) {
			images[1].root[0] ^= 1;
			json_decref(manifest);
			manifest = manifest_make("demo", 1, images, refs);
		}
		if (kind == 6)
			json_object_del(manifest, "cluster");
		assert_int_equal(store_commit(txn, manifest, &err), wants[kind]);
		json_decref(manifest);
		assert_int_equal(dir_count(fx->store, "checkpoints"), 1);
		assert_int_equal(list_count(store, NULL), 1);
	}
	store_close(store);
}

struct putter {
	const struct fixture *fx;
	struct store *store;
	struct store_txn *txn;
	char ids[8][STORE_ID_MAX];
};

static int put_one(size_t index, void *arg, struct err *err)
{
	struct putter *p = arg;
	struct simg_ref ref;
	char part[16];
	uint8_t *bytes = malloc(MEMORY_BYTES);
	struct simg_source source = memory_source(bytes, MEMORY_BYTES);
	int rc;

	memory_fill(bytes, MEMORY_BYTES, (uint32_t)index);
	snprintf(part, sizeof(part), "p%zu", index);
	rc = store_txn_put(p->txn, part, &source, 2, NULL, NULL, &ref, err);
	free(bytes);
	return rc;
}

static int make_one(size_t index, void *arg, struct err *err)
{
	struct putter *p = arg;
	int rc = checkpoint_make(p->fx, p->store, "demo", (uint32_t)index, p->ids[index], err);

	if (rc == 0 && index % 2)
		rc = store_remove(p->store, p->ids[index], err);
	if (rc == 0 && index % 2 == 0)
		rc = store_verify(p->store, p->ids[index], false, NULL, NULL, err);
	return rc;
}

static void test_concurrent(void **state)
{
	struct putter p = {.fx = *state, .store = open_store(*state)};
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX];

	assert_ok(store_begin(p.store, "demo", id, &p.txn, &err));
	assert_ok(parallel_each(8, put_one, &p, &err));
	store_abort(p.txn);
	assert_ok(parallel_each(8, make_one, &p, &err));
	assert_int_equal(list_count(p.store, "demo"), 4);
	for (uint32_t i = 0; i < 8; i += 2) {
		check_part(p.store, p.ids[i], "vm0.ram", i);
		assert_ok(store_verify(p.store, p.ids[i], false, NULL, NULL, &err));
	}
	assert_int_equal(dir_count(p.fx->store, "images"), 3);
	store_close(p.store);
}

static void test_verify_finds_damage(void **state)
{
	static const char *const files[] = {"manifest", "vm0.ram.simg", "vm0.state.simg",
					    "vm0.disk.simg"};
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	char old[STORE_ID_MAX], id[STORE_ID_MAX], other[STORE_ID_MAX], newest[STORE_ID_MAX];
	struct err err = ERR_INIT;

	assert_ok(checkpoint_make(fx, store, "demo", 5, old, &err));
	assert_ok(checkpoint_make(fx, store, "demo", 9, id, &err));
	assert_ok(checkpoint_make(fx, store, "other", 8, other, &err));
	for (size_t i = 0; i < 4; i++) {
		char path[IO_PATH_MAX];

		snprintf(path, sizeof(path), "%.200s/checkpoints/%s/%s", fx->store, id,
			 files[i]);
		file_flip(path, 120, 4);
		assert_int_equal(store_verify(store, id, false, NULL, NULL, &err), -EBADMSG);
		assert_non_null(strstr(err.msg, files[i]));
		assert_non_null(strstr(err.msg, old));
		assert_ok(store_newest(store, "demo", newest, &err));
		assert_string_equal(newest, old);
		store_close(store);
		store = open_store(fx);
		assert_ok(store_newest(store, "demo", newest, &err));
		assert_string_equal(newest, old);
		file_flip(path, 120, 4);
		/* The quick check passes, but does not end a quarantine; the full one does. */
		assert_ok(store_verify(store, id, true, NULL, NULL, &err));
		assert_ok(store_newest(store, "demo", newest, &err));
		assert_string_equal(newest, old);
		assert_ok(store_verify(store, id, false, NULL, NULL, &err));
		assert_ok(store_newest(store, "demo", newest, &err));
		assert_string_equal(newest, id);
	}
	store_close(store);
}

static void test_verify_missing_file(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	char id[STORE_ID_MAX], path[IO_PATH_MAX];
	struct err err = ERR_INIT;

	assert_ok(checkpoint_make(fx, store, "demo", 5, id, &err));
	assert_ok(store_part_path(store, id, "vm0.disk", path, sizeof(path), &err));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(store_verify(store, id, true, NULL, NULL, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "vm0.disk.simg is missing"));
	assert_non_null(strstr(err.msg, "there is no good checkpoint before it"));
	assert_ok(store_remove(store, id, &err));
	assert_int_equal(dir_count(fx->store, "images"), 0);
	store_close(store);
}

/* An image found damaged is written anew by the next checkpoint, which mends the earlier one
 * too. */
static void test_damaged_image_heals(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	char id[STORE_ID_MAX], next[STORE_ID_MAX], path[IO_PATH_MAX];
	struct simg_ref ref;
	struct err err = ERR_INIT;

	usleep(150000); /* the files' times settle, so that their hashes are remembered */
	assert_ok(checkpoint_make(fx, store, "demo", 5, id, &err));
	assert_ok(store_image_put(store, fx->file[2], &ref, &err));
	assert_ok(store_image_path(store, &ref, path, sizeof(path), &err));
	file_flip(path, 100, 1);
	assert_int_equal(store_verify(store, id, false, NULL, NULL, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, path));
	assert_ok(checkpoint_make(fx, store, "demo", 6, next, &err));
	assert_ok(store_verify(store, next, false, NULL, NULL, &err));
	assert_ok(store_verify(store, id, false, NULL, NULL, &err));
	store_close(store);
}

static int64_t image_written_ns(struct store *store, const struct simg_ref *ref)
{
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];
	struct stat st;

	assert_ok(store_image_path(store, ref, path, sizeof(path), &err));
	assert_int_equal(stat(path, &st), 0);
	return st.st_ctim.tv_sec * 1000000000LL + st.st_ctim.tv_nsec;
}

static void test_image_remembered(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct simg_ref first, again, changed;
	char path[IO_PATH_MAX];
	struct err err = ERR_INIT;
	int64_t written_ns;

	usleep(150000);
	assert_ok(store_image_put(store, fx->file[0], &first, &err));
	written_ns = image_written_ns(store, &first);
	usleep(20000);
	assert_ok(store_image_put(store, fx->file[0], &again, &err));
	assert_true(simg_ref_equal(&first, &again));
	assert_int_equal(image_written_ns(store, &first), written_ns);
	/* A truncated or missing image is not trusted. */
	assert_ok(store_image_path(store, &first, path, sizeof(path), &err));
	assert_int_equal(truncate(path, 10), 0);
	assert_ok(store_image_put(store, fx->file[0], &again, &err));
	assert_ok(simg_read(path, &first, -1, 0, NULL, NULL, &err));
	unlink(path);
	assert_ok(store_image_put(store, fx->file[0], &again, &err));
	assert_ok(simg_read(path, &first, -1, 0, NULL, NULL, &err));
	file_flip(fx->file[0], 5, 1);
	assert_ok(store_image_put(store, fx->file[0], &changed, &err));
	assert_false(simg_ref_equal(&first, &changed));
	assert_int_equal(store_image_put(store, fx->dir, &again, &err), -EINVAL);
	assert_int_equal(store_image_put(store, "/nonexistent", &again, &err), -ENOENT);
	store_close(store);
}

static void test_remove_and_shared_images(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	char a[STORE_ID_MAX], b[STORE_ID_MAX], c[STORE_ID_MAX];
	struct simg_ref ref;
	struct store_txn *txn;
	struct err err = ERR_INIT;

	assert_ok(checkpoint_make(fx, store, "demo", 1, a, &err));
	assert_ok(checkpoint_make(fx, store, "demo", 2, b, &err));
	assert_int_equal(dir_count(fx->store, "images"), 3);
	assert_ok(store_remove(store, a, &err));
	assert_int_equal(dir_count(fx->store, "images"), 3);
	assert_ok(store_verify(store, b, false, NULL, NULL, &err));
	/* An open transaction keeps what it put, and cannot be removed itself. */
	assert_ok(store_begin(store, "demo", c, &txn, &err));
	assert_ok(store_image_put(store, fx->file[1], &ref, &err));
	assert_int_equal(store_remove(store, c, &err), -EBUSY);
	assert_ok(store_remove(store, b, &err));
	assert_int_equal(dir_count(fx->store, "images"), 1);
	store_abort(txn);
	assert_ok(checkpoint_make(fx, store, "demo", 3, a, &err));
	assert_ok(store_remove(store, a, &err));
	assert_int_equal(dir_count(fx->store, "images"), 0);
	assert_int_equal(dir_count(fx->store, "checkpoints"), 0);
	assert_int_equal(store_remove(store, a, &err), -ENOENT);
	store_close(store);
}

/* A manifest that cannot be read may name any image: none is removed. */
static void test_unreadable_manifest_keeps_images(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	char a[STORE_ID_MAX], b[STORE_ID_MAX], path[IO_PATH_MAX];
	struct err err = ERR_INIT;

	assert_ok(checkpoint_make(fx, store, "demo", 1, a, &err));
	assert_ok(checkpoint_make(fx, store, "demo", 2, b, &err));
	snprintf(path, sizeof(path), "%.200s/checkpoints/%s/manifest", fx->store, a);
	file_flip(path, 200, 1);
	assert_ok(store_remove(store, b, &err));
	assert_int_equal(dir_count(fx->store, "images"), 3);
	store_close(store);
	file_flip(path, 200, 1);
	store = open_store(fx);
	assert_ok(store_verify(store, a, false, NULL, NULL, &err));
	store_close(store);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_create, fixture_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_commit_and_read),
		TEST(test_open_refusals),
		TEST(test_bad_names),
		TEST(test_unique_ids),
		TEST(test_commit_mismatch),
		TEST(test_concurrent),
		TEST(test_verify_finds_damage),
		TEST(test_verify_missing_file),
		TEST(test_damaged_image_heals),
		TEST(test_image_remembered),
		TEST(test_remove_and_shared_images),
		TEST(test_unreadable_manifest_keeps_images),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
