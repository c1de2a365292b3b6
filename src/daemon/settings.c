/* SPDX-License-Identifier: BSD-3-Clause */
/* The store's settings, from stasisd's options and environment. */
#include "daemon/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LEVEL_MAX = 19 };

/* A setting and what it is called, for sentences. */
struct setting {
	const char *name, *value; /* NULL: not set */
};

static struct setting setting_get(const char *option, const char *option_name,
				  const char *variable)
{
	const char *value = getenv(variable);

	if (option)
		return (struct setting){option_name, option};
	return (struct setting){variable, value && *value ? value : NULL};
}

static int settings_key(const struct settings *options, struct store_config *config,
			struct err *err)
{
	struct setting file =
		setting_get(options->key_file, "--store-key-file", "STASIS_STORE_KEY_FILE");
	struct setting command = setting_get(options->key_command, "--store-key-command",
					     "STASIS_STORE_KEY_COMMAND");

	if (options->key_file && !options->key_command)
		command.value = NULL;
	if (options->key_command && !options->key_file)
		file.value = NULL;
	if (file.value && command.value)
		return err_set(err, EINVAL,
			       "the store's key is told twice, by %s '%.200s' and by %s "
			       "'%.200s': keep one",
			       file.name, file.value, command.name, command.value);
	/* The daemon leaves the directory in which it was started. */
	if (file.value && file.value[0] != '/')
		return err_set(err, EINVAL, "%s must be an absolute path, not '%.200s'",
			       file.name, file.value);
	if (command.value && command.value[strspn(command.value, " \t\n")] == '\0')
		return err_set(err, EINVAL, "%s is no command: '%.200s'", command.name,
			       command.value);
	config->key_file = file.value;
	config->key_command = command.value;
	return 0;
}

static int settings_compression(const struct settings *options, struct store_config *config,
				struct err *err)
{
	struct setting given =
		setting_get(options->compression, "--compression", "STASIS_STORE_COMPRESSION");
	const char *text = given.value ? given.value : "auto";
	size_t len = strlen(text);
	long level = len <= 2 && strspn(text, "0123456789") == len ? strtol(text, NULL, 10) : 0;

	if (strcmp(text, "auto") == 0)
		config->level = STORE_LEVEL_AUTO;
	else if (strcmp(text, "raw") == 0)
		config->level = STORE_LEVEL_RAW;
	else if (level >= 1 && level <= LEVEL_MAX)
		config->level = (int)level;
	else
		return err_set(err, EINVAL,
			       "%s '%.80s' is neither auto, raw nor a level from 1 to %d",
			       given.name, text, LEVEL_MAX);
	return 0;
}

int settings_store(const struct settings *options, struct store_config *config, struct err *err)
{
	int rc = settings_key(options, config, err);

	return rc < 0 ? rc : settings_compression(options, config, err);
}
