/* SPDX-License-Identifier: BSD-3-Clause */
/* How the ranks of each job are reached after a suspension, as the guests say. Pure. */
#ifndef STASIS_DAEMON_CARDS_H
#define STASIS_DAEMON_CARDS_H

#include <jansson.h>
#include <stddef.h>

#include "armci/suspend/control.h"
#include "base/err.h"

/* A card, and its length in two bytes before it, the low one first. */
enum { CARDS_ROW_MAX = 2 + CONTROL_CARD_MAX };

/* All ranks of one job: a row for each, in the form of the operation "cards". */
struct job_cards {
	struct job_cards *next;
	char job[2 * CONTROL_JOB_BYTES + 1]; /* in hexadecimal */
	size_t ranks;
	unsigned char (*rows)[CARDS_ROW_MAX];
};

/* One member of a guest's "cards" into the list of jobs; -EBADMSG or -EPROTO: it is not as it
 * ought to be. */
int cards_take(struct job_cards **jobs, const json_t *card, struct err *err);

/* As many rows from rank `first` on as `max` bytes take, at least one; the first rank that is
 * left. */
size_t cards_pack(const struct job_cards *job, size_t first, char *ret_blob, size_t max,
		  size_t *ret_len);

void cards_free(struct job_cards *jobs);

#endif
