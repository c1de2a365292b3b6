/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters of what was called, how much and to whom; kept only with STASIS_ARMCI_STATS=1. */
#ifndef STASIS_ARMCI_API_STATS_H
#define STASIS_ARMCI_API_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum stat {
#define STAT(id, name) id,
#include "armci/api/stats.def"
#undef STAT
	STAT_COUNT
};

/* NULL: off. [STAT_COUNT × ranks] */
struct stat_cell {
	uint64_t calls, bytes;
};
extern struct stat_cell *stats_cells;

int stats_open(struct err *err);
/* Print the table of this rank to standard error, and free it. */
void stats_close(void);

void stats_add(enum stat stat, int rank, uint64_t bytes);

static inline void stats_count(enum stat stat, int rank, uint64_t bytes)
{
	if (__builtin_expect(stats_cells != NULL, 0))
		stats_add(stat, rank, bytes);
}

#endif
