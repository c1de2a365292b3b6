/* SPDX-License-Identifier: BSD-3-Clause */
/* Mutexes by ticket. */
#include "armci/shm/mutex.h"

#include <errno.h>

uint32_t shm_mutex_ticket(struct shm_mutex *mutex)
{
	return atomic_fetch_add(&mutex->next, 1);
}

bool shm_mutex_try(struct shm_mutex *mutex, uint32_t ticket, int rank)
{
	if (atomic_load_explicit(&mutex->serving, memory_order_acquire) != ticket)
		return false;
	atomic_store_explicit(&mutex->owner, rank + 1, memory_order_relaxed);
	return true;
}

int shm_mutex_lock(struct shm_mutex *mutex, int rank)
{
	if (atomic_load_explicit(&mutex->owner, memory_order_relaxed) == rank + 1)
		return -EDEADLK;
	uint32_t ticket = shm_mutex_ticket(mutex);

	for (;;) {
		uint32_t seen = event_seq(&mutex->turn);

		if (shm_mutex_try(mutex, ticket, rank))
			return 0;
		event_wait(&mutex->turn, seen);
	}
}

int shm_mutex_unlock(struct shm_mutex *mutex, int rank)
{
	uint32_t serving;

	if (atomic_load_explicit(&mutex->owner, memory_order_relaxed) != rank + 1)
		return -EPERM;
	atomic_store_explicit(&mutex->owner, 0, memory_order_relaxed);
	serving = atomic_load_explicit(&mutex->serving, memory_order_relaxed);
	atomic_store_explicit(&mutex->serving, serving + 1, memory_order_release);
	event_signal(&mutex->turn);
	return 0;
}

bool shm_mutex_trylock(struct shm_mutex *mutex, int rank)
{
	uint32_t free = atomic_load(&mutex->serving);
	if (!atomic_compare_exchange_strong(&mutex->next, &free, free + 1))
		return false;
	return shm_mutex_try(mutex, free, rank);
}
