/* SPDX-License-Identifier: BSD-3-Clause */
/* The checks of stasis doctor. */
#ifndef STASIS_CLI_DOCTOR_H
#define STASIS_CLI_DOCTOR_H

#include <stdbool.h>

#include "base/io.h"

enum doctor_grade { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

/* What a check found. DOCTOR_FAIL is for what nothing works without. */
struct doctor_result {
	enum doctor_grade grade;
	char found[256];
	char remedy[256]; /* empty when there is nothing to do */
};

struct doctor_check {
	const char *name;
	void (*fn)(struct doctor_result *ret_result);
};

/* Ended by a NULL name. */
extern const struct doctor_check
	doctor_machine_checks[];                        /* processor, kernel, clock, programs */
extern const struct doctor_check doctor_space_checks[]; /* memory, disks, directories, daemon */

/* Look a program up in PATH. */
bool doctor_find_program(const char *name, char ret_path[IO_PATH_MAX]);

void doctor_say(struct doctor_result *ret_result, enum doctor_grade grade, const char *found,
		const char *remedy);

#endif
