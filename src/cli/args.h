/* SPDX-License-Identifier: BSD-3-Clause */
/* Arguments that several subcommands take: a cluster's file with overrides. */
#ifndef STASIS_CLI_ARGS_H
#define STASIS_CLI_ARGS_H

#include "base/err.h"
#include "base/spec.h"

enum { ARGS_OVERRIDES_MAX = 64 };

/* Values of the options that change a cluster's description. */
struct args_spec {
	const char *file; /* -c FILE */
	struct {
		const char *section, *key; /* NULL section: the text is [SECTION.]KEY=VALUE */
		const char *text;
	} overrides[ARGS_OVERRIDES_MAX];
	unsigned int count;
};

/* Values of the options below, above those of letters. */
enum { ARGS_VMS = 2000, ARGS_MEMORY, ARGS_CPUS, ARGS_SLOTS };

/* Entries of an option table; args_spec_opt() takes their values. */
#define ARGS_SPEC_OPTS                                                                         \
	{'c', "config", "FILE", NULL, "the cluster's description, see stasis-cluster(5)"},     \
		{'o', "set", "KEY=VALUE", NULL,                                                \
		 "another value for a key of the file; [SECTION.]KEY=VALUE, may be repeated"}, \
		{ARGS_VMS, "vms", "N", "the file's", "number of VMs"},                         \
		{ARGS_MEMORY, "memory", "SIZE", "the file's", "memory of each VM"},            \
		{ARGS_CPUS, "cpus", "N", "the file's", "processors of each VM"},               \
	{                                                                                      \
		ARGS_SLOTS, "slots", "N", "the file's", "MPI ranks that fit into each VM"      \
	}

/* 0: taken; -EINVAL with a sentence: too many; 1: not one of these options. */
int args_spec_opt(struct args_spec *args, int value, const char *text, struct err *err);

/* Read the file, apply the overrides, check the whole. */
int args_spec_load(const struct args_spec *args, struct spec *ret_spec, struct err *err);

#endif
