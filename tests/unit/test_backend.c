/* SPDX-License-Identifier: BSD-3-Clause */
/* One suite for all backends of the store: a directory, memory, and S3 where STASIS_TEST_S3
 * names a place for it. */
#include "backend_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/parallel.h"

/*
 * STASIS_TEST_S3=s3://bucket/prefix, with the settings of store/backend/s3.h. What a service
 * used for tests does not have is said by STASIS_TEST_S3_LACKS, words with commas between:
 * "atomic" (an object that is replaced is never seen half), "uploads" (unfinished uploads are
 * listed and ended).
 */
enum place_kind { PLACE_DIRECTORY, PLACE_MEMORY, PLACE_S3 };

static enum place_kind place;

struct fixture {
	char location[512];
	struct backend *backend;
};

static const char *const kinds[] = {"packs", "manifests"};

static struct backend *open_again(const struct fixture *fx)
{
	struct err err = ERR_INIT;
	struct backend *backend;

	if (place == PLACE_MEMORY)
		assert_ok(backend_open_memory(fx->location, &backend, &err));
	else
		assert_ok(backend_open(fx->location, &backend, &err));
	return backend;
}

static int fixture_create(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));
	uint32_t salt;

	assert_non_null(fx);
	assert_int_equal(getrandom(&salt, sizeof(salt), 0), sizeof(salt));
	switch (place) {
	case PLACE_DIRECTORY: scratch_make(fx->location, sizeof(fx->location)); break;
	case PLACE_MEMORY: snprintf(fx->location, sizeof(fx->location), "test"); break;
	case PLACE_S3:
		snprintf(fx->location, sizeof(fx->location), "%.400s/run-%08x",
			 getenv("STASIS_TEST_S3"), salt);
		break;
	}
	fx->backend = open_again(fx);
	*state = fx;
	return 0;
}

struct names {
	char (*names)[160];
	size_t count;
};

static int names_add(const char *name, const struct backend_stat *stat, void *arg,
		     struct err *err)
{
	struct names *names = arg;

	(void)stat;
	(void)err;
	names->names = reallocarray(names->names, names->count + 1, sizeof(*names->names));
	assert_non_null(names->names);
	snprintf(names->names[names->count++], sizeof(*names->names), "%s", name);
	return 0;
}

struct removal {
	struct backend *backend;
	const char *kind;
	const struct names *names;
};

static int remove_one(size_t index, void *arg, struct err *err)
{
	const struct removal *removal = arg;
	char name[256];

	snprintf(name, sizeof(name), "%s/%s", removal->kind, removal->names->names[index]);
	return removal->backend->ops->remove(removal->backend, name, err);
}

static int fixture_destroy(void **state)
{
	struct fixture *fx = *state;
	struct err err = ERR_INIT;

	for (size_t i = 0; place == PLACE_S3 && i < 2; i++) {
		struct names names = {0};
		struct removal removal = {fx->backend, kinds[i], &names};

		assert_ok(
			fx->backend->ops->list(fx->backend, kinds[i], names_add, &names, &err));
		assert_ok(parallel_for(names.count, 8, remove_one, &removal, &err));
		free(names.names);
	}
	backend_close(fx->backend);
	if (place == PLACE_MEMORY)
		backend_memory_forget(fx->location);
	if (place == PLACE_DIRECTORY)
		assert_ok(io_remove_all(fx->location, &err));
	free(fx);
	return 0;
}

static bool lacks(const char *what)
{
	const char *all = getenv("STASIS_TEST_S3_LACKS");

	return place == PLACE_S3 && all && strstr(all, what);
}

static void test_put_get(void **state)
{
	static const size_t sizes[] = {0, 1, 5, 4096, 100000};
	struct backend *backend = ((struct fixture *)*state)->backend;
	struct err err = ERR_INIT;

	for (uint32_t i = 0; i < 5; i++) {
		struct backend_stat stat;
		char name[64];

		snprintf(name, sizeof(name), "packs/of-%zu.bytes", sizes[i]);
		assert_ok(bytes_put(backend, name, sizes[i], i, &err));
		if (!bytes_held(backend, name, sizes[i], i, &err))
			fail_msg("%s: %s", name, err.msg);
		assert_ok(backend->ops->stat(backend, name, &stat, &err));
		assert_int_equal(stat.bytes, sizes[i]);
		assert_int_equal(backend_has(backend, name, &err), 1);
	}
}

static void test_get_bounds(void **state)
{
	struct backend *backend = ((struct fixture *)*state)->backend;
	struct err err = ERR_INIT;
	size_t len;
	void *data;

	assert_ok(bytes_put(backend, "manifests/m", 1000, 1, &err));
	assert_fails(backend_get(backend, "manifests/m", 999, &data, &len, &err), EFBIG,
		     "manifests/m");
	assert_ok(backend_get(backend, "manifests/m", 1000, &data, &len, NULL));
	assert_int_equal(len, 1000);
	free(data);
}

static void test_ranges(void **state)
{
	static const struct {
		uint64_t offset;
		size_t len;
	} ranges[] = {{0, 50000}, {0, 10}, {1, 1}, {4095, 2}, {49999, 1}, {12345, 30000}},
	  behind[] = {{0, 50001}, {49999, 2}, {50000, 1}, {1 << 20, 10}, {INT64_MAX, 2}};
	struct backend *backend = ((struct fixture *)*state)->backend;
	uint8_t *want = bytes_make(50000, 3), *have = malloc(50001);
	struct err err = ERR_INIT;

	assert_non_null(have);
	assert_ok(backend_put(backend, "packs/p", want, 50000, &err));
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
			assert_ok(backend->ops->read(backend, "packs/p", ranges[i].offset, have,
						     ranges[i].len, &err));
			assert_memory_equal(have, want + ranges[i].offset, ranges[i].len);
		}
	assert_ok(backend->ops->read(backend, "packs/p", 50000, have, 0, &err));
	for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++)
		assert_fails(backend->ops->read(backend, "packs/p", behind[i].offset, have,
						behind[i].len, &err),
			     EBADMSG, "packs/p");
	free(have);
	free(want);
}

/* What is replaced through one handle is seen through another, whatever that one has read. */
static void test_replace(void **state)
{
	struct fixture *fx = *state;
	struct backend *backend = fx->backend, *other = open_again(fx);
	uint8_t *want = bytes_make(3000, 8), byte;
	struct err err = ERR_INIT;

	assert_ok(bytes_put(backend, "packs/p", 3000, 7, &err));
	assert_ok(other->ops->read(other, "packs/p", 100, &byte, 1, &err));
	assert_ok(other->ops->read(other, "packs/p", 101, &byte, 1, &err));
	assert_ok(bytes_put(backend, "packs/p", 3000, 8, &err));
	assert_ok(other->ops->read(other, "packs/p", 100, &byte, 1, &err));
	assert_int_equal(byte, want[100]);
	assert_true(bytes_held(backend, "packs/p", 3000, 8, &err));
	assert_true(bytes_held(other, "packs/p", 3000, 8, &err));
	assert_ok(bytes_put(other, "packs/p", 10, 9, &err));
	assert_true(bytes_held(backend, "packs/p", 10, 9, &err));
	assert_int_equal(list_count(backend, "packs"), 1);
	free(want);
	backend_close(other);
}

static void test_abort(void **state)
{
	struct backend *backend = ((struct fixture *)*state)->backend;
	uint8_t *bytes = bytes_make(9 << 20, 1);
	struct backend_writer *writer;
	struct err err = ERR_INIT;

	assert_ok(backend->ops->begin(backend, "packs/none", &writer, &err));
	backend->ops->abort(writer);
	assert_ok(bytes_put(backend, "packs/old", 10, 4, &err));
	for (size_t len = 100; len <= 9 << 20; len += (9 << 20) - 100) {
		if (len > 100 && lacks("uploads"))
			break;
		assert_ok(backend->ops->begin(backend, "packs/new", &writer, &err));
		assert_ok(backend->ops->append(writer, bytes, len, &err));
		assert_int_equal(backend_has(backend, "packs/new", &err), 0);
		backend->ops->abort(writer);
		assert_ok(backend->ops->begin(backend, "packs/old", &writer, &err));
		assert_ok(backend->ops->append(writer, bytes, len, &err));
		assert_true(bytes_held(backend, "packs/old", 10, 4, &err));
		backend->ops->abort(writer);
	}
	assert_int_equal(backend_has(backend, "packs/new", &err), 0);
	assert_true(bytes_held(backend, "packs/old", 10, 4, &err));
	assert_int_equal(list_count(backend, "packs"), 1);
	free(bytes);
}

enum { MANY = 1050 };

static int put_numbered(size_t index, void *arg, struct err *err)
{
	char name[64];

	snprintf(name, sizeof(name), "packs/number-%zu", index);
	return backend_put(arg, name, name, index % 7, err);
}

static int check_numbered(const char *name, const struct backend_stat *stat, void *arg,
			  struct err *err)
{
	size_t number = strtoul(strchr(name, '-') + 1, NULL, 10);
	int *seen = arg;

	(void)err;
	assert_true(number < MANY);
	assert_int_equal(stat->bytes, number % 7);
	assert_true(stat->modified_ns > 0);
	seen[number]++;
	return 1;
}

static int stop_at_third(const char *name, const struct backend_stat *stat, void *arg,
			 struct err *err)
{
	(void)name;
	(void)stat;
	return ++*(int *)arg == 3 ? err_set(err, EINTR, "enough") : 0;
}

static void test_list(void **state)
{
	struct backend *backend = ((struct fixture *)*state)->backend;
	struct err err = ERR_INIT;
	int seen[MANY] = {0}, count = 0;

	assert_int_equal(list_count(backend, "packs"), 0);
	assert_ok(parallel_for(MANY, 8, put_numbered, backend, &err));
	assert_ok(backend_put(backend, "manifests/number-3", "", 0, &err));
	assert_ok(backend->ops->list(backend, "packs", check_numbered, seen, &err));
	for (int i = 0; i < MANY; i++)
		assert_int_equal(seen[i], 1);
	assert_int_equal(list_count(backend, "manifests"), 1);
	assert_int_equal(list_count(backend, "pack"), 0);
	assert_fails(backend->ops->list(backend, "packs", stop_at_third, &count, &err), EINTR,
		     "enough");
	assert_int_equal(count, 3);
}

static void test_remove(void **state)
{
	struct fixture *fx = *state;
	struct backend *backend = fx->backend, *other = open_again(fx);
	struct err err = ERR_INIT;
	uint8_t byte;

	assert_ok(backend->ops->remove(backend, "packs/p", &err));
	assert_ok(bytes_put(backend, "packs/p", 100, 1, &err));
	assert_ok(bytes_put(backend, "packs/q", 100, 2, &err));
	assert_ok(other->ops->read(other, "packs/p", 10, &byte, 1, &err));
	assert_ok(backend->ops->remove(backend, "packs/p", &err));
	assert_int_equal(backend_has(backend, "packs/p", &err), 0);
	assert_int_equal(backend_has(other, "packs/p", &err), 0);
	assert_fails(other->ops->read(other, "packs/p", 10, &byte, 1, &err), ENOENT, "packs/p");
	assert_ok(backend->ops->remove(backend, "packs/p", &err));
	assert_true(bytes_held(other, "packs/q", 100, 2, &err));
	assert_int_equal(list_count(other, "packs"), 1);
	backend_close(other);
}

static void test_missing(void **state)
{
	struct backend *backend = ((struct fixture *)*state)->backend;
	struct backend_stat stat;
	struct err err = ERR_INIT;
	uint8_t byte;
	size_t len;
	void *data;

	assert_fails(backend->ops->stat(backend, "packs/p", &stat, &err), ENOENT, "packs/p");
	assert_fails(backend->ops->stat(backend, "packs/p", &stat, &err), ENOENT,
		     backend->where);
	assert_fails(backend->ops->read(backend, "packs/p", 0, &byte, 1, &err), ENOENT,
		     "packs/p");
	assert_fails(backend_get(backend, "packs/p", 1, &data, &len, &err), ENOENT, "packs/p");
	assert_int_equal(backend_has(backend, "packs/p", &err), 0);
	assert_int_equal(backend->ops->read(backend, "packs/p", 5, &byte, 1, NULL), -ENOENT);
}

static void test_bad_names(void **state)
{
	static const char *const bad[] = {"",     "a",   "a/",    "/b",    "a/b/c", "../x",
					  "a/..", "a/.", ".a/b",  "a/.b",  "a b/c", "a/b c",
					  "a//b", "ä/b", "a/b\n", "a/b?c", "a/%2e", "a\\b/c"};
	struct backend *backend = ((struct fixture *)*state)->backend;
	struct backend_writer *writer;
	struct err err = ERR_INIT;
	struct backend_stat stat;
	char name[256];
	size_t count = 0;
	uint8_t byte;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_fails(backend->ops->begin(backend, bad[i], &writer, &err), EINVAL,
			     bad[i]);
		assert_fails(backend->ops->read(backend, bad[i], 0, &byte, 1, &err), EINVAL,
			     "");
		assert_fails(backend->ops->stat(backend, bad[i], &stat, &err), EINVAL, "");
		assert_fails(backend->ops->remove(backend, bad[i], &err), EINVAL, "");
		if (i != 1)
			assert_fails(
				backend->ops->list(backend, bad[i], count_one, &count, &err),
				EINVAL, "");
	}
	snprintf(name, sizeof(name), "packs/%0128d", 0);
	assert_fails(backend_put(backend, name, "", 0, &err), EINVAL, "");
	snprintf(name, sizeof(name), "packs/%0127d", 0);
	assert_ok(backend_put(backend, name, "", 0, &err));
	assert_int_equal(list_count(backend, "packs"), 1);
}

/* Sizes at and around the parts of an upload, in pieces that fit nothing. */
static void test_large(void **state)
{
	static const size_t sizes[] = {8 << 20, (8 << 20) + 1, 16 << 20, (20 << 20) + 12345};
	struct backend *backend = ((struct fixture *)*state)->backend;
	uint8_t *want = bytes_make(sizes[3], 11), *have = malloc(1 << 20);
	struct err err = ERR_INIT;

	assert_non_null(have);
	for (size_t i = 0; i < 4; i++) {
		struct backend_writer *writer;
		struct backend_stat stat;

		assert_ok(backend->ops->begin(backend, "packs/large", &writer, &err));
		for (size_t at = 0, n; at < sizes[i]; at += n) {
			n = sizes[i] - at < 1234567 ? sizes[i] - at : 1234567;
			assert_ok(backend->ops->append(writer, want + at, n, &err));
		}
		assert_ok(backend->ops->commit(writer, &err));
		assert_ok(backend->ops->stat(backend, "packs/large", &stat, &err));
		assert_int_equal(stat.bytes, sizes[i]);
		for (size_t at = 0, n; at < sizes[i]; at += n) {
			n = sizes[i] - at < 1 << 20 ? sizes[i] - at : 1 << 20;
			assert_ok(
				backend->ops->read(backend, "packs/large", at, have, n, &err));
			assert_memory_equal(have, want + at, n);
		}
	}
	assert_true(bytes_held(backend, "packs/large", sizes[3], 11, &err));
	free(have);
	free(want);
}

enum { WORKERS = 8, ROUNDS = 20 };

/* Each worker has objects of its own, and all read one in common. */
static int work(size_t index, void *arg, struct err *err)
{
	struct backend *backend = arg;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		size_t len = 1000 * (index + 1) + round;
		char name[64];
		int rc;

		snprintf(name, sizeof(name), "packs/of-%zu-%u", index, round % 3);
		rc = bytes_put(backend, name, len, round, err);
		if (rc < 0)
			return rc;
		if (!bytes_held(backend, name, len, round, err) ||
		    !bytes_held(backend, "manifests/common", 5000, 5, err))
			return err_prefix(err, "worker %zu", index) ? -err->code : -EBADMSG;
		rc = round % 3 ? backend->ops->remove(backend, name, err) : 0;
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void test_concurrent(void **state)
{
	struct backend *backend = ((struct fixture *)*state)->backend;
	struct err err = ERR_INIT;

	assert_ok(bytes_put(backend, "manifests/common", 5000, 5, &err));
	assert_ok(parallel_each(WORKERS, work, backend, &err));
	assert_int_equal(list_count(backend, "packs"), WORKERS);
}

/* Writers replace one object with others of one seed for each length; readers find one of
 * them. */
static int replace_or_read(size_t index, void *arg, struct err *err)
{
	struct backend *backend = arg;

	for (uint32_t round = 0; round < 5 * ROUNDS; round++) {
		size_t len;
		void *data;
		int rc;

		if (index % 2) {
			rc = bytes_put(backend, "packs/one", 100 + 1000 * (round % 4),
				       round % 4, err);
		} else {
			uint8_t *want;

			rc = backend_get(backend, "packs/one", 5000, &data, &len, err);
			if (rc == -EAGAIN)
				continue;
			if (rc < 0)
				return rc;
			want = bytes_make(len, (uint32_t)(len - 100) / 1000);
			if (len % 1000 != 100 || memcmp(want, data, len) != 0)
				rc = err_set(err, EBADMSG, "a torn object of %zu bytes", len);
			free(want);
			free(data);
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void test_replaced_while_read(void **state)
{
	struct backend *backend = ((struct fixture *)*state)->backend;
	struct err err = ERR_INIT;

	if (lacks("atomic")) {
		print_message(
			"    skipped: this service shows objects while it replaces them\n");
		skip();
	}
	assert_ok(bytes_put(backend, "packs/one", 100, 0, &err));
	assert_ok(parallel_each(4, replace_or_read, backend, &err));
}

static void test_clock(void **state)
{
	struct backend *backend = ((struct fixture *)*state)->backend;
	int64_t before_ns, after_ns;
	struct backend_stat stat;
	struct err err = ERR_INIT;
	uint64_t bytes;

	assert_ok(backend->ops->now(backend, &before_ns, &err));
	assert_ok(bytes_put(backend, "packs/p", 10, 1, &err));
	assert_ok(backend->ops->stat(backend, "packs/p", &stat, &err));
	assert_ok(backend->ops->now(backend, &after_ns, &err));
	/* A service tells whole seconds. */
	assert_true(before_ns - NS_PER_S <= stat.modified_ns);
	assert_true(stat.modified_ns <= after_ns + NS_PER_S);
	assert_ok(backend->ops->free_bytes(backend, &bytes, &err));
	assert_true(bytes > 0);
	assert_int_equal(list_count(backend, "packs"), 1);
}

/* Old means old: a writer at work is left alone, unless nobody can be at work so long. */
static void test_tidy(void **state)
{
	struct backend *backend = ((struct fixture *)*state)->backend;
	uint8_t *bytes = bytes_make(9 << 20, 1);
	struct backend_writer *writer;
	struct err err = ERR_INIT;

	assert_ok(backend->ops->tidy(backend, 0, &err));
	assert_ok(bytes_put(backend, "packs/whole", 10, 1, &err));
	assert_ok(backend->ops->begin(backend, "packs/p", &writer, &err));
	assert_ok(backend->ops->append(writer, bytes, 9 << 20, &err));
	assert_ok(backend->ops->tidy(backend, 3600 * NS_PER_S, &err));
	assert_ok(backend->ops->commit(writer, &err));
	assert_true(bytes_held(backend, "packs/p", 9 << 20, 1, &err));
	if (place != PLACE_MEMORY && !lacks("uploads")) {
		assert_ok(backend->ops->begin(backend, "packs/q", &writer, &err));
		assert_ok(backend->ops->append(writer, bytes, 9 << 20, &err));
		assert_ok(backend->ops->tidy(backend, -60 * NS_PER_S, &err));
		assert_fails(backend->ops->commit(writer, &err), EIO, "packs/q");
		assert_int_equal(backend_has(backend, "packs/q", &err), 0);
	}
	assert_true(bytes_held(backend, "packs/whole", 10, 1, &err));
	free(bytes);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_create, fixture_destroy)

static int run(enum place_kind kind, const char *name)
{
	const struct CMUnitTest tests[] = {
		TEST(test_put_get), TEST(test_get_bounds), TEST(test_ranges),
		TEST(test_replace), TEST(test_abort),      TEST(test_list),
		TEST(test_remove),  TEST(test_missing),    TEST(test_bad_names),
		TEST(test_large),   TEST(test_concurrent), TEST(test_replaced_while_read),
		TEST(test_clock),   TEST(test_tidy),
	};

	place = kind;
	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
	int failed = 0;

	if (!getenv("STASIS_TEST_S3")) {
		failed += run(PLACE_DIRECTORY, "directory");
		failed += run(PLACE_MEMORY, "memory");
		print_message("s3: skipped, STASIS_TEST_S3 names no place for it "
			      "(tests/s3/run_s3.py does)\n");
	} else {
		failed += run(PLACE_S3, "s3");
	}
	return failed;
}
