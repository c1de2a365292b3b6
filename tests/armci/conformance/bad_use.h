/* SPDX-License-Identifier: BSD-3-Clause */
/* Bad uses of the library: what the program bad_use and its tables of modes share. */
#ifndef STASIS_TESTS_ARMCI_BAD_USE_H
#define STASIS_TESTS_ARMCI_BAD_USE_H

/* When a bad use happens, and what is to come of it. */
enum bad_kind {
	ALONE,  /* rank 0 does it while the others wait in a barrier; one sentence */
	ALL,    /* all do it (a collective call); a sentence of at least one */
	BEFORE, /* by all before ARMCI_Init */
	AFTER,  /* the same after ARMCI_Finalize */
	SILENT, /* rank 0 ends the job as it should: no sentence is needed */
};

struct bad_mode {
	const char *name; /* NULL ends a table */
	const char *call; /* what the sentence must name */
	enum bad_kind kind;
	void (*act)(void);
};

/* Transfers with addresses, ranks, sizes and shapes that are wrong. */
extern const struct bad_mode bad_transfers[];
/* Everything else: mutexes, memory, messages, calls at the wrong time. */
extern const struct bad_mode bad_others[];

enum { BAD_BYTES = 4096 };

extern void **bad_bases;   /* a segment of BAD_BYTES of each rank */
extern char bad_outside[]; /* BAD_BYTES in the program: in no segment */
extern char bad_local[];   /* 2 × BAD_BYTES */

/* The rank that is misused, and its segment. */
int bad_other(void);
char *bad_there(void);

#endif
