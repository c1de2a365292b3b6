/* SPDX-License-Identifier: BSD-3-Clause */
/* How many of this host's processors have nothing to do. */
#ifndef STASIS_BASE_IDLE_H
#define STASIS_BASE_IDLE_H

#include <stddef.h>

/* Processors that were idle while the caller slept for `window_ms`: the sum of their idle
 * shares, rounded; at least 1, at most those that this process may run on. */
size_t idle_cpus(int window_ms);

/* The same from two readings of /proc/stat, where this process may run on `cpus` processors. */
size_t idle_between(const char *before, const char *after, size_t cpus);

#endif
