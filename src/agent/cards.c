/* SPDX-License-Identifier: BSD-3-Clause */
/* Cards: a table for each job, grown when the job's first card comes. */
#include "agent/cards.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"

struct cards_job {
	struct cards_job *next;
	uint8_t job[CONTROL_JOB_BYTES];
	struct control_table table;
};

static size_t table_bytes(const struct control_table *table)
{
	return sizeof(*table) + table->ranks * sizeof(table->rows[0]);
}

static struct cards_job *job_find(const struct cards *cards,
				  const uint8_t job[CONTROL_JOB_BYTES])
{
	struct cards_job *at = cards->jobs;

	while (at && memcmp(at->job, job, CONTROL_JOB_BYTES) != 0)
		at = at->next;
	return at;
}

static struct cards_job *job_add(struct cards *cards, const uint8_t job[CONTROL_JOB_BYTES],
				 uint32_t ranks)
{
	struct cards_job *added =
		calloc(1, sizeof(*added) + ranks * sizeof(added->table.rows[0]));

	if (!added)
		return NULL;
	memcpy(added->job, job, CONTROL_JOB_BYTES);
	added->table.magic = CONTROL_MAGIC;
	added->table.ranks = ranks;
	added->next = cards->jobs;
	cards->jobs = added;
	return added;
}

void cards_clear(struct cards *cards)
{
	struct cards_job *job;

	while ((job = cards->jobs)) {
		cards->jobs = job->next;
		free(job);
	}
}

int cards_put(struct cards *cards, const uint8_t job[CONTROL_JOB_BYTES], int64_t ranks,
	      int64_t rank, const void *card, size_t bytes, struct err *err)
{
	struct cards_job *entry = job_find(cards, job);
	struct control_row *row;

	if (ranks < 1 || ranks > CONTROL_RANKS_MAX || rank < 0 || rank >= ranks ||
	    bytes > CONTROL_CARD_MAX || (entry && entry->table.ranks != (uint32_t)ranks))
		return err_set(err, EINVAL, "a card of %zu bytes for rank %lld of %lld", bytes,
			       (long long)rank, (long long)ranks);
	if (!entry)
		entry = job_add(cards, job, (uint32_t)ranks);
	if (!entry)
		return err_set(err, ENOMEM, "no memory for the cards of %lld ranks",
			       (long long)ranks);
	row = &entry->table.rows[rank];
	memset(row, 0, sizeof(*row));
	row->bytes = (uint32_t)bytes;
	if (bytes > 0)
		memcpy(row->card, card, bytes);
	return 0;
}

int cards_put_rows(struct cards *cards, const uint8_t job[CONTROL_JOB_BYTES], int64_t ranks,
		   int64_t first, const char *rows, size_t bytes, struct err *err)
{
	const unsigned char *at = (const unsigned char *)rows, *end = at + bytes;
	int rc = 0;

	for (int64_t rank = first; at < end && rc == 0; rank++) {
		size_t len;

		if (end - at < 2)
			break;
		len = (size_t)at[0] | (size_t)at[1] << 8;
		at += 2;
		if ((size_t)(end - at) < len)
			return err_set(err, EBADMSG, "the card of rank %lld is cut off",
				       (long long)rank);
		rc = cards_put(cards, job, ranks, rank, at, len, err);
		at += len;
	}
	if (rc == 0 && at != end)
		rc = err_set(err, EBADMSG, "the cards end in the middle of one");
	return rc;
}

const struct control_row *cards_get(const struct cards *cards,
				    const uint8_t job[CONTROL_JOB_BYTES], int64_t rank)
{
	const struct cards_job *entry = job_find(cards, job);

	return entry && rank >= 0 && rank < entry->table.ranks ? &entry->table.rows[rank]
							       : NULL;
}

int cards_file(const struct cards *cards, const uint8_t job[CONTROL_JOB_BYTES], int *ret_fd,
	       struct err *err)
{
	const struct cards_job *entry = job_find(cards, job);
	int fd, rc;

	if (!entry)
		return err_set(err, ENOENT, "there are no cards of the job");
	fd = memfd_create("stasis-cards", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_sys(err, errno, "cannot make a memory file");
	rc = io_write_all(fd, &entry->table, table_bytes(&entry->table), err);
	if (rc == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		rc = err_sys(err, errno, "cannot seal a memory file");
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}
