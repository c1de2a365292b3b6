/* SPDX-License-Identifier: BSD-3-Clause */
/* Logging to a sink that the program chooses; libraries never print by themselves. */
#ifndef STASIS_BASE_LOG_H
#define STASIS_BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* A sink gets one finished line without newline. It may be called from any thread. */
typedef void (*log_sink_fn)(enum log_level level, const char *line, void *arg);

/* Set once at start, before threads exist. The default sink drops everything. */
void log_set_sink(log_sink_fn sink, void *arg, enum log_level most);

/* Parse "error", "warn", "info" or "debug"; -1 for anything else. */
int log_level_parse(const char *name);
const char *log_level_name(enum log_level level);

void log_write(enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

#endif
