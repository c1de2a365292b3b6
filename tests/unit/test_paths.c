/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of where things are: environment, defaults, refusals, programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/paths.h"

typedef int (*dir_fn)(char *ret_path, size_t size, struct err *err);

static const struct {
	const char *variable;
	dir_fn fn;
} dirs[] = {{"STASIS_RUN_DIR", paths_run_dir},
	    {"STASIS_STATE_DIR", paths_state_dir},
	    {"STASIS_CACHE_DIR", paths_cache_dir},
	    {"STASIS_STORE_DIR", paths_store_dir}};
enum { DIRS = sizeof(dirs) / sizeof(dirs[0]) };

static int clear(void **state)
{
	static const char *const names[] = {"XDG_RUNTIME_DIR", "XDG_STATE_HOME",
					    "XDG_CACHE_HOME", "STASIS_LIBEXEC_DIR"};
	size_t i;

	(void)state;
	for (i = 0; i < DIRS; i++)
		unsetenv(dirs[i].variable);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
	setenv("HOME", "/home/someone", 1);
	return 0;
}

static void test_environment(void **state)
{
	char path[IO_PATH_MAX];
	struct err err;
	size_t i;

	(void)state;
	for (i = 0; i < DIRS; i++) {
		setenv(dirs[i].variable, "/some/where", 1);
		assert_int_equal(dirs[i].fn(path, sizeof(path), &err), 0);
		assert_string_equal(path, "/some/where");
		assert_int_equal(dirs[i].fn(path, 5, &err), -ENAMETOOLONG);
		setenv(dirs[i].variable, "some/where", 1);
		assert_int_equal(dirs[i].fn(path, sizeof(path), &err), -EINVAL);
		assert_non_null(strstr(err.msg, dirs[i].variable));
	}
}

static void test_store_remote(void **state)
{
	char path[IO_PATH_MAX];
	struct err err;

	(void)state;
	setenv("STASIS_STORE_DIR", "s3://bucket/some/where", 1);
	assert_int_equal(paths_store_dir(path, sizeof(path), &err), 0);
	assert_string_equal(path, "s3://bucket/some/where");
	assert_true(paths_store_remote(path));
	assert_false(paths_store_remote("/s3://bucket"));
	setenv("STASIS_STORE_DIR", "ftp://host/x", 1);
	assert_int_equal(paths_store_dir(path, sizeof(path), &err), -EINVAL);
	assert_non_null(strstr(err.msg, "ftp://host/x"));
	setenv("STASIS_STORE_DIR", "", 1);
	setenv("STASIS_STATE_DIR", "/s", 1);
	assert_int_equal(paths_store_dir(path, sizeof(path), &err), 0);
	assert_string_equal(path, "/s/store");
}

static void test_defaults(void **state)
{
	bool root = geteuid() == 0;
	char path[IO_PATH_MAX], own[64];
	struct err err;

	(void)state;
	snprintf(own, sizeof(own), "/tmp/stasis-%u", (unsigned int)geteuid());
	assert_int_equal(paths_run_dir(path, sizeof(path), &err), 0);
	assert_string_equal(path, root ? "/run/stasis" : own);
	assert_int_equal(paths_state_dir(path, sizeof(path), &err), 0);
	assert_string_equal(path,
			    root ? "/var/lib/stasis" : "/home/someone/.local/state/stasis");
	assert_int_equal(paths_store_dir(path, sizeof(path), &err), 0);
	assert_string_equal(path, root ? "/var/lib/stasis/store"
				       : "/home/someone/.local/state/stasis/store");
	assert_int_equal(paths_cache_dir(path, sizeof(path), &err), 0);
	assert_string_equal(path, "/home/someone/.cache/stasis");
	setenv("XDG_CACHE_HOME", "/c", 1);
	assert_int_equal(paths_cache_dir(path, sizeof(path), &err), 0);
	assert_string_equal(path, "/c/stasis");
	setenv("STASIS_STATE_DIR", "/s", 1);
	assert_int_equal(paths_store_dir(path, sizeof(path), &err), 0);
	assert_string_equal(path, "/s/store");
	unsetenv("XDG_CACHE_HOME");
	setenv("HOME", "not/absolute", 1);
	assert_int_equal(paths_cache_dir(path, sizeof(path), &err), -EINVAL);
	unsetenv("HOME");
	assert_int_equal(paths_cache_dir(path, sizeof(path), &err), 0);
	assert_int_equal(path[0], '/');
}

static void test_socket(void **state)
{
	char path[IO_PATH_MAX], dir[200] = "/";
	struct err err;

	(void)state;
	setenv("STASIS_RUN_DIR", "/r", 1);
	assert_int_equal(paths_socket(path, sizeof(path), &err), 0);
	assert_string_equal(path, "/r/stasisd.sock");
	memset(dir + 1, 'x', 93);
	setenv("STASIS_RUN_DIR", dir, 1);
	assert_int_equal(paths_socket(path, sizeof(path), &err), 0);
	dir[94] = 'x';
	setenv("STASIS_RUN_DIR", dir, 1);
	assert_int_equal(paths_socket(path, sizeof(path), &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.msg, "STASIS_RUN_DIR"));
}

static void test_programs(void **state)
{
	char dir[] = "/tmp/stasis-paths-XXXXXX", path[IO_PATH_MAX], program[IO_PATH_MAX];
	struct err err;
	FILE *file;

	(void)state;
	assert_int_equal(paths_program("test_paths", path, sizeof(path), &err),
			 0); /* beside this one: itself */
	assert_int_equal(paths_program("no-such-program", path, sizeof(path), &err), -ENOENT);
	assert_non_null(strstr(err.msg, "libexec/stasis"));
	assert_non_null(mkdtemp(dir));
	snprintf(program, sizeof(program), "%s/no-such-program", dir);
	file = fopen(program, "we");
	assert_non_null(file);
	fclose(file);
	setenv("STASIS_LIBEXEC_DIR", dir, 1);
	assert_int_equal(paths_program("no-such-program", path, sizeof(path), &err),
			 -ENOENT); /* not executable */
	assert_non_null(strstr(err.msg, dir));
	assert_int_equal(chmod(program, 0755), 0);
	assert_int_equal(paths_program("no-such-program", path, sizeof(path), &err), 0);
	assert_string_equal(path, program);
	assert_int_equal(io_remove_all(dir, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_environment, clear),
		cmocka_unit_test_setup(test_store_remote, clear),
		cmocka_unit_test_setup(test_defaults, clear),
		cmocka_unit_test_setup(test_socket, clear),
		cmocka_unit_test_setup(test_programs, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
