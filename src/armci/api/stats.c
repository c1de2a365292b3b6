/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of counters, and its printing at finalize. */
#include "armci/api/stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "armci/core/job.h"
#include "armci/core/settings.h"
#include "armci/remote/remote.h"
#include "armci/shm/heap.h"

struct stat_cell *stats_cells;

static const char *const names[STAT_COUNT] = {
#define STAT(id, name) [id] = (name),
#include "armci/api/stats.def"
#undef STAT
};

int stats_open(struct err *err)
{
	if (!settings.stats)
		return 0;
	stats_cells = calloc((size_t)STAT_COUNT * (size_t)job.size, sizeof *stats_cells);
	return stats_cells ? 0 : err_set(err, ENOMEM, "out of memory for statistics");
}

void stats_add(enum stat stat, int rank, uint64_t bytes)
{
	struct stat_cell *cell = &stats_cells[(size_t)stat * (size_t)job.size + (size_t)rank];
	cell->calls++;
	cell->bytes += bytes;
}

static void print_rows(FILE *out)
{
	for (int stat = 0; stat < STAT_COUNT; stat++)
		for (int rank = 0; rank < job.size; rank++) {
			const struct stat_cell *cell =
				&stats_cells[(size_t)stat * (size_t)job.size + (size_t)rank];
			if (cell->calls)
				fprintf(out, "armci: %4d %-20s %6d %-7s %12llu %16llu\n",
					job.rank, names[stat], rank,
					job_is_near(rank) ? "memory" : "network",
					(unsigned long long)cell->calls,
					(unsigned long long)cell->bytes);
		}
}

void stats_close(void)
{
	if (!stats_cells)
		return;
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);
	if (out) {
		struct remote_stats remote;
		size_t used[4], peak;
		remote_stats(&remote);
		heap_usage(used, &peak);
		fprintf(out,
			"armci: rank operation            target over           calls            bytes\n");
		print_rows(out);
		fprintf(out, "armci: %4d shared memory at most %zu bytes", job.rank, peak);
		if (remote.transport[0])
			fprintf(out,
				"; %s: %d connections, %llu requests, %llu RDMA reads, %llu RDMA writes, bytes put "
				"%llu, got %llu, accumulated %llu",
				remote.transport, remote.links,
				(unsigned long long)remote.requests,
				(unsigned long long)remote.reads,
				(unsigned long long)remote.writes,
				(unsigned long long)remote.put_bytes,
				(unsigned long long)remote.get_bytes,
				(unsigned long long)remote.acc_bytes);
		fputc('\n', out);
		fclose(out);
		fwrite(text, 1, bytes, stderr);
		free(text);
	}
	free(stats_cells);
	stats_cells = NULL;
}
