/* SPDX-License-Identifier: BSD-3-Clause */
/* What every conformance program shares (conf.h). */
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf.h"

int conf_rank, conf_size;

static const char *program_name;
static const char *section_name;
static int sections_passed, sections_skipped;

static int env_int(const char *name, int otherwise)
{
	const char *value = getenv(name);

	return value != NULL && *value != '\0' ? atoi(value) : otherwise;
}

void conf_begin_bare(const char *program, int rank, int size)
{
	program_name = program;
	conf_rank = rank;
	conf_size = size;
	setvbuf(stdout, NULL, _IOLBF, 0);
}

void conf_begin(int *argc, char ***argv, const char *program)
{
	int rank, size;

	program_name = program;
	if (MPI_Init(argc, argv) != MPI_SUCCESS) {
		fprintf(stderr, "%s: MPI_Init failed\n", program);
		exit(1);
	}
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	conf_begin_bare(program, rank, size);
	CHECK_OK(ARMCI_Init_args(argc, argv));
	CHECK_INT(rank, armci_msg_me(), "armci_msg_me()");
	CHECK_INT(size, armci_msg_nproc(), "armci_msg_nproc()");
}

static void end_section(void)
{
	if (section_name == NULL)
		return;
	if (ARMCI_Initialized())
		ARMCI_Barrier();
	section_name = NULL;
	sections_passed++;
}

void conf_section(const char *name)
{
	end_section();
	section_name = name;
	if (conf_rank == 0)
		printf("%s: %s\n", program_name, name);
}

void conf_skip(const char *name, const char *reason)
{
	end_section();
	sections_skipped++;
	if (conf_rank == 0)
		printf("%s: %s: skipped: %s\n", program_name, name, reason);
}

bool conf_reference(void)
{
	return env_int("CONFORMANCE_REFERENCE", 0) != 0;
}

bool conf_beyond_reference(const char *name)
{
	if (!conf_reference())
		return false;
	conf_skip(name, "not in the reference library");
	return true;
}

int conf_summary(void)
{
	if (section_name != NULL)
		sections_passed++;
	section_name = NULL;
	if (conf_rank == 0)
		printf("%s: %d passed, 0 failed, %d skipped\n", program_name, sections_passed,
		       sections_skipped);
	return 0;
}

int conf_end(void)
{
	end_section();
	CHECK_OK(ARMCI_Finalize());
	MPI_Finalize();
	return conf_summary();
}

/* Print the sentence whose start is given and end the job; every rank's own line, in one write.
 */
_Noreturn static void fail_with(const char *file, int line, const char *what,
				const char *difference)
{
	char sentence[2048];

	snprintf(sentence, sizeof(sentence), "%s: rank %d of %d: %s: %s%s (%s:%d)\n",
		 program_name, conf_rank, conf_size,
		 section_name != NULL ? section_name : "outside sections", what, difference,
		 strrchr(file, '/') != NULL ? strrchr(file, '/') + 1 : file, line);
	fflush(stdout);
	fputs(sentence, stderr);
	fflush(stderr);
	MPI_Abort(MPI_COMM_WORLD, 1);
	_Exit(1);
}

_Noreturn void conf_fail(const char *file, int line, const char *fmt, ...)
{
	char what[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	fail_with(file, line, what, "");
}

void conf_check_int(const char *file, int line, long long expected, long long got,
		    const char *fmt, ...)
{
	char what[1024], difference[128];
	va_list ap;

	if (expected == got)
		return;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(difference, sizeof(difference), ": expected %lld, got %lld", expected, got);
	fail_with(file, line, what, difference);
}

void conf_check_real(const char *file, int line, double expected, double got, const char *fmt,
		     ...)
{
	char what[1024], difference[128];
	va_list ap;

	/* Exact on purpose: the values are chosen so that no rounding occurs. */
	if (expected >= got && expected <= got)
		return;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(difference, sizeof(difference), ": expected %.17g, got %.17g", expected, got);
	fail_with(file, line, what, difference);
}

void conf_check_bytes(const char *file, int line, const void *expected, const void *got,
		      size_t bytes, const char *fmt, ...)
{
	const unsigned char *want = expected, *have = got;
	char what[1024], difference[128];
	size_t i = 0, wrong = 0;
	va_list ap;

	if (bytes == 0 || memcmp(want, have, bytes) == 0)
		return;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	for (size_t k = bytes; k-- > 0;) {
		if (want[k] != have[k]) {
			wrong++;
			i = k;
		}
	}
	snprintf(difference, sizeof(difference),
		 ": byte %zu of %zu: expected 0x%02x, got 0x%02x (%zu bytes differ)", i, bytes,
		 want[i], have[i], wrong);
	fail_with(file, line, what, difference);
}

int conf_times(int n)
{
	int slow = env_int("CONFORMANCE_SLOW", 1);
	int fewer = slow > 1 ? n / slow : n;

	return fewer < 2 ? 2 : fewer;
}

int conf_often(int n)
{
	bool fast = conf_reference() || armci_domain_count(ARMCI_DOMAIN_SMP) == 1;

	return conf_times(fast ? 10 * n : n);
}

uint64_t conf_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

int conf_below(uint64_t *state, int bound)
{
	return (int)(conf_random(state) % (uint64_t)bound);
}

uint64_t conf_seed(void)
{
	const char *given = getenv("CONFORMANCE_SEED");
	uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);

	MPI_Bcast(&seed, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
	if (conf_rank == 0)
		printf("%s: CONFORMANCE_SEED=%llu repeats these cases\n", program_name,
		       (unsigned long long)seed);
	return seed;
}

void conf_fill(void *buf, size_t bytes, uint64_t seed)
{
	unsigned char *to = buf;

	for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
		uint64_t state = seed + i;
		uint64_t value = conf_random(&state);

		memcpy(to + i, &value, bytes - i < sizeof(value) ? bytes - i : sizeof(value));
	}
}

void *conf_alloc(size_t bytes)
{
	void *memory = calloc(1, bytes != 0 ? bytes : 1);

	CHECK(memory != NULL, "no memory for %zu bytes", bytes);
	return memory;
}

void **conf_share(size_t bytes)
{
	void **bases = conf_alloc(sizeof(void *) * (size_t)conf_size);

	CHECK_INT(0, ARMCI_Malloc(bases, (armci_size_t)bytes), "ARMCI_Malloc of %zu bytes",
		  bytes);
	for (int r = 0; r < conf_size && bytes > 0; r++)
		CHECK(bases[r] != NULL, "ARMCI_Malloc of %zu bytes: no address of rank %d",
		      bytes, r);
	return bases;
}

void conf_unshare(void **bases)
{
	CHECK_OK(ARMCI_Free(bases[conf_rank]));
	free(bases);
}

double conf_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

double conf_patience(void)
{
	return 20.0 * env_int("CONFORMANCE_SLOW", 1);
}

int conf_load_int(const int *where)
{
	return __atomic_load_n(where, __ATOMIC_ACQUIRE);
}

void conf_await_int(const int *where, int value, const char *what)
{
	double deadline = conf_now() + conf_patience();

	while (conf_load_int(where) != value) {
		CHECK(conf_now() < deadline, "%s: after %.0f s expected %d, still %d", what,
		      conf_patience(), value, conf_load_int(where));
		sched_yield();
	}
}
