/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of subcommands, in the order in which help lists them. */
#include "cli/cmds.h"

const struct cli_cmd *const cli_cmds[] = {
	&cmd_up,     &cmd_down,    &cmd_status,     &cmd_exec,    &cmd_run,   &cmd_attach,
	&cmd_cp,     &cmd_console, &cmd_checkpoint, &cmd_restart, &cmd_list,  &cmd_show,
	&cmd_verify, &cmd_rm,      &cmd_prune,      &cmd_gc,      &cmd_stats, &cmd_export,
	&cmd_import, &cmd_doctor,  &cmd_help,       &cmd_version, NULL,
};
