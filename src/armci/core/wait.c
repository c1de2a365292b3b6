/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting: look, pause, yield, sleep. */
#include "armci/core/wait.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "armci/core/cpu.h"
#include "armci/core/job.h"
#include "armci/core/settings.h"
#include "base/clock.h"

static int64_t spins, yields;

void wait_open(void)
{
	spins = job.oversubscribed ? 0 : settings.spin;
	yields = settings.yields;
}

int64_t wait_now_ns(void)
{
	return clock_mono_ns();
}

void wait_sleep_word(_Atomic uint32_t *word, uint32_t value, int64_t timeout_ns)
{
	struct timespec timeout;

	if (timeout_ns >= 0) {
		timeout.tv_sec = timeout_ns / NS_PER_S;
		timeout.tv_nsec = timeout_ns % NS_PER_S;
	}
	syscall(SYS_futex, word, FUTEX_WAIT, value, timeout_ns >= 0 ? &timeout : NULL, NULL, 0);
}

void wait_wake_word(_Atomic uint32_t *word, int count)
{
	syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

bool wait_pause(struct wait_state *state)
{
	if (state->rounds < spins) {
		state->rounds++;
		cpu_pause();
		return false;
	}
	if (state->rounds < spins + yields) {
		state->rounds++;
		sched_yield();
		return false;
	}
	return true;
}

/*
 * No wake is lost: a signaller advances `seq`, then looks at `sleepers`; a sleeper announces
 * itself, then looks at `seq`, all in one total order, so that one of the two sees the other;
 * and the kernel looks at `seq` once more before it sleeps.
 */
void event_signal(struct event *event)
{
	atomic_fetch_add(&event->seq, 1);
	if (atomic_load(&event->sleepers) != 0)
		wait_wake_word(&event->seq, INT_MAX);
}

/* Sleep at most timeout_ns (negative: no limit); may return early. */
static void event_sleep(struct event *event, uint32_t seen, int64_t timeout_ns)
{
	atomic_fetch_add(&event->sleepers, 1);
	if (atomic_load(&event->seq) == seen)
		wait_sleep_word(&event->seq, seen, timeout_ns);
	atomic_fetch_sub(&event->sleepers, 1);
}

void event_wait(struct event *event, uint32_t seen)
{
	struct wait_state state = {0};

	while (event_seq(event) == seen)
		if (wait_pause(&state))
			event_sleep(event, seen, -1);
}

bool event_wait_for(struct event *event, uint32_t seen, int64_t timeout_ns)
{
	struct wait_state state = {0};
	int64_t deadline, left;

	if (event_seq(event) != seen)
		return true;
	if (__builtin_add_overflow(wait_now_ns(), timeout_ns, &deadline))
		deadline = INT64_MAX;
	while (event_seq(event) == seen) {
		bool sleepy = wait_pause(&state);

		if (state.rounds < spins)
			continue;
		left = deadline - wait_now_ns();
		if (left <= 0)
			return event_seq(event) != seen;
		if (sleepy)
			event_sleep(event, seen, left);
	}
	return true;
}
