/* SPDX-License-Identifier: BSD-3-Clause */
/* How many of this host's processors have nothing to do. */
#include "base/idle.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/parallel.h"

enum { STAT_MAX = 1 << 20 };

struct ticks {
	uint64_t idle, all;
};

/* The sums over all processors, from the line "cpu  user nice system idle iowait irq softirq
 * steal …". */
static struct ticks ticks_read(const char *stat)
{
	unsigned long long user, nice, system, idle, iowait, irq, softirq, steal;
	struct ticks ticks = {0};

	if (sscanf(stat, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system,
		   &idle, &iowait, &irq, &softirq, &steal) == 8) {
		ticks.idle = idle + iowait;
		ticks.all = ticks.idle + user + nice + system + irq + softirq + steal;
	}
	return ticks;
}

/* Lines "cpu0", "cpu1" … */
static size_t cpus_listed(const char *stat)
{
	size_t count = 0;

	for (const char *line = strchr(stat, '\n'); line && !strncmp(line + 1, "cpu", 3);
	     line = strchr(line + 1, '\n'))
		count++;
	return count;
}

size_t idle_between(const char *before, const char *after, size_t cpus)
{
	struct ticks from = ticks_read(before), to = ticks_read(after);
	size_t idle = 1;

	if (to.all > from.all && to.idle > from.idle) {
		uint64_t all = to.all - from.all;

		idle = (size_t)(((to.idle - from.idle) * cpus_listed(after) + all / 2) / all);
	}
	if (idle > cpus)
		idle = cpus;
	return idle ? idle : 1;
}

size_t idle_cpus(int window_ms)
{
	const struct timespec window = {
		.tv_sec = window_ms / 1000,
		.tv_nsec = window_ms % 1000 * NS_PER_MS,
	};
	CLEANUP_FREE char *before = NULL;
	CLEANUP_FREE char *after = NULL;

	if (io_read_file("/proc/stat", STAT_MAX, &before, NULL, NULL) < 0)
		return 1;
	nanosleep(&window, NULL);
	if (io_read_file("/proc/stat", STAT_MAX, &after, NULL, NULL) < 0)
		return 1;
	return idle_between(before, after, parallel_cpus());
}
