/* SPDX-License-Identifier: BSD-3-Clause */
/* What processes with libarmci and the agent of their guest say to each other. */
#ifndef STASIS_ARMCI_SUSPEND_CONTROL_H
#define STASIS_ARMCI_SUSPEND_CONTROL_H

#include <stdint.h>

/*
 * A process connects to the agent's socket (SOCK_SEQPACKET) in ARMCI_Init and says hello; from
 * then on the agent gives orders, one at a time, and the process reports each. Numbers are in
 * the machine's own order: both ends are on one machine. Whoever finds a packet that is not as
 * described here closes the connection. A process whose agent has gone connects again and says
 * in its hello how far it was.
 *
 *   order     from state                     to         what the process does
 *   drain     open, drained                  drained    closes its gate; completes its
 * operations release   drained, released              released   frees all that it has of the
 * fabric reopen    any                            reopened   opens a device anew; serves;
 * reports its card (open stays open, and reports its card) connect   drained, reopened, open
 * open       learns all cards; opens its gate abort     open, drained                  open
 * opens its gate
 *
 * A process with an order that fails stays in the state it was in, except that a failed drain
 * leaves the gate closed until abort. `connect` comes with a descriptor (SCM_RIGHTS): the table
 * of all cards of the job, a struct control_table and its rows in a memory file.
 */
#define CONTROL_SOCKET "/run/stasis/armci.sock"

enum {
	CONTROL_MAGIC = 0x53544143,
	CONTROL_VERSION = 1,
	CONTROL_JOB_BYTES = 16,
	CONTROL_CARD_MAX = 256,
	CONTROL_TEXT_MAX = 256,
	CONTROL_RANKS_MAX = 1 << 16,
};

enum control_state {
	CONTROL_OPEN,
	CONTROL_DRAINED,
	CONTROL_RELEASED,
	CONTROL_REOPENED,
	CONTROL_STATES
};

enum control_kind {
	CONTROL_DRAIN,
	CONTROL_RELEASE,
	CONTROL_REOPEN,
	CONTROL_CONNECT,
	CONTROL_ABORT,
	CONTROL_KINDS
};

/* The first packet of a process. */
struct control_hello {
	uint32_t magic;
	uint32_t version;
	uint8_t job[CONTROL_JOB_BYTES]; /* drawn at random for each job */
	int32_t rank, ranks;            /* in the job */
	uint32_t state;                 /* enum control_state */
};

struct control_order {
	uint32_t kind;       /* enum control_kind */
	uint32_t serial;     /* comes back in the report */
	int64_t deadline_ms; /* from now */
};

/* A report has the card, if any, behind it. */
struct control_report {
	uint32_t kind;
	uint32_t serial;
	int32_t status; /* 0 or a negative errno; then `text` is a sentence */
	uint32_t state; /* after it */
	int64_t duration_ns;
	uint32_t card_bytes; /* reopen: how others reach this process; 0 if nobody is to */
	char text[CONTROL_TEXT_MAX]; /* ends with a NUL */
};

struct control_row {
	uint32_t bytes;
	uint8_t card[CONTROL_CARD_MAX];
};

struct control_table {
	uint32_t magic;
	uint32_t ranks;
	struct control_row rows[];
};

#endif
