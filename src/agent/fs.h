/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's files for the host: stat, list, read, write, mkdir, symlink, remove. */
#ifndef STASIS_AGENT_FS_H
#define STASIS_AGENT_FS_H

#include "agent/session.h"

int fs_stat(struct agent *agent, const struct request *request, struct reply *reply,
	    struct err *err);
int fs_list(struct agent *agent, const struct request *request, struct reply *reply,
	    struct err *err);
int fs_read(struct agent *agent, const struct request *request, struct reply *reply,
	    struct err *err);
int fs_write(struct agent *agent, const struct request *request, struct reply *reply,
	     struct err *err);
int fs_mkdir(struct agent *agent, const struct request *request, struct reply *reply,
	     struct err *err);
int fs_symlink(struct agent *agent, const struct request *request, struct reply *reply,
	       struct err *err);
int fs_remove(struct agent *agent, const struct request *request, struct reply *reply,
	      struct err *err);

#endif
