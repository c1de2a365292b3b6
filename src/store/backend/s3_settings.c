/* SPDX-License-Identifier: BSD-3-Clause */
/* Settings of an S3 store: the environment, then the files that other S3 programs use. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "store/backend/s3.h"

enum { DEADLINE_DEFAULT_S = 60, DEADLINE_MAX_S = 86400, FILE_MAX = 1 << 20 };

struct file_reader {
	struct s3_settings *settings;
	const char *section; /* of the profile */
	bool keys;           /* keys are wanted too, the environment has none */
};

void s3_settings_free(struct s3_settings *settings)
{
	free(settings->access_key);
	free(settings->secret_key);
	free(settings->session_token);
	free(settings->region);
	free(settings->endpoint);
	free(settings->ca_bundle);
	*settings = (struct s3_settings){0};
}

static const char *env(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

/* What is set first stays. */
static int set(char **field, const char *value)
{
	if (*field || !value || !*value)
		return 0;
	*field = strdup(value);
	return *field ? 0 : -ENOMEM;
}

static int file_setting(const struct file_reader *reader, const char *name, const char *value)
{
	struct s3_settings *settings = reader->settings;
	const struct {
		const char *name;
		char **field;
		bool key;
	} known[] = {
		{"aws_access_key_id", &settings->access_key, true},
		{"aws_secret_access_key", &settings->secret_key, true},
		{"aws_session_token", &settings->session_token, true},
		{"region", &settings->region, false},
		{"endpoint_url", &settings->endpoint, false},
		{"ca_bundle", &settings->ca_bundle, false},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(name, known[i].name) && (reader->keys || !known[i].key))
			return set(known[i].field, value);
	return 0;
}

/* The text without blanks at its ends. */
static char *trim(char *text)
{
	char *end;

	text += strspn(text, " \t\r");
	end = text + strlen(text);
	while (end > text && strchr(" \t\r", end[-1]))
		*--end = '\0';
	return text;
}

/*
 * The lines of a file. inih is no help here: its lines end after 200 characters, and a token
 * has more. An indented line is a nested setting of other programs.
 */
static int file_parse(const struct file_reader *reader, char *text)
{
	bool ours = false;
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *equals = strchr(line, '=');
		int rc;

		if (line[0] == '[') {
			line[strcspn(line, "]")] = '\0';
			ours = !strcmp(trim(line + 1), reader->section);
		}
		if (!ours || !equals || strchr("[#; \t", line[0]))
			continue;
		*equals = '\0';
		rc = file_setting(reader, trim(line), trim(equals + 1));
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Read one of the two files, if it is there. Lines that inih cannot take are passed over:
 * nested settings of other programs look so. */
static int file_read(const struct file_reader *reader, const char *variable,
		     const char *below_home, struct err *err)
{
	const char *home = env("HOME");
	CLEANUP_FREE char *text = NULL;
	char path[IO_PATH_MAX];
	int rc;

	if (env(variable))
		rc = io_path(path, sizeof(path), err, "%s", env(variable));
	else if (home)
		rc = io_path(path, sizeof(path), err, "%s/%s", home, below_home);
	else
		return 0;
	if (rc < 0)
		return rc;
	rc = io_read_file(path, FILE_MAX, &text, NULL, err);
	if (rc == -ENOENT)
		return 0;
	if (rc == 0 && file_parse(reader, text) < 0)
		rc = err_sys(err, ENOMEM, "cannot read %s", path);
	return rc;
}

static int files_read(struct s3_settings *settings, const char *profile, bool keys,
		      struct err *err)
{
	struct file_reader reader = {settings, profile, keys};
	CLEANUP_FREE char *section = NULL;
	int rc = file_read(&reader, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", err);

	if (rc < 0)
		return rc;
	if (!strcmp(profile, "default"))
		section = strdup(profile);
	else if (asprintf(&section, "profile %s", profile) < 0)
		section = NULL;
	if (!section)
		return err_sys(err, ENOMEM, "settings of S3");
	reader.section = section;
	return file_read(&reader, "AWS_CONFIG_FILE", ".aws/config", err);
}

static int deadline_read(struct s3_settings *settings, struct err *err)
{
	const char *text = env("STASIS_S3_DEADLINE_S");
	char *end = NULL;
	long seconds = text ? strtol(text, &end, 10) : DEADLINE_DEFAULT_S;

	if (text && (*end || seconds < 1 || seconds > DEADLINE_MAX_S))
		return err_set(err, EINVAL,
			       "STASIS_S3_DEADLINE_S=\"%.40s\" is no number of seconds from 1 "
			       "to %d",
			       text, DEADLINE_MAX_S);
	settings->deadline_ms = seconds * 1000;
	return 0;
}

static int endpoint_check(struct s3_settings *settings, struct err *err)
{
	char *endpoint = settings->endpoint;
	size_t len = strlen(endpoint);

	if (strncmp(endpoint, "http://", 7) != 0 && strncmp(endpoint, "https://", 8) != 0)
		return err_set(
			err, EINVAL,
			"the endpoint \"%.200s\" (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL "
			"or endpoint_url) is no URL that begins with http:// or https://",
			endpoint);
	while (len > 0 && endpoint[len - 1] == '/')
		endpoint[--len] = '\0';
	return 0;
}

/* Set what follows from the rest, and check that nothing is missing. */
static int settings_complete(struct s3_settings *settings, const char *profile, struct err *err)
{
	CLEANUP_FREE char *aws = NULL;

	if (!settings->access_key || !settings->secret_key)
		return err_set(err, EACCES,
			       "there are no credentials for S3: set AWS_ACCESS_KEY_ID and "
			       "AWS_SECRET_ACCESS_KEY, or write them into ~/.aws/credentials "
			       "below [%.80s]",
			       profile);
	if (set(&settings->region, "us-east-1") < 0 ||
	    asprintf(&aws, "https://s3.%s.amazonaws.com", settings->region) < 0 ||
	    set(&settings->endpoint, aws) < 0)
		return err_sys(err, ENOMEM, "settings of S3");
	return endpoint_check(settings, err);
}

int s3_settings_load(struct s3_settings *ret_settings, struct err *err)
{
	const char *profile = env("AWS_PROFILE") ? env("AWS_PROFILE") : "default";
	bool keys = env("AWS_ACCESS_KEY_ID") || env("AWS_SECRET_ACCESS_KEY");
	struct s3_settings settings = {0};
	int rc = deadline_read(&settings, err);

	if (rc == 0 && (set(&settings.access_key, env("AWS_ACCESS_KEY_ID")) < 0 ||
			set(&settings.secret_key, env("AWS_SECRET_ACCESS_KEY")) < 0 ||
			set(&settings.session_token, env("AWS_SESSION_TOKEN")) < 0 ||
			set(&settings.region, env("AWS_REGION")) < 0 ||
			set(&settings.region, env("AWS_DEFAULT_REGION")) < 0 ||
			set(&settings.endpoint, env("AWS_ENDPOINT_URL_S3")) < 0 ||
			set(&settings.endpoint, env("AWS_ENDPOINT_URL")) < 0 ||
			set(&settings.ca_bundle, env("AWS_CA_BUNDLE")) < 0))
		rc = err_sys(err, ENOMEM, "settings of S3");
	if (rc == 0)
		rc = files_read(&settings, profile, !keys, err);
	if (rc == 0)
		rc = settings_complete(&settings, profile, err);
	if (rc < 0) {
		s3_settings_free(&settings);
		return rc;
	}
	*ret_settings = settings;
	return 0;
}
