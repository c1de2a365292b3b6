/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: cards of ranks, as a guest says them to the host (input is a JSON array) and as
 * the host packs them for the guests' agents (input begins with a NUL; then the rows). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cards.h"
#include "base/hex.h"
#include "daemon/cards.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FEW_RANKS = 1000, BLOB = 4096 };

/* Whatever was taken can be asked for, and fits a table. */
static void check_kept(const struct cards *cards, const uint8_t *job, int64_t ranks)
{
	int fd;

	for (int64_t rank = -1; rank <= ranks; rank++) {
		const struct control_row *row = cards_get(cards, job, rank);

		if (row && (rank < 0 || rank >= ranks || row->bytes > CONTROL_CARD_MAX))
			abort();
	}
	if (cards_get(cards, job, 0) && cards_file(cards, job, &fd, NULL) == 0)
		close(fd);
}

static void rows(const uint8_t *data, size_t size)
{
	static const uint8_t job[CONTROL_JOB_BYTES] = {1};
	int64_t ranks = size ? data[0] : 0, first = size > 1 ? (int8_t)data[1] : 0;
	struct cards cards = {0};
	struct err err = ERR_INIT;

	if (size > 2 &&
	    cards_put_rows(&cards, job, ranks, first, (const char *)data + 2, size - 2, &err) <
		    0 &&
	    err.msg[0] == '\0')
		abort();
	check_kept(&cards, job, ranks);
	cards_clear(&cards);
}

/* What the host has taken, an agent takes from it. */
static void hand_on(const struct job_cards *job)
{
	uint8_t number[CONTROL_JOB_BYTES];
	struct cards cards = {0};
	char blob[BLOB];

	if (job->ranks > FEW_RANKS)
		return;
	if (!hex_decode(job->job, number, sizeof(number)))
		abort();
	for (size_t first = 0, len; first < job->ranks;) {
		size_t next = cards_pack(job, first, blob, sizeof(blob), &len);

		if (next == first || cards_put_rows(&cards, number, (int64_t)job->ranks,
						    (int64_t)first, blob, len, NULL) < 0)
			abort();
		first = next;
	}
	check_kept(&cards, number, (int64_t)job->ranks);
	cards_clear(&cards);
}

static void said(const char *text, size_t size)
{
	json_t *all = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL), *card;
	struct job_cards *jobs = NULL;
	struct err err = ERR_INIT;
	size_t i;

	json_array_foreach(all, i, card)
	{
		if (cards_take(&jobs, card, &err) < 0 && err.msg[0] == '\0')
			abort();
	}
	for (const struct job_cards *job = jobs; job; job = job->next)
		hand_on(job);
	cards_free(jobs);
	json_decref(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 0 && data[0] == 0)
		rows(data + 1, size - 1);
	else
		said((const char *)data, size);
	return 0;
}
