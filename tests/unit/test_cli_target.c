/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of how VMs and paths in them are named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/target.h"

static void test_vm(void **state)
{
	static const char *const bad[] = {"",      ":",    "a:", ":vm0", "A:vm0",
					  "a:b:c", "vm/0", "-x", "\xFF", "a_b:vm0"};
	struct target target;
	struct err err;
	size_t i;
	char text[200];

	(void)state;
	assert_int_equal(target_parse_vm("vm0", &target, &err), 0);
	assert_string_equal(target.vm, "vm0");
	assert_string_equal(target.cluster, "");
	assert_int_equal(target_parse_vm("h2o:all", &target, &err), 0);
	assert_string_equal(target.vm, "all");
	assert_string_equal(target.cluster, "h2o");
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(target_parse_vm(bad[i], &target, &err) < 0);
	memset(text, 'a', 199);
	text[199] = '\0';
	assert_true(target_parse_vm(text, &target, &err) < 0);
	text[100] = ':';
	assert_true(target_parse_vm(text, &target, &err) < 0);
	assert_non_null(strstr(err.msg, "cluster's name"));
}

static void test_path(void **state)
{
	static const char *const bad[] = {"",    "vm0:",     "vm0:file", "vm0:dir/file",
					  ":/x", "a:b:c:/x", "VM 0:/x",  "\xC0"};
	struct target target;
	struct err err;
	char *text = malloc(5001);
	size_t i;

	(void)state;
	assert_int_equal(target_parse_path("vm0:/a:b/c", &target, &err), 0);
	assert_true(target.guest);
	assert_string_equal(target.vm, "vm0");
	assert_string_equal(target.path, "/a:b/c");
	assert_int_equal(target_parse_path("h2o:vm1:/", &target, &err), 0);
	assert_string_equal(target.cluster, "h2o");
	assert_string_equal(target.path, "/");
	assert_int_equal(target_parse_path("./vm0:/x", &target, &err), 0);
	assert_false(target.guest);
	assert_string_equal(target.path, "./vm0:/x");
	assert_int_equal(target_parse_path("/abs/a:b", &target, &err), 0);
	assert_false(target.guest);
	assert_int_equal(target_parse_path("file", &target, &err), 0);
	assert_false(target.guest);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(target_parse_path(bad[i], &target, &err) < 0);
	memset(text, 'a', 5000);
	text[5000] = '\0';
	assert_true(target_parse_path(text, &target, &err) < 0);
	free(text);
}

static void test_basename(void **state)
{
	static const struct {
		const char *path, *name;
	} cases[] = {{"a", "a"}, {"/a/b", "b"}, {"a/b//", "b"}, {"/", ""},
		     {"", ""},   {"..", ""},    {"a/.", ""},    {"a/..b", "..b"}};
	char name[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		target_basename(cases[i].path, name);
		assert_string_equal(name, cases[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vm),
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_basename),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
