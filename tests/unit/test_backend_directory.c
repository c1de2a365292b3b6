/* SPDX-License-Identifier: BSD-3-Clause */
/* The directory backend under faults: killed and failed writers, vanished and read-only
 * directories, full file systems, foreign files. */
#include "backend_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "base/clock.h"

enum { LARGE = 20 << 20 };

struct fixture {
	char scratch[256], dir[300];
	struct backend *backend;
};

static int fixture_create(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));
	struct err err = ERR_INIT;

	assert_non_null(fx);
	scratch_make(fx->scratch, sizeof(fx->scratch));
	snprintf(fx->dir, sizeof(fx->dir), "%s/store", fx->scratch);
	assert_ok(backend_open(fx->dir, &fx->backend, &err));
	assert_ok(bytes_put(fx->backend, "packs/old", 5000, 1, &err));
	*state = fx;
	return 0;
}

static int fixture_destroy(void **state)
{
	struct fixture *fx = *state;
	struct err err = ERR_INIT;

	backend_close(fx->backend);
	assert_ok(io_remove_all(fx->scratch, &err));
	free(fx);
	return 0;
}

static void path_in(const struct fixture *fx, const char *below, char ret_path[600])
{
	snprintf(ret_path, 600, "%s/%s", fx->dir, below);
}

/* Files of packs/ whose names begin so. */
static size_t files_count(const struct fixture *fx, const char *begin)
{
	const struct dirent *entry;
	size_t count = 0;
	char path[600];
	DIR *dir;

	path_in(fx, "packs", path);
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir)))
		count += !strncmp(entry->d_name, begin, strlen(begin)) &&
			 strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
	closedir(dir);
	return count;
}

/* In a child: put a large object under a new name, and one in the old one's place. */
static int put_two(void *arg)
{
	const struct fixture *fx = arg;
	struct err err = ERR_INIT;
	struct backend *backend;
	int rc = backend_open(fx->dir, &backend, &err);

	if (rc == 0)
		rc = bytes_put(backend, "packs/new", LARGE, 2, &err);
	if (rc == 0)
		rc = bytes_put(backend, "packs/old", 6000, 3, &err);
	if (rc < 0 && (!strstr(err.msg, fx->dir) || !strstr(err.msg, "injected")))
		return 3;
	backend_close(backend);
	return rc < 0 ? 1 : 0;
}

/* Whatever happened: objects are whole, old or new, and tidying leaves no temporary file. */
static void check_after_fault(struct fixture *fx, bool killed)
{
	struct err err = ERR_INIT;
	int has_new = backend_has(fx->backend, "packs/new", &err);

	assert_true(has_new == 0 || bytes_held(fx->backend, "packs/new", LARGE, 2, &err));
	assert_true(bytes_held(fx->backend, "packs/old", 5000, 1, &err) ||
		    bytes_held(fx->backend, "packs/old", 6000, 3, &err));
	assert_int_equal(list_count(fx->backend, "packs"), 1 + has_new);
	assert_int_equal(files_count(fx, ".tmp-"), killed ? 1 : 0);
	assert_ok(fx->backend->ops->tidy(fx->backend, 3600 * NS_PER_S, &err));
	/* The writer is over, so there is no need to wait. */
	assert_int_equal(files_count(fx, ".tmp-"), 0);
	assert_ok(fx->backend->ops->remove(fx->backend, "packs/new", &err));
	assert_ok(bytes_put(fx->backend, "packs/old", 5000, 1, &err));
}

/* How many writes there are depends on where the bytes lie in memory. */
static const struct {
	const char *name;
	int least, most;
} points[] = {{"store.write", 2, 1000}, {"store.fsync", 2, 2}, {"store.rename", 2, 2}};

static void test_killed_at_each_point(void **state)
{
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		for (int n = 1; n <= points[i].most; n++) {
			char fault[64];
			int status;

			snprintf(fault, sizeof(fault), "%s:%d", points[i].name, n);
			status = child_run(fault, put_two, *state);
			if (n > points[i].least && status == 0)
				break;
			assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
			check_after_fault(*state, true);
		}
	assert_int_equal(child_run(NULL, put_two, *state), 0);
	check_after_fault(*state, false);
}

static void test_failed_at_each_point(void **state)
{
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		for (int n = 1; n <= points[i].most; n++) {
			char fault[64];
			int status;

			snprintf(fault, sizeof(fault), "%s:%d:fail=%s", points[i].name, n,
				 n % 2 ? "EIO" : "ENOSPC");
			status = child_run(fault, put_two, *state);
			assert_true(WIFEXITED(status));
			if (n > points[i].least && WEXITSTATUS(status) == 0)
				break;
			assert_int_equal(WEXITSTATUS(status), 1);
			check_after_fault(*state, false);
		}
}

/* Nothing is said to be missing, or to be empty, when the directory itself is not there. */
static void check_vanished(struct backend *backend, const char *dir)
{
	struct backend_stat stat;
	struct err err = ERR_INIT;
	int64_t now_ns;
	size_t count = 0;
	uint64_t bytes;

	assert_fails(bytes_put(backend, "packs/p", 10, 1, &err), EIO, dir);
	assert_fails(bytes_put(backend, "others/p", 10, 1, &err), EIO, dir);
	assert_fails(backend->ops->stat(backend, "packs/old", &stat, &err), EIO, dir);
	assert_fails(backend->ops->read(backend, "packs/old", 0, &stat, 1, &err), EIO, dir);
	assert_fails(backend->ops->list(backend, "packs", count_one, &count, &err), EIO, dir);
	assert_fails(backend->ops->remove(backend, "packs/old", &err), EIO, dir);
	assert_fails(backend->ops->now(backend, &now_ns, &err), EIO, dir);
	assert_fails(backend->ops->free_bytes(backend, &bytes, &err), EIO, dir);
	assert_fails(backend->ops->tidy(backend, 0, &err), EIO, dir);
	assert_int_equal(backend_has(backend, "packs/old", &err), -EIO);
	assert_int_equal(count, 0);
}

static void test_vanished(void **state)
{
	struct fixture *fx = *state;
	struct backend_writer *writer;
	struct err err = ERR_INIT;
	char away[320];

	assert_ok(fx->backend->ops->begin(fx->backend, "packs/p", &writer, &err));
	assert_ok(fx->backend->ops->append(writer, "x", 1, &err));
	snprintf(away, sizeof(away), "%s.away", fx->dir);
	assert_int_equal(rename(fx->dir, away), 0);
	assert_fails(fx->backend->ops->commit(writer, &err), EIO, fx->dir);
	check_vanished(fx->backend, fx->dir);
	/* An empty directory in its place, as a mount point is without its file system. */
	assert_int_equal(mkdir(fx->dir, 0700), 0);
	check_vanished(fx->backend, fx->dir);
	assert_int_equal(rmdir(fx->dir), 0);
	assert_int_equal(rename(away, fx->dir), 0);
	assert_true(bytes_held(fx->backend, "packs/old", 5000, 1, &err));
	assert_int_equal(list_count(fx->backend, "packs"), 1);
}

static void test_kind_removed(void **state)
{
	struct fixture *fx = *state;
	struct err err = ERR_INIT;
	char path[600];

	assert_ok(fx->backend->ops->remove(fx->backend, "packs/old", &err));
	path_in(fx, "packs", path);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(backend_has(fx->backend, "packs/old", &err), 0);
	assert_ok(fx->backend->ops->remove(fx->backend, "packs/old", &err));
	assert_ok(bytes_put(fx->backend, "packs/p", 10, 1, &err));
	assert_true(bytes_held(fx->backend, "packs/p", 10, 1, &err));
}

/* In a child, in a mount namespace of its own. */
static int on_small_tmpfs(void *arg)
{
	const struct fixture *fx = arg;
	struct err err = ERR_INIT;
	struct backend *backend;
	struct backend_stat stat;
	int64_t now_ns;
	uint8_t byte;

	if (unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", fx->dir, "tmpfs", 0, "size=6m") < 0)
		return 77;
	if (backend_open(fx->dir, &backend, &err) < 0 ||
	    bytes_put(backend, "packs/old", 5000, 1, &err) < 0)
		return 1;
	if (bytes_put(backend, "packs/new", LARGE, 2, &err) != -ENOSPC ||
	    !strstr(err.msg, "packs/new") || backend_has(backend, "packs/new", &err) != 0)
		return 2;
	if (bytes_put(backend, "packs/small", 1 << 20, 2, &err) < 0 ||
	    !bytes_held(backend, "packs/old", 5000, 1, &err))
		return 3;
	if (mount("none", fx->dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return 77;
	if (bytes_put(backend, "packs/new", 10, 2, &err) != -EROFS ||
	    !strstr(err.msg, fx->dir) ||
	    backend->ops->remove(backend, "packs/old", &err) != -EROFS ||
	    backend->ops->now(backend, &now_ns, &err) != -EROFS)
		return 4;
	if (backend->ops->stat(backend, "packs/old", &stat, &err) < 0 ||
	    backend->ops->read(backend, "packs/old", 10, &byte, 1, &err) < 0 ||
	    !bytes_held(backend, "packs/old", 5000, 1, &err))
		return 5;
	backend_close(backend);
	return 0;
}

static void test_full_and_read_only(void **state)
{
	int status = child_run(NULL, on_small_tmpfs, *state);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("    skipped: cannot mount a small tmpfs\n");
		skip();
	}
	assert_int_equal(status, 0);
}

/* A write that the system takes half of, then refuses. */
static int small_files_only(void *arg)
{
	const struct fixture *fx = arg;
	struct rlimit limit = {.rlim_cur = 1 << 18, .rlim_max = 1 << 18};
	struct err err = ERR_INIT;
	struct backend *backend;

	signal(SIGXFSZ, SIG_IGN);
	if (backend_open(fx->dir, &backend, &err) < 0 || setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 1;
	if (bytes_put(backend, "packs/new", (1 << 18) + 1, 2, &err) != -EFBIG ||
	    !strstr(err.msg, "packs/new") || !strstr(err.msg, "262144"))
		return 2;
	if (bytes_put(backend, "packs/new", 1 << 18, 2, &err) < 0)
		return 3;
	backend_close(backend);
	return 0;
}

static void test_refused_write(void **state)
{
	struct fixture *fx = *state;
	struct err err = ERR_INIT;

	assert_int_equal(child_run(NULL, small_files_only, fx), 0);
	assert_int_equal(files_count(fx, ".tmp-"), 0);
	assert_true(bytes_held(fx->backend, "packs/new", 1 << 18, 2, &err));
}

/* Links, pipes and directories are no objects, and nobody waits for them. */
static void test_foreign_files(void **state)
{
	static const char *const names[] = {"packs/link", "packs/pipe", "packs/dir"};
	struct fixture *fx = *state;
	struct backend *backend = fx->backend;
	char path[3][600], old[600], foreign[600];
	struct backend_stat stat;
	struct err err = ERR_INIT;
	uint8_t byte;

	path_in(fx, "packs/old", old);
	for (size_t i = 0; i < 3; i++)
		path_in(fx, names[i], path[i]);
	assert_int_equal(symlink(old, path[0]), 0);
	assert_int_equal(mkfifo(path[1], 0600), 0);
	assert_int_equal(mkdir(path[2], 0700), 0);
	path_in(fx, "packs/not a name", foreign);
	close(open(foreign, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	for (size_t i = 0; i < 3; i++) {
		assert_fails(backend->ops->read(backend, names[i], 0, &byte, 1, &err), EBADMSG,
			     path[i]);
		assert_fails(backend->ops->stat(backend, names[i], &stat, &err), EBADMSG,
			     path[i]);
	}
	assert_int_equal(list_count(backend, "packs"), 1);
	assert_ok(backend->ops->remove(backend, "packs/link", &err));
	assert_true(bytes_held(backend, "packs/old", 5000, 1, &err));
}

static void test_modes(void **state)
{
	struct fixture *fx = *state;
	char path[600];
	struct stat st;

	path_in(fx, "packs", path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	path_in(fx, "packs/old", path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

/* More objects than descriptors are kept, read over and over. */
static void test_many_ranges(void **state)
{
	struct fixture *fx = *state;
	struct err err = ERR_INIT;
	char name[64];

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "packs/n%d", i);
		assert_ok(backend_put(fx->backend, name, name, sizeof(name), &err));
	}
	for (int i = 0; i < 1000; i++) {
		char have[8] = "";

		snprintf(name, sizeof(name), "packs/n%d", i * 37 % (i % 2 ? 100 : 10));
		assert_ok(fx->backend->ops->read(fx->backend, name, 6, have, 7, &err));
		assert_string_equal(have, name + 6);
	}
}

static void test_locations(void **state)
{
	struct fixture *fx = *state;
	struct backend *backend;
	struct err err = ERR_INIT;
	char path[600];

	path_in(fx, "packs/old", path);
	assert_fails(backend_open("", &backend, &err), EINVAL, "empty");
	assert_fails(backend_open("http://host/store", &backend, &err), EINVAL, "http://host");
	assert_fails(backend_open("s3://", &backend, &err), EINVAL, "s3://bucket/prefix");
	assert_fails(backend_open("s3://bucket/a b", &backend, &err), EINVAL, "a b");
	assert_fails(backend_open(path, &backend, &err), ENOTDIR, path);
	path_in(fx, "deeper/still/", path);
	assert_ok(backend_open(path, &backend, &err));
	assert_ok(bytes_put(backend, "packs/p", 1, 1, &err));
	backend_close(backend);
	backend_close(NULL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_create, fixture_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_killed_at_each_point),
		TEST(test_failed_at_each_point),
		TEST(test_vanished),
		TEST(test_kind_removed),
		TEST(test_full_and_read_only),
		TEST(test_refused_write),
		TEST(test_foreign_files),
		TEST(test_modes),
		TEST(test_many_ranges),
		TEST(test_locations),
	};

	return cmocka_run_group_tests_name("directory", tests, NULL, NULL);
}
