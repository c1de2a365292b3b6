/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of what the command line shows: sizes, times, tables, progress, exit codes, overrides.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cmds.h"
#include "cli/follow.h"
#include "cli/human.h"
#include "cli/progress.h"

static void test_human(void **state)
{
	char text[HUMAN_TEXT_MAX], clean[16];

	(void)state;
	assert_string_equal(human_bytes(0, text), "0 B");
	assert_string_equal(human_bytes(1023, text), "1023 B");
	assert_string_equal(human_bytes(1536, text), "1.5 KiB");
	assert_string_equal(human_bytes(512ULL << 20, text), "512 MiB");
	assert_string_equal(human_bytes(UINT64_MAX, text), "16 EiB");
	assert_string_equal(human_duration(-1, text), "-");
	assert_string_equal(human_duration(850000, text), "850 us");
	assert_string_equal(human_duration(12000000, text), "12 ms");
	assert_string_equal(human_duration(3400000000, text), "3.4 s");
	assert_string_equal(human_duration(125000000000, text), "2 m 05 s");
	assert_string_equal(human_duration(3725000000000, text), "1 h 02 m");
	assert_string_equal(human_ratio(10, 4, text), "2.5x");
	assert_string_equal(human_ratio(1000, 4, text), "250x");
	assert_string_equal(human_ratio(1000, 0, text), "-");
	setenv("TZ", "UTC", 1);
	assert_string_equal(human_time(1772366405000000000, text), "2026-03-01 12:00:05");
	assert_string_equal(human_time(0, text), "-");
	assert_int_equal(human_width("a\xC3\xA4\xE2\x80\xA6"), 3);
	human_clean("a\x1b[1m\xC2\x9B", clean, sizeof(clean));
	assert_string_equal(clean, "a?[1m??");
	human_clean("0123456789abcd\xC3\xA4", clean, sizeof(clean));
	assert_string_equal(clean, "0123456789abcd");
}

static void test_table(void **state)
{
	static const char *const titles[] = {"NAME", ">SIZE", "X"};
	struct table *table = table_create(titles, 3);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	assert_non_null(table);
	table_add(table, (const char *[]){"\xC3\xA4"
					  "b",
					  "5", "end"});
	table_add(table, (const char *[]){"longer", "12345", NULL});
	table_print(table, out);
	fclose(out);
	assert_string_equal(text, "NAME     SIZE  X\n"
				  "\xC3\xA4"
				  "b          5  end\n"
				  "longer  12345  -\n");
	free(text);
	table_destroy(table);
	table_destroy(NULL);
}

static void test_render(void **state)
{
	struct progress_step step = {
		.phase = "capture", .unit = "bytes", .done = 512 << 10, .total = 1 << 20};
	char line[256];

	(void)state;
	progress_render(&step, 3 << 20, 200, line, sizeof(line));
	assert_string_equal(
		line, "capture    [############------------]  50%  512 KiB/1 MiB  3 MiB/s");
	progress_render(&step, 0, 20, line, sizeof(line));
	assert_string_equal(line, "capture    [########");
	step.done = 2 << 20; /* more than there should be */
	progress_render(&step, 0, 200, line, sizeof(line));
	assert_non_null(strstr(line, "100%"));
	step = (struct progress_step){
		.phase = "resume", .unit = "vms", .done = 3, .total = 8, .message = "\x1b[2J"};
	progress_render(&step, 7, 200, line, sizeof(line));
	assert_non_null(strstr(line, "3/8 vms  ?[2J"));
	step = (struct progress_step){.phase = "pause", .unit = "steps"};
	progress_render(&step, 0, 200, line, sizeof(line));
	assert_string_equal(line, "pause");
}

static void test_progress_lines(void **state)
{
	struct progress progress = {.mode = PROGRESS_LINES};
	json_t *event = json_pack("{s:s, s:i, s:i, s:s}", "phase", "boot", "done", 1, "total",
				  2, "unit", "vms");
	char *text = NULL;
	size_t len;

	(void)state;
	progress.out = open_memstream(&text, &len);
	progress_event(&progress, event);
	progress_event(&progress, event); /* the same phase, at once: not again */
	json_object_set_new(event, "phase", json_string("ready"));
	json_object_set_new(event, "done", json_integer(-5));
	progress_event(&progress, event);
	progress_end(&progress);
	fclose(progress.out);
	assert_non_null(strstr(text, "boot"));
	assert_non_null(strstr(text, "ready"));
	assert_non_null(strstr(text, "0/2 vms"));
	assert_ptr_equal(strstr(strstr(text, "boot") + 1, "boot"), NULL);
	free(text);
	json_decref(event);
}

static void test_progress_bar(void **state)
{
	struct progress progress = {.mode = PROGRESS_BAR};
	struct progress_step step = {.phase = "write", .unit = "bytes", .done = 1, .total = 2};
	char *text = NULL;
	size_t len;

	(void)state;
	progress.out = open_memstream(&text, &len);
	progress_step(&progress, &step);
	step.done = 2; /* the end is shown however soon it comes */
	progress_step(&progress, &step);
	progress_end(&progress);
	fclose(progress.out);
	assert_int_equal(text[0], '\r');
	assert_non_null(strstr(text, "100%"));
	assert_null(strchr(text, '\n'));
	assert_string_equal(text + len - 4, "\r\033[K");
	free(text);
}

/* Run fn with stderr away. */
static int quiet_error(const struct cli *cli, enum cli_exit code, int err_code)
{
	struct err err = {.code = err_code, .msg = "a test"};
	int saved = dup(STDERR_FILENO), rc;

	assert_non_null(freopen("/dev/null", "we", stderr));
	rc = err_code ? cli_failed(cli, &err) : cli_error(cli, code, &err);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	return rc;
}

static void test_exit_codes(void **state)
{
	struct cli plain = {.cmd = &cmd_list}, passing = {.cmd = &cmd_exec};
	struct follow_vm vm = {.code = 7};

	(void)state;
	assert_int_equal(quiet_error(&plain, CLI_USAGE, 0), 2);
	assert_int_equal(quiet_error(&plain, CLI_NO_DAEMON, 0), 3);
	assert_int_equal(quiet_error(&plain, CLI_LOST, 0), 4);
	assert_int_equal(quiet_error(&plain, CLI_OK, EIO), 1);
	assert_int_equal(quiet_error(&plain, CLI_OK, ECONNRESET), 3);
	assert_int_equal(quiet_error(&passing, CLI_USAGE, 0), 125);
	assert_int_equal(quiet_error(&passing, CLI_NO_DAEMON, 0), 125);
	assert_int_equal(quiet_error(&passing, CLI_OK, EIO), 125);
	assert_int_equal(quiet_error(&passing, CLI_LOST, 0), 4);
	assert_int_equal(follow_exit_code(&vm), 7);
	vm.signal = 9;
	assert_int_equal(follow_exit_code(&vm), 137);
}

static void test_commands(void **state)
{
	const struct cli_cmd *const *cmd;

	(void)state;
	for (cmd = cli_cmds; *cmd; cmd++) {
		assert_ptr_equal(cli_find_cmd((*cmd)->name), *cmd);
		assert_non_null((*cmd)->help);
		assert_non_null((*cmd)->usage);
		assert_non_null((*cmd)->example);
		assert_non_null((*cmd)->fn);
	}
	assert_null(cli_find_cmd("nothing"));
}

static void test_overrides(void **state)
{
	static const char *const bad[] = {"vms",
					  "=2",
					  "vms=0",
					  "nokey=1",
					  "cluster.mtu=1500",
					  "nosection.vms=1",
					  "name=A",
					  "subnet=10.0.0.0/30"};
	struct args_spec args = {0};
	struct spec *spec = calloc(1, sizeof(*spec));
	struct err err;
	size_t i;

	(void)state;
	assert_true(args_spec_load(&args, spec, &err) < 0);
	assert_int_equal(args_spec_opt(&args, 'o', "name=test", &err), 0);
	assert_int_equal(args_spec_opt(&args, 'o', "network.mtu=1500", &err), 0);
	assert_int_equal(args_spec_opt(&args, 'o', "files./etc/x=/y", &err), 0);
	assert_int_equal(args_spec_opt(&args, ARGS_VMS, "3", &err), 0);
	assert_int_equal(args_spec_opt(&args, ARGS_MEMORY, "256M", &err), 0);
	assert_int_equal(args_spec_opt(&args, 'z', "", &err), 1);
	assert_int_equal(args_spec_load(&args, spec, &err), 0);
	assert_int_equal(spec->vms, 3);
	assert_int_equal(spec->memory_bytes, 256 << 20);
	assert_int_equal(spec->mtu, 1500);
	assert_string_equal(spec->files[0].guest_path, "/etc/x");
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct args_spec more = args;

		assert_int_equal(args_spec_opt(&more, 'o', bad[i], &err), 0);
		if (args_spec_load(&more, spec, &err) == 0)
			fail_msg("accepted: %s", bad[i]);
	}
	for (i = args.count; i < ARGS_OVERRIDES_MAX; i++)
		assert_int_equal(args_spec_opt(&args, 'o', "vms=2", &err), 0);
	assert_int_equal(args_spec_opt(&args, 'o', "vms=2", &err), -EINVAL);
	free(spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_human),        cmocka_unit_test(test_table),
		cmocka_unit_test(test_render),       cmocka_unit_test(test_progress_lines),
		cmocka_unit_test(test_progress_bar), cmocka_unit_test(test_exit_codes),
		cmocka_unit_test(test_commands),     cmocka_unit_test(test_overrides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
