/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the store under faults: killed and failed at every point, full and read-only file
 * systems, limits, a directory that is gone, short and failing writes. */
#include "store_fixture.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>

enum { SMALL_BYTES = 18 * PAGE_BYTES + 100 };

/* What the linker puts between the store and libc (--wrap): writes that take a part only, or
 * that fail from some call on. */
static atomic_int write_part, write_fails_after = -1, fsync_fails_after = -1;

ssize_t __real_write(int fd, const void *data, size_t len);
int __real_fsync(int fd);
ssize_t __wrap_write(int fd, const void *data, size_t len);
int __wrap_fsync(int fd);

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
	if (write_fails_after >= 0 && atomic_fetch_sub(&write_fails_after, 1) == 0) {
		errno = EIO;
		return -1;
	}
	if (write_part && rand() % 5 == 0) {
		errno = EINTR;
		return -1;
	}
	return __real_write(fd, data,
			    write_part && len > (size_t)write_part ? (size_t)write_part : len);
}

int __wrap_fsync(int fd)
{
	if (fsync_fails_after >= 0 && atomic_fetch_sub(&fsync_fails_after, 1) == 0) {
		errno = EIO;
		return -1;
	}
	return __real_fsync(fd);
}

static int small_make(const struct fixture *fx, struct store *store, const char *cluster,
		      uint32_t seed, char ret_id[STORE_ID_MAX], struct err *err)
{
	struct recipe recipe = {.cluster = cluster,
				.created_ns = seed,
				.seed = seed,
				.len = SMALL_BYTES,
				.threads = 1};

	return recipe_make(fx, store, &recipe, ret_id, err);
}

/* Two checkpoints with a stream in common; the first is removed, what is left of its pack is
 * written anew; prune. */
static int work(const struct fixture *fx, struct err *err)
{
	struct store_config config = plain_config(fx);
	char id[STORE_ID_MAX], next[STORE_ID_MAX];
	struct store_gc_report report;
	store_id *gone = NULL;
	struct store *store;
	size_t count;
	int rc = store_open(&config, &store, err);

	if (rc < 0)
		return rc;
	rc = small_make(fx, store, "child", 50, id, err);
	if (rc == 0)
		rc = small_make(fx, store, "child", 52, next, err);
	if (rc == 0)
		rc = store_remove(store, id, err);
	if (rc == 0)
		rc = store_gc(store, NULL, &report, err);
	if (rc == 0)
		rc = small_make(fx, store, "child", 54, next, err);
	if (rc == 0)
		rc = store_prune(store, &(struct store_retention){.keep = 1}, &gone, &count,
				 err);
	free(gone);
	if (rc == 0)
		rc = store_gc(store, NULL, &report, err);
	store_close(store);
	return rc;
}

/* In a child: 0 done, 1 failed and then done, 2 failed again, 3 descriptors are left. */
static int work_twice(void *arg)
{
	struct err err = ERR_INIT;
	unsigned int fds = open_fds();
	int rc = work(arg, &err), again = 0;

	if (rc < 0)
		again = work(arg, &err);
	if (again < 0)
		fprintf(stderr, "    child, again: %s\n", err.msg);
	if (open_fds() != fds)
		return 3;
	return again < 0 ? 2 : rc < 0;
}

/* Whatever happened in the child: the old checkpoint is whole, what is listed is good, a new
 * one can be made, and a collection leaves only what is needed. */
static void check_after_fault(const struct fixture *fx, const char *old)
{
	struct store *store = open_store(fx);
	struct store_gc_report report;
	struct store_entry *entries;
	char id[STORE_ID_MAX];
	struct err err = ERR_INIT;
	size_t count;

	assert_true(check_all_good(store) >= 1);
	assert_int_equal(checkpoints_count(store, "demo"), 1);
	assert_ok(small_make(fx, store, "child", 50, id, &err));
	assert_ok(verify_full(store, id, &err));
	assert_ok(store_list(store, "child", &entries, &count, &err));
	for (size_t i = 0; i < count; i++)
		assert_ok(store_remove(store, entries[i].id, &err));
	free(entries);
	for (int i = 0; i < 2; i++)
		assert_ok(store_gc(store, NULL, &report, &err));
	assert_int_equal(objects_count(fx->store, "packs"), report.packs);
	assert_int_equal(objects_count(fx->store, "manifests"), 1);
	assert_int_equal(objects_count(fx->store, "condemned"), 0);
	assert_int_equal(objects_count(fx->store, "removed"), 0);
	assert_int_equal(objects_count(fx->store, "leases"), 0);
	assert_ok(verify_full(store, old, &err));
	store_close(store);
}

static const char *const points[] = {
	"store.write",   "store.fsync",  "store.rename", "store.publish",
	"store.catalog", "store.remove", "gc.marked",    "gc.rewritten",
	"gc.condemned",  "gc.delete",    "gc.deleted",
};

enum { POINTS = sizeof(points) / sizeof(points[0]) };

/* Passages 1, 2, 3 … of a point, later not all of them, until the work does not come so far. */
static void at_each_point(const struct fixture *fx, const char *action)
{
	struct store *store = open_store(fx);
	struct err err = ERR_INIT;
	char old[STORE_ID_MAX];

	usleep(150000); /* the images are remembered, so that the children write streams only */
	assert_ok(small_make(fx, store, "demo", 5, old, &err));
	store_close(store);
	for (size_t i = 0; i < POINTS; i++) {
		int hits = 0, misses = 0;

		/* A fault that is coped with, and one behind the last passage, look the same.
		 */
		for (int n = 1; misses < 3; n += 1 + n / 2) {
			char fault[80];
			int status;

			snprintf(fault, sizeof(fault), "%s:%d%s", points[i], n, action);
			status = child_run(fault, work_twice, (void *)(uintptr_t)fx);
			check_after_fault(fx, old);
			if (WIFEXITED(status) && WEXITSTATUS(status) > 1)
				fail_msg("%s: status %d", fault, WEXITSTATUS(status));
			misses = status == 0 ? misses + 1 : 0;
			hits += status != 0;
		}
		if (!hits && !*action)
			fail_msg("%s was not passed", points[i]);
	}
}

static void test_killed(void **state)
{
	at_each_point(*state, "");
}

static void test_failed(void **state)
{
	at_each_point(*state, ":fail=EIO");
}

static void test_failed_no_space(void **state)
{
	at_each_point(*state, ":fail=ENOSPC");
}

/* Writes and fsyncs that really fail, once, at any call. */
static int work_io_fails(void *arg)
{
	const struct fixture *fx = arg;

	for (int n = 0; n < 200; n += 1 + n / 6) {
		struct err err = ERR_INIT;
		int rc;

		if (n % 2)
			write_fails_after = n;
		else
			fsync_fails_after = n;
		rc = work(fx, &err);
		if (rc < 0 && (rc != -EIO || !strstr(err.msg, fx->store))) {
			fprintf(stderr, "    child: %d: %s\n", rc, err.msg);
			return 4;
		}
		write_fails_after = fsync_fails_after = -1;
		rc = work(fx, &err);
		if (rc < 0) {
			fprintf(stderr, "    child, again: %s\n", err.msg);
			return 5;
		}
	}
	return 0;
}

static int work_short_writes(void *arg)
{
	write_part = 1000;
	return work_twice(arg);
}

static void test_io(void **state)
{
	struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct err err = ERR_INIT;
	char old[STORE_ID_MAX];

	assert_ok(small_make(fx, store, "demo", 5, old, &err));
	store_close(store);
	assert_int_equal(child_run(NULL, work_short_writes, fx), 0);
	check_after_fault(fx, old);
	assert_int_equal(child_run(NULL, work_io_fails, fx), 0);
	check_after_fault(fx, old);
}

/* A tmpfs at fx->store; false: it cannot be had. */
static bool small_mount(const struct fixture *fx, const char *options)
{
	assert_int_equal(mkdir(fx->store, 0700), 0);
	if (unshare(CLONE_NEWNS) == 0 &&
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	    mount("tmpfs", fx->store, "tmpfs", 0, options) == 0)
		return true;
	print_message("    skipped: cannot mount a small tmpfs: %s\n", strerror(errno));
	return false;
}

static void fill_up(const char *dir)
{
	char path[IO_PATH_MAX], block[4096] = {1};
	int fd;

	snprintf(path, sizeof(path), "%s/filler", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	close(fd);
}

/* With not a byte left the store still opens, lists, verifies, reads, and makes room again. */
static void check_filled_up(const struct fixture *fx, const char *last, size_t made)
{
	struct store_gc_report report;
	struct store *store;
	char id[STORE_ID_MAX];
	struct err err = ERR_INIT;

	fill_up(fx->store);
	store = open_store(fx);
	assert_int_equal(checkpoints_count(store, NULL), made);
	assert_ok(verify_full(store, last, &err));
	assert_fails(small_make(fx, store, "demo", 900, id, &err), ENOSPC, "no space left");
	assert_ok(store_remove(store, last, &err));
	assert_ok(store_gc(store, NULL, &report, &err));
	assert_true(report.freed_bytes > 0);
	assert_int_equal(check_all_good(store), made - 1);
	assert_ok(small_make(fx, store, "demo", 901, id, &err));
	assert_int_equal(check_all_good(store), made);
	store_close(store);
}

static void test_full_file_system(void **state)
{
	const struct fixture *fx = *state;
	char id[STORE_ID_MAX], last[STORE_ID_MAX] = "";
	struct err err = ERR_INIT;
	struct store *store;
	size_t made = 0;
	unsigned int fds = 0;
	int rc = 0;

	if (!small_mount(fx, "size=3m"))
		skip();
	store = open_store(fx);
	for (uint32_t seed = 10; rc == 0 && seed < 2000; seed += 10) {
		rc = small_make(fx, store, "demo", seed, id, &err);
		if (rc == 0)
			memcpy(last, id, sizeof(last));
		made += rc == 0;
	}
	assert_int_equal(rc, -ENOSPC);
	assert_true(made >= 5);
	assert_non_null(strstr(err.msg, "no space left on the store"));
	assert_non_null(strstr(err.msg, "needs up to"));
	for (int i = 0; i < 20; i++) {
		assert_int_equal(checkpoint_make(fx, store, "demo", 5000, id, &err), -ENOSPC);
		if (i == 4) /* some of what was read stays open */
			fds = open_fds();
		assert_true(i < 4 || open_fds() <= fds + 5);
	}
	assert_int_equal(check_all_good(store), made);
	store_close(store);
	check_filled_up(fx, last, made);
	assert_int_equal(umount(fx->store), 0);
}

/* A store on a medium that is read-only is read as ever. */
static void test_read_only_medium(void **state)
{
	const struct fixture *fx = *state;
	struct store_gc_report report;
	char id[STORE_ID_MAX], next[STORE_ID_MAX];
	struct err err = ERR_INIT;
	struct store *store;

	if (!small_mount(fx, "size=20m"))
		skip();
	store = open_store(fx);
	assert_ok(checkpoint_make(fx, store, "demo", 10, id, &err));
	assert_int_equal(mount(NULL, fx->store, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(checkpoints_count(store, NULL), 1);
		check_checkpoint(fx, store, id, 10);
		assert_ok(verify_full(store, id, &err));
		assert_int_equal(checkpoint_make(fx, store, "demo", 20, next, &err), -EROFS);
		assert_int_equal(store_remove(store, id, &err), -EROFS);
		assert_int_equal(store_gc(store, NULL, &report, &err), -EROFS);
		store_close(store);
		store = open_store(fx);
	}
	assert_int_equal(mount(NULL, fx->store, NULL, MS_REMOUNT, NULL), 0);
	assert_ok(checkpoint_make(fx, store, "demo", 20, next, &err));
	assert_int_equal(check_all_good(store), 2);
	store_close(store);
	assert_int_equal(umount(fx->store), 0);
}

/* A write that the system refuses half-way: a limit on the size of files. */
static int small_files_only(void *arg)
{
	const struct fixture *fx = arg;
	struct rlimit limit = {.rlim_cur = 1 << 15, .rlim_max = 1 << 15};
	struct store_config config = plain_config(fx);
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX];
	struct store *store;

	config.cache_dir = NULL;
	if (store_open(&config, &store, &err) < 0)
		return 1;
	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 2;
	if (checkpoint_make(fx, store, "demo", 1, id, &err) != -EFBIG ||
	    !strstr(err.msg, "packs/"))
		return 3;
	store_close(store);
	return 0;
}

static void test_refused_write(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(child_run(NULL, small_files_only, fx), 0);
	assert_int_equal(dir_count(fx->store, "packs"), 0);
	assert_int_equal(dir_count(fx->store, "manifests"), 0);
}

/* The directory vanishes, and comes back. */
static void test_vanished_directory(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct store_gc_report report;
	struct store_entry *entries = NULL;
	char id[STORE_ID_MAX], next[STORE_ID_MAX], away[400];
	struct err err = ERR_INIT;
	size_t count;

	snprintf(away, sizeof(away), "%s-away", fx->store);
	assert_ok(checkpoint_make(fx, store, "demo", 10, id, &err));
	assert_int_equal(rename(fx->store, away), 0);
	for (int i = 0; i < 2; i++) { /* gone; then an empty one in its place */
		assert_fails(checkpoint_make(fx, store, "demo", 20, next, &err), EIO,
			     fx->store);
		assert_fails(verify_full(store, id, &err), EIO, fx->store);
		assert_fails(store_list(store, NULL, &entries, &count, &err), EIO, fx->store);
		assert_fails(store_gc(store, NULL, &report, &err), EIO, fx->store);
		assert_fails(store_remove(store, id, &err), EIO, fx->store);
		if (i == 0)
			assert_int_equal(mkdir(fx->store, 0700), 0);
	}
	assert_int_equal(dir_count(fx->store, ""), 0);
	assert_int_equal(rmdir(fx->store), 0);
	assert_int_equal(rename(away, fx->store), 0);
	assert_int_equal(check_all_good(store), 1);
	assert_ok(checkpoint_make(fx, store, "demo", 20, next, &err));
	check_checkpoint(fx, store, id, 10);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_killed),           FIXTURE_TEST(test_failed),
		FIXTURE_TEST(test_failed_no_space),  FIXTURE_TEST(test_io),
		FIXTURE_TEST(test_refused_write),    FIXTURE_TEST(test_vanished_directory),
		FIXTURE_TEST(test_full_file_system), FIXTURE_TEST(test_read_only_medium),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
