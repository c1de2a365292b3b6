/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the daemon's settings of the store: options, environment, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/settings.h"

static int clear(void **state)
{
	(void)state;
	unsetenv("STASIS_STORE_KEY_FILE");
	unsetenv("STASIS_STORE_KEY_COMMAND");
	unsetenv("STASIS_STORE_COMPRESSION");
	return 0;
}

static void refused(const struct settings *options, const char *name, const char *value)
{
	struct store_config config = {0};
	struct err err = ERR_INIT;

	assert_int_equal(settings_store(options, &config, &err), -EINVAL);
	assert_non_null(strstr(err.msg, name));
	assert_non_null(strstr(err.msg, value));
}

static void test_compression(void **state)
{
	static const char *const bad[] = {"",     "0",   "20", "-1", "1.5",
					  "fast", "Raw", "9x", " 1", "100"};
	struct store_config config = {0};
	size_t i;

	(void)state;
	assert_int_equal(settings_store(&(struct settings){0}, &config, NULL), 0);
	assert_int_equal(config.level, STORE_LEVEL_AUTO);
	setenv("STASIS_STORE_COMPRESSION", "raw", 1);
	assert_int_equal(settings_store(&(struct settings){0}, &config, NULL), 0);
	assert_int_equal(config.level, STORE_LEVEL_RAW);
	assert_int_equal(settings_store(&(struct settings){.compression = "19"}, &config, NULL),
			 0);
	assert_int_equal(config.level, 19);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused(&(struct settings){.compression = bad[i]}, "--compression", bad[i]);
	setenv("STASIS_STORE_COMPRESSION", "best", 1);
	refused(&(struct settings){0}, "STASIS_STORE_COMPRESSION", "best");
}

static void test_key(void **state)
{
	struct store_config config = {0};

	(void)state;
	assert_int_equal(settings_store(&(struct settings){0}, &config, NULL), 0);
	assert_null(config.key_file);
	assert_null(config.key_command);
	setenv("STASIS_STORE_KEY_FILE", "/k", 1);
	assert_int_equal(settings_store(&(struct settings){0}, &config, NULL), 0);
	assert_string_equal(config.key_file, "/k");
	assert_int_equal(
		settings_store(&(struct settings){.key_file = "/other"}, &config, NULL), 0);
	assert_string_equal(config.key_file, "/other");
	assert_int_equal(
		settings_store(&(struct settings){.key_command = "pass x"}, &config, NULL), 0);
	assert_null(config.key_file);
	assert_string_equal(config.key_command, "pass x");
	refused(&(struct settings){.key_file = "rel"}, "--store-key-file", "rel");
	refused(&(struct settings){.key_file = ""}, "--store-key-file", "");
	refused(&(struct settings){.key_command = " "}, "--store-key-command", "' '");
	refused(&(struct settings){.key_file = "/a", .key_command = "b"}, "--store-key-file",
		"'b'");
	setenv("STASIS_STORE_KEY_COMMAND", "c", 1);
	refused(&(struct settings){0}, "STASIS_STORE_KEY_COMMAND", "/k");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_compression, clear),
		cmocka_unit_test_setup(test_key, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
