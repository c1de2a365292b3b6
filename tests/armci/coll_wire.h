/* SPDX-License-Identifier: BSD-3-Clause */
/* In the test of collectives, MPI stands between nodes in the place of remote/. */
#ifndef STASIS_TESTS_ARMCI_COLL_WIRE_H
#define STASIS_TESTS_ARMCI_COLL_WIRE_H

/* Collective; the job is open, and has nodes as this run wants them. */
void coll_wire_open(void);
void coll_wire_close(void);

#endif
