/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of store_tool. */
#ifndef STASIS_TESTS_STORE_TOOL_H
#define STASIS_TESTS_STORE_TOOL_H

#include "store/store.h"

struct tool {
	struct store *store;
	struct store_config config;
	struct store_work work;
	struct err err;
};

/* Hash the file's pages and compress them, without a store. */
int tool_hash(struct tool *tool, const char *path);

#endif
