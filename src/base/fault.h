/* SPDX-License-Identifier: BSD-3-Clause */
/* Named fault points: a test can kill or fail the program at any named step. */
#ifndef STASIS_BASE_FAULT_H
#define STASIS_BASE_FAULT_H

#include <stddef.h>

#include "base/err.h"

/*
 * STASIS_FAULT=name:n[:action][,name:n[:action]…] arms the n-th passage (from 1) through the
 * point `name`. Actions: "kill" (default: SIGKILL to this process), "fail=ERRNO" (the point
 * returns -ERRNO, a number or one of EIO ENOSPC ENOMEM ETIMEDOUT), "run=COMMAND" (run by
 * /bin/sh, waited for; it may hold no comma). Points are the lines of base/fault_points.def; an
 * unknown name in STASIS_FAULT is an error at start.
 */
enum fault_point {
#define FAULT_POINT(id, name, what) id,
#include "base/fault_points.def"
#undef FAULT_POINT
	FAULT_POINT_COUNT
};

/* Read STASIS_FAULT. Call once at start, before threads exist. */
int fault_init(struct err *err);

const char *fault_point_name(enum fault_point point);
const char *fault_point_what(enum fault_point point);

/* Pass through a point: 0, or -errno with a sentence that names the injected fault. */
int fault_hit(enum fault_point point, struct err *err);

#endif
