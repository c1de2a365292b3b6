/* SPDX-License-Identifier: BSD-3-Clause */
/* The gate's slow ways: waiting before it, closing and opening it. */
#include "armci/core/gate.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ASIDE_NS = 1000000 };

struct gate gate;

static bool is_closed(void)
{
	return atomic_load_explicit(&gate.closed, memory_order_acquire);
}

void gate_left(void)
{
	event_signal(&gate.left);
}

void gate_enter_slow(const char *what)
{
	do {
		atomic_store_explicit(&gate.inside, NULL, memory_order_release);
		gate_left();
		for (;;) {
			uint32_t seen = event_seq(&gate.opened);

			if (!is_closed())
				break;
			event_wait(&gate.opened, seen);
		}
		atomic_store_explicit(&gate.inside, what, memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst);
	} while (is_closed());
}

bool gate_try_enter(const char *what)
{
	atomic_store_explicit(&gate.inside, what, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (!is_closed())
		return true;
	gate_leave();
	return false;
}

void gate_step_aside(const char *what)
{
	gate_leave();
	if (!is_closed()) {
		uint32_t seen = event_seq(&gate.opened);

		event_wait_for(&gate.opened, seen, ASIDE_NS);
	}
	gate_enter(what);
}

static int membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0) < 0 ? -errno : 0;
}

int gate_prepare(void)
{
	return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

void gate_close(void)
{
	atomic_store(&gate.closed, 1);
	membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

bool gate_wait_empty(int64_t deadline_ns)
{
	for (;;) {
		uint32_t seen = event_seq(&gate.left);
		int64_t left_ns;

		if (!atomic_load_explicit(&gate.inside, memory_order_acquire))
			return true;
		left_ns = deadline_ns - wait_now_ns();
		if (left_ns <= 0)
			return false;
		event_wait_for(&gate.left, seen, left_ns);
	}
}

void gate_open(void)
{
	atomic_store(&gate.closed, 0);
	event_signal(&gate.opened);
}

const char *gate_what(void)
{
	const char *what = atomic_load_explicit(&gate.inside, memory_order_relaxed);

	return what ? what : "nothing";
}
