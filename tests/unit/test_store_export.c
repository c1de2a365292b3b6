/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of exports and imports: between plain and encrypted stores, through pipes, cut off,
 * with flipped bytes. */
#include "store_fixture.h"

#include <pthread.h>

#include "base/parallel.h"

enum { SMALL_BYTES = 20 * PAGE_BYTES + 77, SEED = 40 };

static struct store *open_beside(const struct fixture *fx, const char *name, const char *key)
{
	struct store_config config = plain_config(fx);
	char location[400];

	snprintf(location, sizeof(location), "%s-%s", fx->store, name);
	config.location = location;
	config.key_command = key;
	return open_config(&config);
}

static void small_make(const struct fixture *fx, struct store *store, char ret_id[STORE_ID_MAX])
{
	struct recipe recipe = {.cluster = "demo",
				.tag = "kept",
				.created_ns = 5,
				.seed = SEED,
				.len = SMALL_BYTES,
				.threads = 1};
	struct err err = ERR_INIT;

	assert_ok(recipe_make(fx, store, &recipe, ret_id, &err));
}

static int export_to_memfd(struct store *store, const char *id, size_t *ret_len)
{
	int fd = memfd_create("export", MFD_CLOEXEC);
	struct err err = ERR_INIT;
	struct stat st;

	assert_ok(store_export(store, id, fd, NULL, &err));
	assert_int_equal(fstat(fd, &st), 0);
	*ret_len = (size_t)st.st_size;
	return fd;
}

static void check_same(struct store *from, struct store *to, const char *id)
{
	struct manifest_stream *a, *b;
	struct store_entry *entries;
	struct err err = ERR_INIT;
	json_t *one, *two;
	size_t count;

	assert_ok(store_manifest(from, id, &one, &err));
	assert_ok(store_manifest(to, id, &two, &err));
	assert_ok(manifest_streams(one, &a, &count, &err));
	assert_ok(manifest_streams(two, &b, &count, &err));
	for (size_t i = 0; i < count; i++) {
		size_t len = a[i].ref.logical_bytes;
		struct store_target target = {a[i].name, a[i].ref,
					      memfd_create("from", MFD_CLOEXEC)};
		uint8_t *want = malloc(len + 1);

		assert_ok(store_fill(from, &target, 1, NULL, &err));
		assert_ok(io_pread_all(target.fd, want, len, 0, &err));
		close(target.fd);
		assert_int_equal(b[i].ref.data_bytes, a[i].ref.data_bytes);
		check_stream(to, &b[i].ref, want, len);
		free(want);
	}
	free(a);
	free(b);
	json_decref(one);
	json_decref(two);
	assert_ok(store_list(to, "demo", &entries, &count, &err));
	assert_int_equal(count, 1);
	assert_string_equal(entries[0].id, id);
	assert_string_equal(entries[0].tag, "kept");
	assert_int_equal(entries[0].created_ns, 5);
	free(entries);
	assert_int_equal(check_all_good(to), 1);
}

#define KEY_A "echo 0123456789abcdef0123456789abcdef"
#define KEY_B "echo fedcba9876543210fedcba9876543210"

static void test_between_stores(void **state)
{
	static const struct {
		const char *from, *to;
		int rc;
	} cases[] = {
		{NULL, NULL, 0},
		{NULL, KEY_A, 0},
		{KEY_A, KEY_A, 0},
		{KEY_A, KEY_B, -EKEYREJECTED},
		{KEY_A, NULL, -EKEYREJECTED},
	};
	const struct fixture *fx = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char from_name[16], to_name[16], id[STORE_ID_MAX], got[STORE_ID_MAX];
		struct store *from, *to;
		struct err err = ERR_INIT;
		size_t len;
		int fd;

		snprintf(from_name, sizeof(from_name), "from%zu", i);
		snprintf(to_name, sizeof(to_name), "to%zu", i);
		from = open_beside(fx, from_name, cases[i].from);
		to = open_beside(fx, to_name, cases[i].to);
		small_make(fx, from, id);
		fd = export_to_memfd(from, id, &len);
		assert_int_equal(store_import(to, fd, NULL, got, &err), cases[i].rc);
		if (cases[i].rc == 0) {
			assert_string_equal(got, id);
			check_same(from, to, id);
			assert_fails(store_import(to, fd, NULL, got, &err), EEXIST, id);
			assert_fails(store_import(from, fd, NULL, got, &err), EEXIST, id);
			check_same(from, to, id);
		} else {
			assert_non_null(strstr(err.msg, "key"));
			assert_int_equal(checkpoints_count(to, NULL), 0);
		}
		close(fd);
		store_close(from);
		store_close(to);
	}
}

/* What the store has already is not stored again. */
static void test_import_shares(void **state)
{
	const struct fixture *fx = *state;
	struct store *from = open_beside(fx, "from", NULL), *to = open_beside(fx, "to", NULL);
	char id[STORE_ID_MAX], own[STORE_ID_MAX], got[STORE_ID_MAX];
	struct store_entry *entries;
	struct err err = ERR_INIT;
	size_t len, count;
	int fd;

	small_make(fx, from, id);
	do /* of the same second, with eight random digits */
		small_make(fx, to, own);
	while (!strcmp(own, id));
	fd = export_to_memfd(from, id, &len);
	assert_ok(store_import(to, fd, NULL, got, &err));
	assert_ok(store_list(to, NULL, &entries, &count, &err));
	assert_int_equal(count, 2);
	for (size_t i = 0; i < 2; i++)
		if (!strcmp(entries[i].id, id))
			assert_int_equal(entries[i].bytes, 0);
	free(entries);
	close(fd);
	store_close(from);
	store_close(to);
}

struct feed {
	int from, to;
};

static void *feed_run(void *arg)
{
	const struct feed *feed = arg;
	char buf[1000];
	ssize_t len;

	lseek(feed->from, 0, SEEK_SET);
	while ((len = read(feed->from, buf, sizeof(buf))) > 0)
		if (write(feed->to, buf, (size_t)len) != len)
			break;
	close(feed->to);
	return NULL;
}

static void test_pipe(void **state)
{
	const struct fixture *fx = *state;
	struct store *from = open_beside(fx, "from", KEY_A), *to = open_beside(fx, "to", NULL),
		     *keyed = open_beside(fx, "keyed", KEY_A);
	char id[STORE_ID_MAX], got[STORE_ID_MAX];
	struct err err = ERR_INIT;
	struct feed feed;
	pthread_t thread;
	size_t len;
	int ends[2];

	small_make(fx, from, id);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		feed = (struct feed){export_to_memfd(from, id, &len), ends[1]};
		assert_int_equal(pthread_create(&thread, NULL, feed_run, &feed), 0);
		if (i == 0)
			assert_fails(store_import(to, ends[0], NULL, got, &err), EKEYREJECTED,
				     "encrypted");
		else
			assert_ok(store_import(keyed, ends[0], NULL, got, &err));
		pthread_join(thread, NULL);
		close(ends[0]);
		close(feed.from);
	}
	check_same(from, keyed, id);
	store_close(from);
	store_close(to);
	store_close(keyed);
}

/* An import that must fail, without a trace; `rc` in *ret_rc when it did not fail. */
static void import_damaged(struct store *to, const uint8_t *bytes, size_t len, const char *id,
			   const char *what, size_t at)
{
	int fd = memfd_create("damaged", MFD_CLOEXEC), rc;
	struct err err = ERR_INIT;
	char got[STORE_ID_MAX];

	assert_ok(io_pwrite_all(fd, bytes, len, 0, &err));
	rc = store_import(to, fd, NULL, got, &err);
	close(fd);
	/* Some bits of the head mean nothing to this store. */
	if (rc == 0 && at < 200 && !strcmp(got, id)) {
		assert_ok(verify_full(to, id, &err));
		assert_ok(store_remove(to, id, &err));
		return;
	}
	if (rc != -EBADMSG && rc != -EPROTONOSUPPORT && rc != -EKEYREJECTED)
		fail_msg("%s at byte %zu of %zu: %d: %s", what, at, len, rc, err.msg);
	assert_int_equal(checkpoints_count(to, NULL), 0);
}

static void damaged(void **state, const char *key)
{
	const struct fixture *fx = *state;
	struct store *from = open_beside(fx, "from", key), *to = open_beside(fx, "to", key);
	char id[STORE_ID_MAX], got[STORE_ID_MAX];
	unsigned int seed = 7;
	struct err err = ERR_INIT;
	struct store_gc_report report;
	uint8_t *bytes;
	size_t len;
	int fd;

	small_make(fx, from, id);
	fd = export_to_memfd(from, id, &len);
	bytes = malloc(len);
	assert_ok(io_pread_all(fd, bytes, len, 0, &err));
	for (size_t at = 0; at < len; at += 3000)
		import_damaged(to, bytes, at, id, "cut", at);
	for (int i = 0; i < 20; i++) {
		size_t at = (size_t)rand_r(&seed) % len;

		import_damaged(to, bytes, at, id, "cut", at);
	}
	import_damaged(to, bytes, len - 1, id, "cut", len - 1);
	for (size_t at = 0; at < len; at += at < 400 ? 5 : 2500) {
		bytes[at] ^= (uint8_t)(1 << at % 8);
		import_damaged(to, bytes, len, id, "flipped", at);
		bytes[at] ^= (uint8_t)(1 << at % 8);
	}
	/* Something behind it. */
	assert_ok(io_pwrite_all(fd, "x", 1, (off_t)len, &err));
	assert_fails(store_import(to, fd, NULL, got, &err), EBADMSG, "");
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	assert_ok(store_gc(to, NULL, &report, &err));
	assert_int_equal(dir_count(store_where(to), "packs"), 0);
	assert_int_equal(dir_count(store_where(to), "leases"), 0);
	assert_ok(store_import(to, fd, NULL, got, &err));
	check_same(from, to, id);
	close(fd);
	free(bytes);
	store_close(from);
	store_close(to);
}

static void test_damaged(void **state)
{
	damaged(state, NULL);
}

static void test_damaged_encrypted(void **state)
{
	damaged(state, KEY_A);
}

static void test_not_exports(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX];
	int fd = memfd_create("empty", MFD_CLOEXEC), ends[2];

	assert_fails(store_import(store, fd, NULL, id, &err), EBADMSG, "not an exported");
	close(fd);
	fd = open(fx->file[0], O_RDONLY | O_CLOEXEC);
	assert_fails(store_import(store, fd, NULL, id, &err), EBADMSG, "not an exported");
	close(fd);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	close(ends[1]);
	assert_fails(store_import(store, ends[0], NULL, id, &err), EBADMSG, "not an exported");
	close(ends[0]);
	fd = open(fx->dir, O_RDONLY | O_CLOEXEC);
	assert_int_equal(store_import(store, fd, NULL, id, &err), -EISDIR);
	close(fd);
	assert_int_equal(store_import(store, -1, NULL, id, &err), -EBADF);
	/* An export that cannot be written. */
	small_make(fx, store, id);
	fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_int_equal(store_export(store, id, fd, NULL, &err), -ENOSPC);
	close(fd);
	assert_int_equal(dir_count(fx->store, "leases"), 0);
	store_close(store);
}

/* Damage in the store that is exported is found, and not handed on. */
static void test_export_of_damaged(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	char id[STORE_ID_MAX], name[256], path[IO_PATH_MAX];
	int fd = memfd_create("export", MFD_CLOEXEC);
	struct err err = ERR_INIT;

	small_make(fx, store, id);
	only_name(fx->store, "packs", name);
	snprintf(path, sizeof(path), "%s/packs/%.40s", fx->store, name);
	file_flip(path, 200, 1);
	assert_fails(store_export(store, id, fd, NULL, &err), EBADMSG, name);
	close(fd);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_between_stores),
		FIXTURE_TEST(test_import_shares),
		FIXTURE_TEST(test_pipe),
		FIXTURE_TEST(test_damaged),
		FIXTURE_TEST(test_damaged_encrypted),
		FIXTURE_TEST(test_not_exports),
		FIXTURE_TEST(test_export_of_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
