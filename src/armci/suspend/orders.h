/* SPDX-License-Identifier: BSD-3-Clause */
/* The agent's orders, carried out: the process's states and how it goes from one to the next.
 */
#ifndef STASIS_ARMCI_SUSPEND_ORDERS_H
#define STASIS_ARMCI_SUSPEND_ORDERS_H

#include "armci/suspend/control.h"

/* What an order comes with, and what is reported of it. */
struct orders_call {
	struct control_order order;
	int table_fd; /* connect: the table of cards; -1: none */
	struct control_report report;
	uint8_t card[CONTROL_CARD_MAX];
};

/* Carry it out, whatever it is, and fill in the report and the card. Only the control thread
 * calls this. */
void orders_carry_out(struct orders_call *call);

enum control_state orders_state(void);

#endif
