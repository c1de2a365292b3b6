/* SPDX-License-Identifier: BSD-3-Clause */
/* How the processes of a test meet: all-gather over TCP through rank 0, on one machine or
 * several. */
#ifndef STASIS_TESTS_ARMCI_MEET_H
#define STASIS_TESTS_ARMCI_MEET_H

#include <stddef.h>
#include <stdint.h>

enum { MEET_RANKS_MAX = 256, MEET_SECONDS = 180 };

struct meet {
	int rank, size;
	int fds[MEET_RANKS_MAX]; /* rank 0: to each other; others: [0] to rank 0 */
};

/* A socket that listens on the port (0: any); the port that it has goes to *ret_port. */
int meet_listen(uint16_t port, uint16_t *ret_port);

/* Rank 0 passes what meet_listen() gave, the others -1 and where rank 0 listens. Whoever fails
 * ends the process. */
void meet_open(struct meet *meet, int rank, int size, int listener, const char *host,
	       uint16_t port);
void meet_close(struct meet *meet);

/* All ranks give `bytes`; `all` receives size × bytes in the order of the ranks. */
void meet_gather(struct meet *meet, const void *mine, size_t bytes, void *all);
void meet_barrier(struct meet *meet);

/* Go on without the highest rank. */
void meet_drop_last(struct meet *meet);

#endif
