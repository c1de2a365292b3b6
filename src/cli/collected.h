/* SPDX-License-Identifier: BSD-3-Clause */
/* Telling what a collection of garbage in the store has done. */
#ifndef STASIS_CLI_COLLECTED_H
#define STASIS_CLI_COLLECTED_H

#include <jansson.h>

#include "cli/cli.h"

/* One line on the standard output; what has to wait is a remark. */
void collected_print(const struct cli *cli, const json_t *collected);

#endif
