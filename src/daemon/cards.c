/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/cards.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/rpc.h"

static struct job_cards *job_get(struct job_cards **jobs, const char *job, size_t ranks)
{
	struct job_cards *at = *jobs;

	while (at && strcmp(at->job, job) != 0)
		at = at->next;
	if (at)
		return at->ranks == ranks ? at : NULL;
	at = calloc(1, sizeof(*at));
	if (at)
		at->rows = calloc(ranks, sizeof(at->rows[0]));
	if (!at || !at->rows) {
		free(at);
		return NULL;
	}
	memcpy(at->job, job, sizeof(at->job));
	at->ranks = ranks;
	at->next = *jobs;
	*jobs = at;
	return at;
}

/* A card in hexadecimal into its row; false: it is none. */
static bool row_set(unsigned char row[CARDS_ROW_MAX], const char *hex)
{
	size_t digits = strlen(hex);

	if (digits % 2 || digits / 2 > CONTROL_CARD_MAX)
		return false;
	row[0] = (unsigned char)(digits / 2 & 0xff);
	row[1] = (unsigned char)(digits / 2 >> 8);
	return hex_decode(hex, row + 2, digits / 2);
}

int cards_take(struct job_cards **jobs, const json_t *card, struct err *err)
{
	const char *job = "", *hex = "";
	int64_t ranks = 0, rank = 0;
	uint8_t number[CONTROL_JOB_BYTES];
	struct job_cards *entry;
	int rc = rpc_get_str(card, "job", &job, err);

	if (rc == 0)
		rc = rpc_get_str(card, "card", &hex, err);
	if (rc == 0)
		rc = rpc_get_int(card, "ranks", 1, CONTROL_RANKS_MAX, &ranks, err);
	if (rc == 0)
		rc = rpc_get_int(card, "rank", 0, ranks - 1, &rank, err);
	if (rc < 0)
		return rc;
	if (strlen(job) != sizeof(entry->job) - 1 || !hex_decode(job, number, sizeof(number)))
		return err_set(err, EBADMSG, "a card of a job without a proper number");
	entry = job_get(jobs, job, (size_t)ranks);
	if (!entry)
		return err_set(
			err, EBADMSG,
			"no memory for the cards of %lld ranks, or another number of them "
			"before",
			(long long)ranks);
	if (!row_set(entry->rows[rank], hex))
		return err_set(err, EBADMSG, "the card of rank %lld is none", (long long)rank);
	return 0;
}

size_t cards_pack(const struct job_cards *job, size_t first, char *ret_blob, size_t max,
		  size_t *ret_len)
{
	*ret_len = 0;
	for (; first < job->ranks; first++) {
		const unsigned char *row = job->rows[first];
		size_t len = 2 + ((size_t)row[0] | (size_t)row[1] << 8);

		if (*ret_len + len > max)
			break;
		memcpy(ret_blob + *ret_len, row, len);
		*ret_len += len;
	}
	return first;
}

void cards_free(struct job_cards *jobs)
{
	while (jobs) {
		struct job_cards *next = jobs->next;

		free(jobs->rows);
		free(jobs);
		jobs = next;
	}
}
