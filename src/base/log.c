/* SPDX-License-Identifier: BSD-3-Clause */
/* Logging: one finished line, handed to one sink. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE_LEN = 2048 };

static log_sink_fn log_sink;
static void *log_sink_arg;
static enum log_level log_most = LOG_INFO;

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

void log_write(enum log_level level, const char *fmt, ...)
{
	char line[LINE_LEN];
	va_list ap;

	if (!log_sink || level > log_most)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20)
			*c = ' ';
	log_sink(level, line, log_sink_arg);
}
