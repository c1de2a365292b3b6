/* SPDX-License-Identifier: BSD-3-Clause */
/* Identity of processes, from /proc. */
#include "base/process_id.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

enum { STAT_MAX = 1024, FIELD_STATE = 3, FIELD_THREADS = 20, FIELD_START_TIME = 22 };

void process_machine(char ret_machine[PROCESS_MACHINE_MAX])
{
	CLEANUP_FCLOSE FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	char boot[40] = "unknown";
	struct stat st = {0};

	if (file && fgets(boot, sizeof(boot), file))
		boot[strcspn(boot, "\n")] = '\0';
	if (stat("/proc/self/ns/pid", &st) < 0)
		st.st_ino = 0;
	snprintf(ret_machine, PROCESS_MACHINE_MAX, "%s/%llu", boot,
		 (unsigned long long)st.st_ino);
}

/* Fields of a process from the third on, the state; false: it is gone, or cannot be looked at.
 */
static bool stat_read(pid_t pid, char ret_fields[STAT_MAX])
{
	char path[64], text[STAT_MAX], *at;
	CLEANUP_FCLOSE FILE *file = NULL;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	len = fread(text, 1, sizeof(text) - 1, file);
	text[len] = '\0';
	/* The name in parentheses may hold anything. */
	at = strrchr(text, ')');
	if (!at || strlen(at) < 4)
		return false;
	strcpy(ret_fields, at + 2);
	return true;
}

static uint64_t stat_field(const char *fields, int number)
{
	for (int field = FIELD_STATE; fields && field < number; field++) {
		fields = strchr(fields, ' ');
		fields = fields ? fields + 1 : NULL;
	}
	return fields ? strtoull(fields, NULL, 10) : 0;
}

uint64_t process_start_time(pid_t pid)
{
	char fields[STAT_MAX];

	return stat_read(pid, fields) ? stat_field(fields, FIELD_START_TIME) : 0;
}

bool process_over(pid_t pid, uint64_t start_time)
{
	char fields[STAT_MAX];
	uint64_t is;

	if (kill(pid, 0) < 0 && errno == ESRCH)
		return true;
	if (!stat_read(pid, fields))
		return false;
	is = stat_field(fields, FIELD_START_TIME);
	if (is && is != start_time)
		return true;
	/* A dead leader stays until all threads have ended, and until its parent has asked. */
	return strchr("ZX", fields[0]) && stat_field(fields, FIELD_THREADS) <= 1;
}
