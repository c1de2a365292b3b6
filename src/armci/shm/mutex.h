/* SPDX-License-Identifier: BSD-3-Clause */
/* Mutexes in shared memory: FIFO, by ticket, waiting on an event. */
#ifndef STASIS_ARMCI_SHM_MUTEX_H
#define STASIS_ARMCI_SHM_MUTEX_H

#include <stdbool.h>
#include <stdint.h>

#include "armci/core/wait.h"

/* Zero-filled is a free mutex. */
struct shm_mutex {
	_Atomic uint32_t next;    /* ticket to give out next */
	_Atomic uint32_t serving; /* ticket that holds the mutex */
	_Atomic int32_t owner;    /* 1 + world rank that holds it, 0: nobody */
	struct event turn;        /* signalled when serving advances */
};

/* Take a ticket. */
uint32_t shm_mutex_ticket(struct shm_mutex *mutex);
/* True if the ticket's turn has come; then `rank` owns the mutex. */
bool shm_mutex_try(struct shm_mutex *mutex, uint32_t ticket, int rank);
/* Ticket and wait until it is our turn; -EDEADLK if `rank` holds the mutex already. */
int shm_mutex_lock(struct shm_mutex *mutex, int rank);
/* Take it only if nobody has it or waits for it. */
bool shm_mutex_trylock(struct shm_mutex *mutex, int rank);
/* -EPERM if `rank` does not hold it. */
int shm_mutex_unlock(struct shm_mutex *mutex, int rank);

#endif
