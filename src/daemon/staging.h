/* SPDX-License-Identifier: BSD-3-Clause */
/* Staging: memory in which the RAM of a cluster's VMs is captured. Its budget, and its passes.
 */
#ifndef STASIS_DAEMON_STAGING_H
#define STASIS_DAEMON_STAGING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "vm/ram/capture.h"

/*
 * Take so many bytes out of the daemon's budget, instead of the *io_taken_bytes that the
 * checkpoint `id` has taken before. If they don't fit, *ret_direct is set and nothing is taken:
 * RAM must be written while the VMs are stopped.
 */
int staging_reserve(const char *id, uint64_t bytes, uint64_t *io_taken_bytes, bool *ret_direct,
		    struct err *err);
void staging_give_back(uint64_t bytes);

/* Beside the running VMs, on so many threads: until little is left to copy, or it does not get
 * less. */
int staging_precopy(const char *id, struct ram_capture *const *captures, size_t count,
		    size_t threads, struct err *err);
/* While they are stopped, with all that the host has. */
int staging_finish(const char *id, struct ram_capture *const *captures, size_t count,
		   struct err *err);

#endif
