/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the store under faults: killed and failed at every point, full file systems, refused
 * writes. */
#include "store_fixture.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

/* In a child: open the store, make a checkpoint of seed 50, remove it again. */
static int make_and_remove(void *arg)
{
	const struct fixture *fx = arg;
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX];
	struct store *store;
	int rc = store_open(fx->store, &store, &err);

	if (rc == 0)
		rc = checkpoint_make(fx, store, "demo", 50, id, &err);
	if (rc == 0)
		rc = store_remove(store, id, &err);
	if (rc < 0)
		fprintf(stderr, "    child: %s\n", err.msg);
	return rc < 0 ? 1 : 0;
}

/* Whatever happened in the child: the old checkpoint is whole, and listed checkpoints are good.
 */
static size_t check_after_fault(const struct fixture *fx, const char *old)
{
	struct store *store = open_store(fx);
	struct store_entry *entries;
	struct err err = ERR_INIT;
	size_t count;

	assert_ok(store_list(store, NULL, &entries, &count, &err));
	assert_int_equal(dir_count(fx->store, "checkpoints"), count);
	assert_int_equal(dir_count(fx->store, "images"), 3);
	assert_string_equal(entries[0].id, old);
	for (size_t i = 0; i < count; i++) {
		assert_false(entries[i].damaged);
		assert_ok(store_verify(store, entries[i].id, false, NULL, NULL, &err));
		if (strcmp(entries[i].id, old))
			assert_ok(store_remove(store, entries[i].id, &err));
	}
	check_part(store, old, "vm0.ram", 5);
	assert_int_equal(list_count(store, NULL), 1);
	free(entries);
	store_close(store);
	return count;
}

static const struct {
	const char *name;
	int passages;
	size_t listed;   /* after a kill there */
	int fail_status; /* exit status of the child when the point fails instead */
} points[] = {
	{"store.write", 12, 1, 1},  {"store.fsync", 3, 1, 1},  {"store.rename", 1, 1, 1},
	{"store.catalog", 1, 2, 0}, {"store.remove", 1, 1, 1},
};

static void test_killed_at_each_point(void **state)
{
	struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct err err = ERR_INIT;
	char old[STORE_ID_MAX];

	usleep(150000); /* the images are remembered, so that the children write parts only */
	assert_ok(checkpoint_make(fx, store, "demo", 5, old, &err));
	store_close(store);
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		for (int n = 1; n <= points[i].passages; n++) {
			char fault[64];
			int status;

			snprintf(fault, sizeof(fault), "%s:%d", points[i].name, n);
			status = child_run(fault, make_and_remove, fx);
			assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
			assert_int_equal(check_after_fault(fx, old), points[i].listed);
		}
	assert_int_equal(child_run(NULL, make_and_remove, fx), 0);
	assert_int_equal(check_after_fault(fx, old), 1);
}

/* Images are written inside the same points: kill while the very first one of a store is put.
 */
static void test_killed_in_image(void **state)
{
	struct fixture *fx = *state;

	for (int n = 1; n <= 6; n++) {
		char fault[64];
		struct store *store;

		snprintf(fault, sizeof(fault), "store.write:%d", n);
		assert_true(WIFSIGNALED(child_run(fault, make_and_remove, fx)));
		store = open_store(fx);
		assert_int_equal(list_count(store, NULL), 0);
		assert_int_equal(dir_count(fx->store, "checkpoints"), 0);
		assert_int_equal(dir_count(fx->store, "images"), 0);
		store_close(store);
	}
}

static void test_failed_at_each_point(void **state)
{
	struct fixture *fx = *state;
	struct store *store = open_store(fx);
	struct err err = ERR_INIT;
	char old[STORE_ID_MAX];

	usleep(150000); /* the images are remembered, so that the children write parts only */
	assert_ok(checkpoint_make(fx, store, "demo", 5, old, &err));
	store_close(store);
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		for (int n = 1; n <= points[i].passages; n++) {
			char fault[64];
			int status;

			snprintf(fault, sizeof(fault), "%s:%d:fail=%s", points[i].name, n,
				 n % 2 ? "EIO" : "ENOSPC");
			status = child_run(fault, make_and_remove, fx);
			assert_true(WIFEXITED(status));
			assert_int_equal(WEXITSTATUS(status), points[i].fail_status);
			assert_int_equal(check_after_fault(fx, old), 1);
		}
}

/* In a child: a commit whose catalog fails, then a list; and a removal that fails, then a list
 * and a second try. */
static int catalog_fails(void *arg)
{
	const struct fixture *fx = arg;
	struct err err = ERR_INIT;
	struct store_entry *entries = NULL;
	char id[STORE_ID_MAX];
	struct store *store;
	size_t count = 0;

	if (store_open(fx->store, &store, &err) < 0 ||
	    checkpoint_make(fx, store, "demo", 50, id, &err) < 0)
		return 1;
	if (store_list(store, NULL, &entries, &count, &err) < 0 || count != 1 ||
	    strcmp(entries[0].id, id))
		return 2;
	free(entries);
	if (store_remove(store, id, &err) != -EIO || !strstr(err.msg, "is removed, but"))
		return 3;
	if (store_list(store, NULL, &entries, &count, &err) < 0 || count != 0)
		return 4;
	free(entries);
	if (store_remove(store, id, &err) != 0 || dir_count(fx->store, "checkpoints") != 0)
		return 5;
	store_close(store);
	return 0;
}

static void test_faults_while_running(void **state)
{
	assert_int_equal(child_run("store.catalog:1:fail=EIO,store.remove:1:fail=EIO",
				   catalog_fails, *state),
			 0);
}

/* With not a byte left the store still opens, lists, and makes room again. */
static void check_filled_up(const struct fixture *fx, const char *dir, const char *last,
			    int made)
{
	char path[IO_PATH_MAX], id[STORE_ID_MAX], block[4096] = {1};
	struct err err = ERR_INIT;
	struct store *store;
	int fd;

	snprintf(path, sizeof(path), "%s/lost+found", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, block, sizeof(block)) > 0)
		;
	close(fd);
	assert_ok(store_open(dir, &store, &err));
	assert_int_equal(list_count(store, NULL), made);
	assert_ok(store_remove(store, last, &err));
	assert_int_equal(list_count(store, NULL), made - 1);
	assert_ok(checkpoint_make(fx, store, "demo", 60, id, &err));
	assert_ok(store_verify(store, id, false, NULL, NULL, &err));
	store_close(store);
}

static void test_full_file_system(void **state)
{
	const struct fixture *fx = *state;
	char mount_at[300], id[STORE_ID_MAX], last[STORE_ID_MAX] = "";
	struct err err = ERR_INIT;
	struct store *store;
	int rc = 0, made = 0;

	snprintf(mount_at, sizeof(mount_at), "%.200s/small", fx->dir);
	assert_int_equal(mkdir(mount_at, 0700), 0);
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", mount_at, "tmpfs", 0, "size=12m") < 0) {
		print_message("    skipped: cannot mount a small tmpfs: %s\n", strerror(errno));
		skip();
	}
	assert_ok(store_open(mount_at, &store, &err));
	for (uint32_t seed = 1; rc == 0 && seed < 50; seed++) {
		rc = checkpoint_make(fx, store, "demo", seed, id, &err);
		if (rc == 0) {
			memcpy(last, id, sizeof(last));
			made++;
		}
	}
	assert_int_equal(rc, -ENOSPC);
	assert_true(made >= 1);
	assert_non_null(strstr(err.msg, "no space left on the store"));
	assert_non_null(strstr(err.msg, "needs up to"));
	assert_int_equal(list_count(store, NULL), made);
	assert_int_equal(dir_count(mount_at, "checkpoints"), made);
	assert_ok(store_verify(store, last, false, NULL, NULL, &err));
	store_close(store);
	check_filled_up(fx, mount_at, last, made);
	assert_int_equal(umount(mount_at), 0);
}

/* A write that the system refuses half-way (as EIO would): a limit on the size of files. */
static int small_files_only(void *arg)
{
	const struct fixture *fx = arg;
	struct rlimit limit = {.rlim_cur = 1 << 18, .rlim_max = 1 << 18};
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX];
	struct store *store;

	if (store_open(fx->store, &store, &err) < 0)
		return 1;
	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 2;
	if (checkpoint_make(fx, store, "demo", 1, id, &err) != -EFBIG ||
	    !strstr(err.msg, "vm0.ram.simg"))
		return 3;
	store_close(store);
	return 0;
}

static void test_refused_write(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(child_run(NULL, small_files_only, fx), 0);
	assert_int_equal(dir_count(fx->store, "checkpoints"), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_create, fixture_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_killed_at_each_point), TEST(test_killed_in_image),
		TEST(test_failed_at_each_point), TEST(test_faults_while_running),
		TEST(test_refused_write),        TEST(test_full_file_system),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
