/* SPDX-License-Identifier: BSD-3-Clause */
/* Standard input on its way to the followed jobs; a part of follow.c. */
#ifndef STASIS_CLI_FOLLOW_INPUT_H
#define STASIS_CLI_FOLLOW_INPUT_H

#include "cli/follow.h"

/* The descriptor to watch, -1 while nothing more can be taken. */
int follow_input_fd(const struct follow *follow);
/* The instant of the next attempt to hand input on, at most `next_ns`. */
int64_t follow_input_next(const struct follow *follow, int64_t next_ns);
/* Read (when `readable`) and hand on. */
int follow_input_step(struct follow *follow, bool readable, struct err *err);

#endif
