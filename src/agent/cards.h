/* SPDX-License-Identifier: BSD-3-Clause */
/* How the ranks of each job are reached after a suspension: their cards, by job and rank. */
#ifndef STASIS_AGENT_CARDS_H
#define STASIS_AGENT_CARDS_H

#include <stddef.h>
#include <stdint.h>

#include "armci/suspend/control.h"
#include "base/err.h"

struct cards_job;

/* All jobs with processes in this guest. Zero-filled is empty. */
struct cards {
	struct cards_job *jobs;
};

void cards_clear(struct cards *cards);

/* Keep a rank's card. -EINVAL: a rank, number of ranks or length that cannot be. */
int cards_put(struct cards *cards, const uint8_t job[CONTROL_JOB_BYTES], int64_t ranks,
	      int64_t rank, const void *card, size_t bytes, struct err *err);

/* The same for ranks from `first` on: each card's length in two bytes, the low one first, and
 * the card. -EBADMSG when that does not come out even. */
int cards_put_rows(struct cards *cards, const uint8_t job[CONTROL_JOB_BYTES], int64_t ranks,
		   int64_t first, const char *rows, size_t bytes, struct err *err);

/* The card of a rank; NULL, or no bytes: there is none. */
const struct control_row *cards_get(const struct cards *cards,
				    const uint8_t job[CONTROL_JOB_BYTES], int64_t rank);

/* A memory file with a job's struct control_table, sealed; the caller closes it. */
int cards_file(const struct cards *cards, const uint8_t job[CONTROL_JOB_BYTES], int *ret_fd,
	       struct err *err);

#endif
