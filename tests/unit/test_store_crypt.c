/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of encrypted stores: nothing in the clear, keys that are wrong, missing, or readable by
 * others. */
#include "store_fixture.h"

#define SECRET "0123456789abcdef0123456789abcdef"

/* A page that is easy to find again. */
static void page_fill(uint8_t *page)
{
	for (size_t i = 0; i < PAGE_BYTES; i++)
		page[i] = "a page that nobody may see, "[i % 28];
}

static void keyed_make(const struct fixture *fx, struct store *store, char ret_id[STORE_ID_MAX],
		       struct stream_ref *ret_ref)
{
	uint8_t *bytes = calloc(3, PAGE_BYTES);
	struct store_source source = memory_source(bytes, (size_t)3 * PAGE_BYTES);
	struct store_part part = {.source = &source};
	struct err err = ERR_INIT;
	struct store_txn *txn;
	json_t *manifest;

	(void)fx;
	page_fill(bytes + PAGE_BYTES);
	assert_ok(store_begin(store, "hushcluster", ret_id, &txn, &err));
	assert_ok(store_txn_put(txn, &part, 1, NULL, &err));
	*ret_ref = part.ref;
	manifest = manifest_make("hushcluster", "hushtag", 1,
				 (struct stream_ref[3]){part.ref, part.ref, part.ref},
				 (struct stream_ref[3]){part.ref, part.ref, part.ref});
	assert_ok(store_commit(txn, manifest, &err));
	json_decref(manifest);
	check_stream(store, ret_ref, bytes, (size_t)3 * PAGE_BYTES);
	free(bytes);
}

/* Page, hash of the page, tag and host name: present in the objects of a plain store (so that
 * the search is known to work), absent from those of an encrypted one. */
static void test_nothing_in_the_clear(void **state)
{
	const struct fixture *fx = *state;
	uint8_t page[PAGE_BYTES];

	page_fill(page);
	for (int keyed = 0; keyed < 2; keyed++)
		for (int raw = 0; raw < 2; raw++) {
			struct store_config config = plain_config(fx);
			char location[400], id[STORE_ID_MAX];
			struct stream_ref ref;
			struct store_stats stats;
			struct store *store;
			struct err err = ERR_INIT;

			snprintf(location, sizeof(location), "%s-%d%d", fx->store, keyed, raw);
			config.location = location;
			config.level = raw ? STORE_LEVEL_RAW : 3;
			config.key_command = keyed ? "echo " SECRET : NULL;
			store = open_config(&config);
			keyed_make(fx, store, id, &ref);
			assert_int_equal(check_all_good(store), 1);
			assert_ok(store_stats(store, &stats, &err));
			assert_int_equal(stats.encrypted, keyed);
			store_close(store);
			assert_int_equal(tree_holds(location, page, 64), !keyed && raw);
			assert_int_equal(tree_holds(location, "hushtag", 7), !keyed);
			assert_int_equal(tree_holds(location, "qemu_version", 12), !keyed);
			assert_false(tree_holds(location, SECRET, 16));
		}
}

/* Ids are keyed: two stores with the same secret do not show that they have the same page. */
static void test_ids_differ(void **state)
{
	const struct fixture *fx = *state;
	struct stream_ref refs[2];
	char id[STORE_ID_MAX];

	for (int i = 0; i < 2; i++) {
		struct store_config config = plain_config(fx);
		char location[400];
		struct store *store;

		snprintf(location, sizeof(location), "%s-%d", fx->store, i);
		config.location = location;
		config.key_command = "echo " SECRET;
		store = open_config(&config);
		keyed_make(fx, store, id, &refs[i]);
		store_close(store);
	}
	assert_false(chunk_id_equal(&refs[0].root, &refs[1].root));
}

static int try_key(const struct fixture *fx, const char *file, const char *command,
		   struct err *err)
{
	struct store_config config = plain_config(fx);
	struct store *store;
	int rc;

	config.key_file = file;
	config.key_command = command;
	rc = store_open(&config, &store, err);
	if (rc == 0) {
		check_all_good(store);
		store_close(store);
	}
	return rc;
}

static void test_keys(void **state)
{
	const struct fixture *fx = *state;
	struct store_config config = plain_config(fx);
	char path[400], id[STORE_ID_MAX];
	struct stream_ref ref;
	struct store *store;
	struct err err = ERR_INIT;

	snprintf(path, sizeof(path), "%s/key", fx->dir);
	assert_ok(io_replace_file(path, SECRET "\n", sizeof(SECRET), 0600, &err));
	config.key_file = path;
	store = open_config(&config);
	keyed_make(fx, store, id, &ref);
	store_close(store);
	assert_ok(try_key(fx, path, NULL, &err));
	assert_ok(try_key(fx, NULL, "echo " SECRET, &err));
	assert_ok(try_key(fx, NULL, "printf '" SECRET "\\nmore\\n'", &err));
	assert_fails(try_key(fx, NULL, NULL, &err), EKEYREJECTED, "STASIS_STORE_KEY_FILE");
	assert_fails(try_key(fx, NULL, "echo " SECRET "0", &err), EKEYREJECTED, "not the key");
	assert_fails(try_key(fx, path, "echo " SECRET, &err), EINVAL, "one of them");
	assert_fails(try_key(fx, NULL, "echo short", &err), EKEYREJECTED, "5 bytes");
	assert_fails(try_key(fx, NULL, "true", &err), EKEYREJECTED, "0 bytes");
	assert_fails(try_key(fx, NULL, "head -c 5000 /dev/zero", &err), EKEYREJECTED, "bytes");
	assert_fails(try_key(fx, NULL, "echo " SECRET "; exit 3", &err), EKEYREJECTED,
		     "failed");
	assert_fails(try_key(fx, NULL, "/nonexistent/command 2>/dev/null", &err), EKEYREJECTED,
		     "failed");
	assert_fails(try_key(fx, "/nonexistent/key", NULL, &err), ENOENT, "/nonexistent/key");
	assert_int_equal(chmod(path, 0640), 0);
	assert_fails(try_key(fx, path, NULL, &err), EACCES, "chmod 600");
	assert_int_equal(chmod(path, 0602), 0);
	assert_fails(try_key(fx, path, NULL, &err), EACCES, "chmod 600");
	assert_int_equal(chmod(path, 0400), 0);
	assert_ok(try_key(fx, path, NULL, &err));
}

static void test_key_for_plain_store(void **state)
{
	const struct fixture *fx = *state;
	struct err err = ERR_INIT;

	/* A key that is not there does not make a plain store. */
	assert_fails(try_key(fx, "/nonexistent/key", NULL, &err), ENOENT, "/nonexistent/key");
	assert_int_equal(dir_count(fx->store, ""), 0);
	store_close(open_store(fx));
	assert_fails(try_key(fx, NULL, "echo " SECRET, &err), EKEYREJECTED, "not encrypted");
	assert_ok(try_key(fx, NULL, NULL, &err));
}

/* A plain pack or manifest that somebody puts into an encrypted store is not taken for good,
 * and one of its own under another name is not either. */
static void test_foreign_objects(void **state)
{
	const struct fixture *fx = *state;
	struct store_config plain = plain_config(fx), keyed = plain;
	char location[400], id[STORE_ID_MAX], other[STORE_ID_MAX], from[IO_PATH_MAX],
		to[IO_PATH_MAX], *bytes;
	struct store *store;
	struct stream_ref ref;
	struct err err = ERR_INIT;
	json_t *manifest;
	size_t len;

	snprintf(location, sizeof(location), "%s-keyed", fx->store);
	keyed.location = location;
	keyed.key_command = "echo " SECRET;
	store = open_config(&plain);
	keyed_make(fx, store, id, &ref);
	store_close(store);
	store = open_config(&keyed);
	keyed_make(fx, store, other, &ref);
	snprintf(from, sizeof(from), "%s/manifests/%s", fx->store, id);
	snprintf(to, sizeof(to), "%s/manifests/%s", location, id);
	assert_ok(io_read_file(from, 1 << 20, &bytes, &len, &err));
	assert_ok(io_replace_file(to, bytes, len, 0600, &err));
	free(bytes);
	if (strcmp(id, other) != 0)
		assert_fails(store_manifest(store, id, &manifest, &err), EBADMSG, id);
	snprintf(from, sizeof(from), "%s/manifests/%s", location, other);
	assert_ok(io_read_file(from, 1 << 20, &bytes, &len, &err));
	for (size_t at = 0; at < len; at += 37) {
		bytes[at] ^= 4;
		assert_ok(io_replace_file(from, bytes, len, 0600, &err));
		assert_fails(store_manifest(store, other, &manifest, &err), EBADMSG, other);
		bytes[at] ^= 4;
	}
	for (size_t cut = 0; cut < 40; cut++) {
		assert_ok(io_replace_file(from, bytes, cut, 0600, &err));
		assert_fails(store_manifest(store, other, &manifest, &err), EBADMSG, other);
	}
	free(bytes);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_nothing_in_the_clear),
		FIXTURE_TEST(test_ids_differ),
		FIXTURE_TEST(test_keys),
		FIXTURE_TEST(test_key_for_plain_store),
		FIXTURE_TEST(test_foreign_objects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
