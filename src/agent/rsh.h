/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis-rsh: runs a command in another VM of the cluster, in the manner of ssh. */
#ifndef STASIS_AGENT_RSH_H
#define STASIS_AGENT_RSH_H

/* The program's name, by which the agent's binary knows that it is meant to be it. */
#define RSH_NAME "stasis-rsh"

int rsh_main(int argc, char **argv);

#endif
