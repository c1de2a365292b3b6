/* SPDX-License-Identifier: BSD-3-Clause */
/* What every conformance program shares: begin and end, named sections, checks that explain
 * themselves. */
#ifndef STASIS_TESTS_ARMCI_CONF_H
#define STASIS_TESTS_ARMCI_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <armci.h>

/*
 * A program is conf_begin(), sections, conf_end(). A section lasts until the next one begins;
 * all ranks must come to its end for it to count as passed. A check that fails prints one
 * sentence (program, rank, section, what, expected, got, file and line) and ends the job with
 * status 1.
 *
 * Environment: CONFORMANCE_SLOW=N (a sanitizer or valgrind: longer deadlines, fewer
 * repetitions), CONFORMANCE_SEED (of random cases), CONFORMANCE_LARGE=1 (transfers above 2 GB),
 * CONFORMANCE_REFERENCE=1 (the library is one that lacks what only ours promises).
 */
extern int conf_rank, conf_size;

/* MPI_Init and ARMCI_Init_args. */
void conf_begin(int *argc, char ***argv, const char *program);
/* As conf_begin(), but the program has initialised MPI and ARMCI (or will) by itself. */
void conf_begin_bare(const char *program, int rank, int size);
/* Ends the last section, finalises, prints the summary on rank 0; the program's exit status. */
int conf_end(void);
/* The summary alone, for programs that finalise by themselves. */
int conf_summary(void);

/* Ends the section before (a barrier) and begins another. */
void conf_section(const char *name);
/* Instead of a section: says why it is not run here. */
void conf_skip(const char *name, const char *reason);
/* True if the library under test is not ours (CONFORMANCE_REFERENCE). */
bool conf_reference(void);
/* The same, and then skips the section. */
bool conf_beyond_reference(const char *name);

_Noreturn void conf_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void conf_check_int(const char *file, int line, long long expected, long long got,
		    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void conf_check_real(const char *file, int line, double expected, double got, const char *fmt,
		     ...) __attribute__((format(printf, 5, 6)));
void conf_check_bytes(const char *file, int line, const void *expected, const void *got,
		      size_t bytes, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

#define CHECK(cond, ...) ((cond) ? (void)0 : conf_fail(__FILE__, __LINE__, __VA_ARGS__))
/* The arguments after the values say what was checked, as for printf. */
#define CHECK_INT(expected, got, ...) \
	conf_check_int(__FILE__, __LINE__, (long long)(expected), (long long)(got), __VA_ARGS__)
#define CHECK_REAL(expected, got, ...) \
	conf_check_real(__FILE__, __LINE__, (double)(expected), (double)(got), __VA_ARGS__)
#define CHECK_BYTES(expected, got, bytes, ...) \
	conf_check_bytes(__FILE__, __LINE__, expected, got, bytes, __VA_ARGS__)
/* An ARMCI call that must return 0. */
#define CHECK_OK(call) CHECK_INT(0, call, "result of %s", #call)

/* n, or fewer under CONFORMANCE_SLOW, at least 2. */
int conf_times(int n);
/* For races, which need time to happen: ten times as often where all ranks are on one node. */
int conf_often(int n);

/* A deterministic generator: the same state gives the same numbers on every rank. */
uint64_t conf_random(uint64_t *state);
/* 0 … bound-1. */
int conf_below(uint64_t *state, int bound);
/* CONFORMANCE_SEED, or one of the clock; the same on every rank and printed by rank 0. */
uint64_t conf_seed(void);
/* A pattern that depends on seed and on each byte's place. */
void conf_fill(void *buf, size_t bytes, uint64_t seed);

/* malloc and calloc that cannot fail. */
void *conf_alloc(size_t bytes);
/* ARMCI_Malloc of the same size on all ranks; the array of bases is to be given to
 * conf_unshare(). */
void **conf_share(size_t bytes);
void conf_unshare(void **bases);

/* Seconds of a clock that only goes forward. */
double conf_now(void);
/* Wait until *where is value, by plain loads and no call of any library. */
void conf_await_int(const int *where, int value, const char *what);
/* The same without waiting: an acquire load. */
int conf_load_int(const int *where);
/* Seconds after which a wait is a failure. */
double conf_patience(void);

#endif
