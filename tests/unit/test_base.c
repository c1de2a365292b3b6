/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of base: errors, files, fault points, threads, deadlines, the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/budget.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/idle.h"
#include "base/io.h"
#include "base/log.h"
#include "base/parallel.h"

static char work[IO_PATH_MAX];

static int work_setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(work, sizeof(work), "%s/stasis-base-XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(work) ? 0 : -1;
}

static int work_teardown(void **state)
{
	(void)state;
	return io_remove_all(work, NULL);
}

static void test_err_sentences(void **state)
{
	struct err err = ERR_INIT;
	char *name;

	(void)state;
	assert_int_equal(err_set(&err, EINVAL, "bad %s", "thing"), -EINVAL);
	assert_string_equal(err.msg, "bad thing");
	assert_int_equal(err_prefix(&err, "file %d", 7), -EINVAL);
	/* Without a sentence it is an error all the same. */
	assert_int_equal(err_prefix(NULL, "file %d", 7), -EIO);
	assert_string_equal(err.msg, "file 7: bad thing");
	assert_int_equal(err_sys(&err, ENOENT, "cannot open %s", "x"), -ENOENT);
	assert_non_null(strstr(err.msg, "cannot open x: "));
	assert_int_equal(err_set(NULL, EIO, "nobody listens"), -EIO);

	name = malloc(3000);
	memset(name, 'a', 2999);
	name[2999] = '\0';
	err_set(&err, EIO, "%s", name);
	err_prefix(&err, "%s", name);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	free(name);
}

static void test_replace_file_is_whole(void **state)
{
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX + 16], tmp[IO_PATH_MAX + 32], *text;
	size_t len;

	(void)state;
	snprintf(path, sizeof(path), "%s/file", work);
	snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	assert_int_equal(io_replace_file(path, "one", 3, 0600, &err), 0);
	assert_int_equal(io_replace_file(path, "second", 6, 0600, &err), 0);
	assert_int_equal(io_read_file(path, 100, &text, &len, &err), 0);
	assert_int_equal(len, 6);
	assert_string_equal(text, "second");
	free(text);
	assert_int_equal(access(tmp, F_OK), -1);
	assert_int_equal(io_read_file(path, 5, &text, &len, &err), -EFBIG);
	/* A symbolic link in place of the temporary file is not followed. */
	assert_int_equal(symlink("/dev/null", tmp), 0);
	assert_int_equal(io_replace_file(path, "x", 1, 0600, &err), -ELOOP);
	assert_int_equal(unlink(tmp), 0);
}

static void test_directories(void **state)
{
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX + 16], link[IO_PATH_MAX + 16];

	(void)state;
	snprintf(path, sizeof(path), "%s/a/b/c", work);
	assert_int_equal(io_mkdir_all(path, 0700, &err), 0);
	assert_int_equal(io_mkdir_all(path, 0700, &err), 0);
	snprintf(link, sizeof(link), "%s/a/b/link", work);
	assert_int_equal(symlink("/", link), 0);
	snprintf(path, sizeof(path), "%s/a", work);
	assert_int_equal(io_remove_all(path, &err), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access("/etc", F_OK), 0);
	assert_int_equal(io_remove_all(path, &err), 0);
	snprintf(path, sizeof(path), "%s/file", work);
	assert_int_equal(io_replace_file(path, "", 0, 0600, &err), 0);
	snprintf(path, sizeof(path), "%s/file/x", work);
	assert_int_equal(io_mkdir_all(path, 0700, &err), -ENOTDIR);
}

static void test_short_file_is_an_error(void **state)
{
	struct err err = ERR_INIT;
	char buf[8], path[IO_PATH_MAX + 16];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/short", work);
	assert_int_equal(io_replace_file(path, "1234", 4, 0600, &err), 0);
	fd = open(path, O_RDONLY);
	assert_int_equal(io_pread_all(fd, buf, 4, 0, &err), 0);
	assert_int_equal(io_pread_all(fd, buf, 8, 0, &err), -EIO);
	assert_int_equal(io_pread_all(fd, buf, 1, 100, &err), -EIO);
	close(fd);
}

static int count_item(size_t index, void *arg, struct err *err)
{
	(void)err;
	atomic_fetch_add((atomic_size_t *)arg, index + 1);
	return 0;
}

static int fail_at_five(size_t index, void *arg, struct err *err)
{
	atomic_fetch_add((atomic_size_t *)arg, 1);
	return index == 5 ? err_set(err, EIO, "item five") : 0;
}

static void test_parallel(void **state)
{
	struct err err = ERR_INIT;
	atomic_size_t sum = 0, calls = 0;

	(void)state;
	assert_int_equal(parallel_for(1000, 4, count_item, &sum, &err), 0);
	assert_int_equal(sum, 500500);
	assert_int_equal(parallel_for(0, 4, count_item, &sum, &err), 0);
	assert_int_equal(sum, 500500);
	assert_int_equal(parallel_for(1000, 1, fail_at_five, &calls, &err), -EIO);
	assert_int_equal(calls, 6);
	assert_string_equal(err.msg, "item five");
	calls = 0;
	assert_int_equal(parallel_each(20, fail_at_five, &calls, &err), -EIO);
	assert_int_equal(calls, 20);
	assert_true(parallel_cpus() >= 1);
}

static int note_priority(size_t index, void *arg, struct err *err)
{
	int *priorities = arg;

	(void)err;
	priorities[index] = getpriority(PRIO_PROCESS, (id_t)gettid());
	return 0;
}

/* Work at a lower priority is done there, and the caller keeps its own. */
static void test_parallel_nice(void **state)
{
	struct err err = ERR_INIT;
	int own = getpriority(PRIO_PROCESS, 0), priorities[50];
	int wanted = own + 3 < 19 ? own + 3 : 19;
	atomic_size_t calls = 0;

	(void)state;
	assert_int_equal(parallel_for_nice(50, 2, 3, note_priority, priorities, &err), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(priorities[i], wanted);
	assert_int_equal(getpriority(PRIO_PROCESS, 0), own);
	assert_int_equal(parallel_for_nice(0, 2, 3, note_priority, priorities, &err), 0);
	assert_int_equal(parallel_for_nice(1000, 1, 3, fail_at_five, &calls, &err), -EIO);
	assert_int_equal(calls, 6);
}

/* A reading of /proc/stat of four processors. */
static const char *stat_text(char text[256], int user, int idle, int iowait)
{
	snprintf(text, 256,
		 "cpu  %d 20 30 %d %d 1 2 3 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
		 "cpu1 1\ncpu2 1\ncpu3 1\nintr 12 3\nctxt 4\n",
		 user, idle, iowait);
	return text;
}

static void test_idle(void **state)
{
	char before[256], after[256];

	(void)state;
	stat_text(before, 1000, 2000, 100);
	assert_int_equal(idle_between(before, stat_text(after, 1000, 2040, 100), 4), 4);
	assert_int_equal(idle_between(before, stat_text(after, 1000, 2030, 110), 4), 4);
	assert_int_equal(idle_between(before, stat_text(after, 1020, 2020, 100), 4), 2);
	assert_int_equal(idle_between(before, stat_text(after, 1000, 2040, 100), 3), 3);
	assert_int_equal(idle_between(before, stat_text(after, 1040, 2000, 100), 4), 1);
	assert_int_equal(idle_between(before, before, 4), 1);
	assert_int_equal(idle_between("", "nonsense", 4), 1);
	assert_true(idle_cpus(20) >= 1 && idle_cpus(20) <= parallel_cpus());
}

static void test_budget(void **state)
{
	static const char *const wrong[] = {"",     "much",      "12X",         "-1",
					    "1.5G", "automatic", "99999999999T"};
	struct budget budget = {.lock = PTHREAD_MUTEX_INITIALIZER, .limit_bytes = BUDGET_AUTO};
	uint64_t limit = 7, left;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct err err = ERR_INIT;

		assert_true(budget_parse(wrong[i], &limit, &err) < 0);
		assert_non_null(strstr(err.msg, wrong[i]));
		assert_int_equal(limit, 7);
	}
	assert_int_equal(budget_parse("1500K", &limit, NULL), 0);
	assert_int_equal(limit, 1500 << 10);
	assert_int_equal(budget_parse("0", &limit, NULL), 0);
	assert_int_equal(limit, 0);
	assert_int_equal(budget_parse("auto", &limit, NULL), 0);
	assert_true(limit == BUDGET_AUTO);

	assert_true(budget_take(&budget, 60, 100, &left));
	assert_int_equal(left, 100);
	assert_false(budget_take(&budget, 41, 100, &left));
	assert_int_equal(left, 40);
	budget.limit_bytes = 70;
	assert_false(budget_take(&budget, 11, 100, &left));
	assert_true(budget_take(&budget, 10, 100, &left));
	budget_give(&budget, 60);
	assert_false(budget_take(&budget, 61, 100, &left));
	assert_false(budget_take(&budget, 1, 5, &left));
	assert_int_equal(left, 0);
}

static void test_deadlines(void **state)
{
	(void)state;
	assert_int_equal(deadline_left_ms(clock_mono_ns() - 1), 0);
	assert_int_equal(deadline_left_ms(INT64_MAX), INT_MAX);
	assert_in_range(deadline_left_ms(deadline_in_ms(500)), 1, 500);
}

/* Runs in a child, so that an armed point kills nobody else. Returns what the child did. */
static int fault_child(const char *setting)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct err err = ERR_INIT;
		int rc;

		setenv("STASIS_FAULT", setting, 1);
		if (fault_init(&err) < 0)
			_exit(100);
		rc = fault_hit(FAULT_CKPT_RAM, &err);
		if (rc == 0)
			rc = fault_hit(FAULT_CKPT_RAM, &err);
		_exit(rc < 0 ? -rc : 0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void test_fault_points(void **state)
{
	char command[IO_PATH_MAX + 64], path[IO_PATH_MAX + 16];

	(void)state;
	assert_int_equal(fault_child(""), 0);
	assert_int_equal(fault_child("ckpt.ram"), 1009);
	assert_int_equal(fault_child("ckpt.ram:2:kill"), 1009);
	assert_int_equal(fault_child("ckpt.ram:3:kill"), 0);
	assert_int_equal(fault_child("ckpt.ram:1:fail=ENOSPC"), ENOSPC);
	assert_int_equal(fault_child("ckpt.pause:1:kill,ckpt.ram:2:fail=5"), EIO);
	assert_int_equal(fault_child("ckpt.nosuch"), 100);
	assert_int_equal(fault_child("ckpt.ram:0"), 100);
	assert_int_equal(fault_child("ckpt.ram:1:dance"), 100);
	assert_int_equal(fault_child("ckpt.ram:1:fail=nothing"), 100);
	snprintf(path, sizeof(path), "%s/ran", work);
	snprintf(command, sizeof(command), "ckpt.ram:1:run=touch %s", path);
	assert_int_equal(fault_child(command), 0);
	assert_int_equal(access(path, F_OK), 0);
}

static void test_fault_names_are_unique(void **state)
{
	(void)state;
	for (int i = 0; i < FAULT_POINT_COUNT; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(fault_point_name(i), fault_point_name(j));
}

static char last_line[4096];

static void keep_line(enum log_level level, const char *line, void *arg)
{
	(void)level;
	(void)arg;
	snprintf(last_line, sizeof(last_line), "%s", line);
}

static void test_log(void **state)
{
	(void)state;
	log_set_sink(keep_line, NULL, LOG_INFO);
	log_info("a %s\nline", "broken");
	assert_string_equal(last_line, "a broken line");
	log_debug("not shown");
	assert_string_equal(last_line, "a broken line");
	log_error("plain");
	assert_string_equal(last_line, "plain");
	assert_int_equal(log_level_parse("warn"), LOG_WARN);
	assert_int_equal(log_level_parse("loud"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err_sentences),
		cmocka_unit_test(test_replace_file_is_whole),
		cmocka_unit_test(test_directories),
		cmocka_unit_test(test_short_file_is_an_error),
		cmocka_unit_test(test_parallel),
		cmocka_unit_test(test_parallel_nice),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_fault_points),
		cmocka_unit_test(test_fault_names_are_unique),
		cmocka_unit_test(test_log),
	};

	return cmocka_run_group_tests(tests, work_setup, work_teardown);
}
