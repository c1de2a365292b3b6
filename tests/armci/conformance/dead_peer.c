/* SPDX-License-Identifier: BSD-3-Clause */
/* The last rank kills itself while the others use it: dead_peer get|put|acc|rmw|lock|barrier.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf.h"

enum { BYTES = 100000 };

static void **bases;
static char local[BYTES];

/* One round of operations on the rank that dies. */
static void use(const char *mode, int dead)
{
	long one = 1;

	if (strcmp(mode, "get") == 0) {
		ARMCI_Get(bases[dead], local, BYTES, dead);
	} else if (strcmp(mode, "put") == 0) {
		ARMCI_Put(local, bases[dead], BYTES, dead);
		ARMCI_Fence(dead);
	} else if (strcmp(mode, "acc") == 0) {
		ARMCI_Acc(ARMCI_ACC_LNG, &one, local, bases[dead], 800, dead);
		ARMCI_Fence(dead);
	} else if (strcmp(mode, "rmw") == 0) {
		ARMCI_Rmw(ARMCI_FETCH_AND_ADD_LONG, &one, bases[dead], 1, dead);
	} else if (strcmp(mode, "lock") == 0) {
		ARMCI_Lock(0, dead);
		ARMCI_Unlock(0, dead);
	} else {
		ARMCI_Barrier();
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "get";
	bool stop = argc > 2 && strcmp(argv[2], "stop") == 0;
	double deadline;
	int dead;

	conf_begin(&argc, &argv, "dead_peer");
	dead = conf_size - 1;
	conf_section(mode);
	bases = conf_share(BYTES);
	CHECK_OK(ARMCI_Create_mutexes(1));
	memset(bases[conf_rank], 0, BYTES);
	ARMCI_Barrier();
	/* Connections exist and work. */
	for (int i = 0; i < 3; i++)
		use(mode, dead);
	ARMCI_Barrier();
	if (conf_rank == dead) {
		fprintf(stderr, "dead_peer: rank %d %s now\n", conf_rank,
			stop ? "stops" : "dies");
		fflush(stderr);
		kill(getpid(), stop ? SIGSTOP : SIGKILL);
	}
	deadline = conf_now() + 2 * conf_patience();
	while (conf_now() < deadline)
		use(mode, dead);
	CHECK(false, "operations on a rank that is dead went on for %.0f s",
	      2 * conf_patience());
}
