/* SPDX-License-Identifier: BSD-3-Clause */
/* Processes that no record names. */
#ifndef STASIS_DAEMON_PROCESS_H
#define STASIS_DAEMON_PROCESS_H

/* End every process with an argument that is `dir` or lies below it: what a daemon left that
 * died at its start. */
void processes_end(const char *dir);

#endif
