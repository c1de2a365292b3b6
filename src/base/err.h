/* SPDX-License-Identifier: BSD-3-Clause */
/* Errors: a negative errno plus one sentence, written by the first who saw the fault. */
#ifndef STASIS_BASE_ERR_H
#define STASIS_BASE_ERR_H

#include <stdarg.h>

/*
 * Internal functions return 0 (or a non-negative result) on success and -errno on failure.
 * Where the last argument is a `struct err *` (may be NULL), it receives a sentence naming the
 * thing and, where there is one, the remedy. Outer callers may put context in front with
 * err_prefix(); they never replace the sentence.
 */
struct err {
	int code;       /* 0, or a positive errno value */
	char msg[1024]; /* one sentence, no newline, no trailing full stop */
};

#define ERR_INIT ((struct err){0})

/* Set err and return -code. code is a positive errno. A NULL err only returns. */
int err_set(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As err_set(), with ": <strerror(code)>" appended. */
int err_sys(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "context: " in front of the sentence; returns -err->code, or -EIO without err: who
 * can have none and tells errors apart returns its own code. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
