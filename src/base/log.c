/* SPDX-License-Identifier: BSD-3-Clause */
/* Logging: per-thread fields in front of a message, handed to one sink. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FIELD_COUNT = 6, FIELD_LEN = 48, LINE_LEN = 2048 };

struct log_field {
	char key[16];
	char value[FIELD_LEN];
};

static log_sink_fn log_sink;
static void *log_sink_arg;
static enum log_level log_most = LOG_INFO;
static _Thread_local struct log_field log_fields[FIELD_COUNT];

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_set_sink(log_sink_fn sink, void *arg, enum log_level most)
{
	log_sink = sink;
	log_sink_arg = arg;
	log_most = most;
}

int log_level_parse(const char *name)
{
	for (int i = 0; i <= LOG_DEBUG; i++)
		if (!strcmp(name, level_names[i]))
			return i;
	return -1;
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

void log_field_set(const char *key, const char *value)
{
	struct log_field *free_slot = NULL;

	for (int i = 0; i < FIELD_COUNT; i++) {
		struct log_field *field = &log_fields[i];

		if (!strcmp(field->key, key)) {
			free_slot = field;
			break;
		}
		if (!field->key[0] && !free_slot)
			free_slot = field;
	}
	if (!free_slot)
		return;
	snprintf(free_slot->key, sizeof(free_slot->key), "%s", value ? key : "");
	snprintf(free_slot->value, sizeof(free_slot->value), "%s", value ? value : "");
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char line[LINE_LEN];
	size_t used = 0;
	va_list ap;

	if (!log_sink || level > log_most)
		return;
	for (int i = 0; i < FIELD_COUNT; i++)
		if (log_fields[i].key[0])
			used += (size_t)snprintf(line + used, sizeof(line) - used, "%s=%s ",
						 log_fields[i].key, log_fields[i].value);
	va_start(ap, fmt);
	vsnprintf(line + used, sizeof(line) - used, fmt, ap);
	va_end(ap);
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20)
			*c = ' ';
	log_sink(level, line, log_sink_arg);
}
