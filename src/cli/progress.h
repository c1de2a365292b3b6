/* SPDX-License-Identifier: BSD-3-Clause */
/* Progress on stderr: one redrawn line on a terminal, plain lines otherwise, or nothing. */
#ifndef STASIS_CLI_PROGRESS_H
#define STASIS_CLI_PROGRESS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/cli.h"

enum progress_mode { PROGRESS_NONE, PROGRESS_LINES, PROGRESS_BAR };

struct progress_step {
	char phase[48];
	char unit[8];         /* "bytes", "vms", "steps" */
	uint64_t done, total; /* total 0: not known */
	char message[160];
};

struct progress {
	enum progress_mode mode;
	FILE *out;
	struct progress_step step;
	int64_t phase_ns;    /* when the phase began */
	int64_t shown_ns;    /* when a line was last written */
	uint64_t phase_done; /* `done` at the phase's first step */
	size_t drawn;        /* columns of the bar that stand on the terminal */
};

/* The mode that fits to options and stderr. */
void progress_init(struct progress *progress, const struct cli *cli);
void progress_step(struct progress *progress, const struct progress_step *step);
/* A step counted in bytes; name is what is being worked on. */
void progress_bytes(struct progress *progress, const char *phase, uint64_t done, uint64_t total,
		    const char *name);
/* A daemon's progress event; malformed members count as absent. */
void progress_event(struct progress *progress, const json_t *event);
/* Wipe the bar: something else is written next. */
void progress_end(struct progress *progress);

/* One line of at most `width` columns; rate in units per second, 0: not known. */
void progress_render(const struct progress_step *step, uint64_t rate, size_t width,
		     char *ret_line, size_t size);

#endif
