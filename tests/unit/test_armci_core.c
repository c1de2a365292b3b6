/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of libarmci's settings, of the end of a job, of events and mutexes between threads and
 * processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#undef fail /* cmocka has one too */

#include "arena_fixture.h"
#include "armci/core/fail.h"
#include "armci/shm/mutex.h"
#include "base/clock.h"

enum { SLICE = 4 << 20, RANKS = 4 };

static void expect_refused(const char *name, const char *value, const char *part)
{
	struct err err = ERR_INIT;

	setenv(name, value, 1);
	assert_int_equal(settings_read(&err), -EINVAL);
	assert_non_null(strstr(err.msg, name));
	assert_non_null(strstr(err.msg, part));
	unsetenv(name);
}

static void test_settings_are_read(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(settings_read(&err), 0);
	assert_string_equal(settings.transport, "auto");
	assert_int_equal(settings.region_bytes, 4 << 20);
	assert_int_equal(settings.verbs_gid_index, -1);
	setenv("STASIS_ARMCI_ARENA", "3g", 1);
	setenv("STASIS_ARMCI_REGION", "512K", 1);
	setenv("STASIS_ARMCI_BOUNCE", "262144", 1);
	setenv("STASIS_ARMCI_VERBS_GID_INDEX", "3", 1);
	setenv("STASIS_ARMCI_VERBS_DEVICE", "rxe0", 1);
	setenv("STASIS_ARMC", "not ours", 1);
	assert_int_equal(settings_read(&err), 0);
	assert_int_equal(settings.arena_bytes, (int64_t)3 << 30);
	assert_int_equal(settings.region_bytes, 512 << 10);
	assert_int_equal(settings.bounce_bytes, 256 << 10);
	assert_int_equal(settings.verbs_gid_index, 3);
	setenv("STASIS_ARMCI_VERBS_DEVICE", "other", 1);
	assert_string_equal(settings.verbs_device, "rxe0");
	unsetenv("STASIS_ARMCI_ARENA");
	unsetenv("STASIS_ARMCI_REGION");
	unsetenv("STASIS_ARMCI_BOUNCE");
	unsetenv("STASIS_ARMCI_VERBS_GID_INDEX");
	unsetenv("STASIS_ARMCI_VERBS_DEVICE");
	unsetenv("STASIS_ARMC");
	/* What is not set has its default again. */
	assert_int_equal(settings_read(&err), 0);
	assert_int_equal(settings.arena_bytes, 0);
	assert_string_equal(settings.verbs_device, "");
}

static void test_settings_are_refused(void **state)
{
	(void)state;
	expect_refused("STASIS_ARMCI_CREDITS", "1", "from 2 to 1024");
	expect_refused("STASIS_ARMCI_CREDITS", "1025", "1025");
	expect_refused("STASIS_ARMCI_CREDITS", "16K", "16K");
	expect_refused("STASIS_ARMCI_CREDITS", "", "number");
	expect_refused("STASIS_ARMCI_CREDITS", "4 ", "number");
	expect_refused("STASIS_ARMCI_BOUNCE", "99999999999999999999", "from 256K to 1G");
	expect_refused("STASIS_ARMCI_BOUNCE", "9000000000000T", "from 256K to 1G");
	expect_refused("STASIS_ARMCI_BOUNCE", "1MB", "K, M, G or T");
	expect_refused("STASIS_ARMCI_ARENA", "-1", "from 0 to 8T");
	expect_refused("STASIS_ARMCI_REGION", "500000", "power of two");
	expect_refused("STASIS_ARMCI_CREDIT", "8", "STASIS_ARMCI_CREDITS");
	expect_refused("STASIS_ARMCI_VERB_TIMEOUT", "8", "STASIS_ARMCI_VERBS_TIMEOUT");
	expect_refused("STASIS_ARMCI_", "8", "the nearest is STASIS_ARMCI_");
	expect_refused("STASIS_ARMCI_transport", "ofi", "is no setting");
	assert_int_equal(settings_read(NULL), 0);
}

static void test_settings_are_listed(void **state)
{
	struct setting_view view;
	size_t count = 0;
	bool seen = false;

	(void)state;
	setenv("STASIS_ARMCI_BOUNCE", "512K", 1);
	assert_int_equal(settings_read(NULL), 0);
	while (settings_view(count, &view)) {
		count++;
		assert_memory_equal(view.name, SETTINGS_PREFIX, strlen(SETTINGS_PREFIX));
		assert_true(strlen(view.doc) > 0);
		if (!strcmp(view.name, "STASIS_ARMCI_BOUNCE")) {
			assert_string_equal(view.value, "512K");
			assert_string_equal(view.def, "4M");
			seen = true;
		} else {
			assert_string_equal(view.value, view.def);
		}
	}
	assert_true(seen && count > 20);
	unsetenv("STASIS_ARMCI_BOUNCE");
	settings_read(NULL);
}

/* Run fail() in a child: what it printed, and how it ended. */
static int fail_output(void (*run)(void), char *ret_text, size_t size)
{
	int fds[2], status;
	ssize_t got, len = 0;
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	if (child == 0) {
		dup2(fds[1], STDERR_FILENO);
		run();
		_exit(0);
	}
	close(fds[1]);
	while ((got = read(fds[0], ret_text + len, size - 1 - (size_t)len)) > 0)
		len += got;
	close(fds[0]);
	ret_text[len] = '\0';
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void fail_before_init(void)
{
	fail("ARMCI_Put(%d bytes): use before init", 8);
}

static void fail_as_rank(void)
{
	job.size = 4;
	job.rank = 3;
	fail_in_service_thread();
	fail("%2040s", "long");
}

static void *fail_thread(void *arg)
{
	(void)arg;
	fail("once");
}

static void fail_in_two_threads(void)
{
	pthread_t thread[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, fail_thread, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
}

static void test_fail(void **state)
{
	char text[4096];

	(void)state;
	assert_int_equal(fail_output(fail_before_init, text, sizeof(text)), 1);
	assert_string_equal(text, "armci: rank ?: ARMCI_Put(8 bytes): use before init\n");
	assert_int_equal(fail_output(fail_as_rank, text, sizeof(text)), 1);
	assert_memory_equal(text, "armci: rank 3: ", 15);
	assert_int_equal(text[strlen(text) - 1], '\n');
	assert_int_equal(fail_output(fail_in_two_threads, text, sizeof(text)), 1);
	assert_string_equal(text, "armci: rank ?: once\n");
}

static int arena_setup(void **state)
{
	(void)state;
	return fixture_open(RANKS, SLICE);
}

static int arena_teardown(void **state)
{
	(void)state;
	fixture_close();
	return 0;
}

static void children_end(int count)
{
	int status;

	for (int i = 0; i < count; i++) {
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
}

enum { ROUNDS = 3000 };

struct table {
	struct event ball[2];
	_Atomic uint32_t hits;
};

/* Player 0 begins; each waits for the other's ball. A lost wake would leave both asleep. */
static void play(struct table *table, uint32_t me)
{
	for (uint32_t i = 0; i < ROUNDS; i++) {
		if (me == 0)
			event_signal(&table->ball[0]);
		event_wait(&table->ball[1 - me], i);
		atomic_fetch_add_explicit(&table->hits, 1, memory_order_relaxed);
		if (me == 1)
			event_signal(&table->ball[1]);
	}
}

static void ping_pong(int64_t spin, int64_t yields)
{
	struct table *table = arena_rank_block(0);

	settings.spin = spin;
	settings.yields = yields;
	wait_open();
	memset(table, 0, sizeof(*table));
	if (fork() == 0) {
		play(table, 1);
		_exit(0);
	}
	play(table, 0);
	children_end(1);
	assert_int_equal(atomic_load(&table->hits), 2 * ROUNDS);
	assert_int_equal(atomic_load(&table->ball[0].sleepers), 0);
	assert_int_equal(atomic_load(&table->ball[1].sleepers), 0);
}

static void test_events_between_processes(void **state)
{
	(void)state;
	ping_pong(0, 0); /* sleeps at once */
	ping_pong(0, 4);
	ping_pong(50, 4);
	settings_read(NULL);
}

enum { WAITERS = 6, SIGNALS = 500 };

struct crowd {
	struct event go, back;
	_Atomic uint32_t arrived;
};

static void *crowd_wait(void *arg)
{
	struct crowd *crowd = arg;

	for (uint32_t i = 0; i < SIGNALS; i++) {
		event_wait(&crowd->go, i);
		if (atomic_fetch_add(&crowd->arrived, 1) + 1 == WAITERS * (i + 1))
			event_signal(&crowd->back);
	}
	return NULL;
}

static void test_a_signal_wakes_all(void **state)
{
	struct crowd crowd = {0};
	pthread_t thread[WAITERS];

	(void)state;
	settings.yields = 1;
	wait_open();
	for (int i = 0; i < WAITERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, crowd_wait, &crowd), 0);
	for (uint32_t i = 0; i < SIGNALS; i++) {
		event_signal(&crowd.go);
		event_wait(&crowd.back, i);
	}
	for (int i = 0; i < WAITERS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(atomic_load(&crowd.arrived), WAITERS * SIGNALS);
	settings_read(NULL);
}

static void test_timed_wait(void **state)
{
	struct event event = {0};
	int64_t begin = wait_now_ns(), taken;

	(void)state;
	assert_false(event_wait_for(&event, 0, 20 * NS_PER_MS));
	taken = wait_now_ns() - begin;
	assert_true(taken >= 20 * NS_PER_MS);
	assert_false(event_wait_for(&event, 0, 0));
	assert_true(event_wait_for(&event, 1, 0));
	event_signal(&event);
	assert_true(event_wait_for(&event, 0, INT64_MAX));
	assert_int_equal(atomic_load(&event.sleepers), 0);
}

struct shared {
	struct shm_mutex mutex;
	uint64_t count; /* the mutex guards it */
	int inside;
};

enum { LOCKS = 2000 };

static void take_turns(struct shared *shared, int rank)
{
	for (int i = 0; i < LOCKS; i++) {
		if (shm_mutex_lock(&shared->mutex, rank) != 0)
			_exit(3);
		if (shared->inside++)
			_exit(1);
		shared->count++;
		shared->inside--;
		if (shm_mutex_unlock(&shared->mutex, rank) != 0)
			_exit(2);
	}
}

static void test_mutex_between_processes(void **state)
{
	struct shared *shared = arena_rank_block(0);

	(void)state;
	for (int rank = 0; rank < RANKS; rank++)
		if (fork() == 0) {
			fixture_become(rank, RANKS);
			take_turns(shared, rank);
			_exit(0);
		}
	children_end(RANKS);
	assert_int_equal(shared->count, RANKS * LOCKS);
}

static void *take_turns_thread(void *arg)
{
	static _Atomic int next_rank;

	take_turns(arg, atomic_fetch_add(&next_rank, 1));
	return NULL;
}

static void test_mutex_between_threads(void **state)
{
	struct shared shared = {0};
	pthread_t thread[RANKS];

	(void)state;
	for (int i = 0; i < RANKS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, take_turns_thread, &shared),
				 0);
	for (int i = 0; i < RANKS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(shared.count, RANKS * LOCKS);
}

static void test_mutex_order_and_owner(void **state)
{
	struct shm_mutex mutex = {0};
	uint32_t first, second, third;

	(void)state;
	assert_int_equal(shm_mutex_unlock(&mutex, 0), -EPERM);
	first = shm_mutex_ticket(&mutex);
	second = shm_mutex_ticket(&mutex);
	third = shm_mutex_ticket(&mutex);
	assert_false(shm_mutex_try(&mutex, third, 2));
	assert_false(shm_mutex_try(&mutex, second, 1));
	assert_true(shm_mutex_try(&mutex, first, 0));
	assert_int_equal(shm_mutex_unlock(&mutex, 1), -EPERM);
	assert_int_equal(shm_mutex_unlock(&mutex, 0), 0);
	assert_int_equal(shm_mutex_unlock(&mutex, 0), -EPERM);
	assert_false(shm_mutex_try(&mutex, third, 2));
	assert_true(shm_mutex_try(&mutex, second, 1));
	assert_int_equal(shm_mutex_unlock(&mutex, 1), 0);
	assert_true(shm_mutex_try(&mutex, third, 2));
	assert_int_equal(shm_mutex_unlock(&mutex, 2), 0);
	/* Tickets wrap around. */
	atomic_store(&mutex.next, UINT32_MAX);
	atomic_store(&mutex.serving, UINT32_MAX);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(shm_mutex_lock(&mutex, 5), 0);
		assert_int_equal(shm_mutex_lock(&mutex, 5), -EDEADLK);
		assert_false(shm_mutex_trylock(&mutex, 4));
		assert_int_equal(shm_mutex_unlock(&mutex, 5), 0);
	}
	assert_true(shm_mutex_trylock(&mutex, 4));
	assert_int_equal(shm_mutex_unlock(&mutex, 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_settings_are_read),
		cmocka_unit_test(test_settings_are_refused),
		cmocka_unit_test(test_settings_are_listed),
		cmocka_unit_test(test_fail),
		cmocka_unit_test_setup_teardown(test_events_between_processes, arena_setup,
						arena_teardown),
		cmocka_unit_test_setup_teardown(test_a_signal_wakes_all, arena_setup,
						arena_teardown),
		cmocka_unit_test(test_timed_wait),
		cmocka_unit_test_setup_teardown(test_mutex_between_processes, arena_setup,
						arena_teardown),
		cmocka_unit_test_setup_teardown(test_mutex_between_threads, arena_setup,
						arena_teardown),
		cmocka_unit_test(test_mutex_order_and_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
