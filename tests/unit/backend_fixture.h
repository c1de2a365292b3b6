/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of backends share: assertions, bytes that follow from a seed, scratch
 * directories, children with a fault armed. */
#ifndef STASIS_TESTS_BACKEND_FIXTURE_H
#define STASIS_TESTS_BACKEND_FIXTURE_H

/* cmocka.h needs these in front of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/io.h"
#include "store/backend/backend.h"

/* Assert success, showing the sentence of a failure. */
#define assert_ok(call)                                                 \
	do {                                                            \
		int ok_rc_ = (call);                                    \
		if (ok_rc_ < 0)                                         \
			fail_msg("%s: %d: %s", #call, ok_rc_, err.msg); \
	} while (0)

/* Assert a failure with this errno whose sentence holds a text. */
#define assert_fails(call, error, text)                                                        \
	do {                                                                                   \
		int fails_rc_ = (call);                                                        \
		if (fails_rc_ != -(error) || err.code != (error) || !strstr(err.msg, (text)))  \
			fail_msg("%s: %d, \"%s\" instead of %d with \"%s\"", #call, fails_rc_, \
				 err.msg, -(error), (text));                                   \
	} while (0)

/* Bytes that follow from the seed. */
static inline uint8_t *bytes_make(size_t len, uint32_t seed)
{
	uint8_t *bytes = malloc(len + 1);

	assert_non_null(bytes);
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525u + 1013904223u;
		bytes[i] = (uint8_t)(seed >> 24);
	}
	return bytes;
}

/* Whether an object holds just the bytes of a length and seed. */
static inline bool bytes_held(struct backend *backend, const char *name, size_t len,
			      uint32_t seed, struct err *err)
{
	uint8_t *want = bytes_make(len, seed);
	size_t have_len = 0;
	void *have = NULL;
	bool same = backend_get(backend, name, len, &have, &have_len, err) == 0 &&
		    have_len == len && !memcmp(want, have, len) && ((char *)have)[len] == '\0';

	free(have);
	free(want);
	return same;
}

static inline int bytes_put(struct backend *backend, const char *name, size_t len,
			    uint32_t seed, struct err *err)
{
	uint8_t *bytes = bytes_make(len, seed);
	int rc = backend_put(backend, name, bytes, len, err);

	free(bytes);
	return rc;
}

static inline int count_one(const char *name, const struct backend_stat *stat, void *arg,
			    struct err *err)
{
	(void)name;
	(void)stat;
	(void)err;
	++*(size_t *)arg;
	return 0;
}

static inline size_t list_count(struct backend *backend, const char *kind)
{
	struct err err = ERR_INIT;
	size_t count = 0;

	assert_ok(backend->ops->list(backend, kind, count_one, &count, &err));
	return count;
}

static inline void scratch_make(char *ret_dir, size_t size)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(ret_dir, size, "%s/stasis-test-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(ret_dir));
}

/* Run fn in a child with STASIS_FAULT set (NULL: unset); returns the status of waitpid(). */
static inline int child_run(const char *fault, int (*fn)(void *arg), void *arg)
{
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (fault)
			setenv("STASIS_FAULT", fault, 1);
		_exit(fault_init(NULL) < 0 ? 99 : fn(arg));
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

#endif
