/* SPDX-License-Identifier: BSD-3-Clause */
/* Where things are: run, state, cache and store directories, and the programs beside this one.
 */
#ifndef STASIS_BASE_PATHS_H
#define STASIS_BASE_PATHS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * Sockets and pid files: STASIS_RUN_DIR, else root: /run/stasis, else $XDG_RUNTIME_DIR/stasis,
 * else /tmp/stasis-<uid>. Clusters' disks and records: STASIS_STATE_DIR, else root:
 * /var/lib/stasis, else ${XDG_STATE_HOME:-~/.local/state}/stasis. Images and templates:
 * STASIS_CACHE_DIR, else ${XDG_CACHE_HOME:-~/.cache}/stasis. Checkpoints: STASIS_STORE_DIR, a
 * directory or s3://bucket/prefix, else <state>/store.
 */
int paths_run_dir(char *ret_path, size_t size, struct err *err);
int paths_state_dir(char *ret_path, size_t size, struct err *err);
int paths_cache_dir(char *ret_path, size_t size, struct err *err);
int paths_store_dir(char *ret_path, size_t size, struct err *err);
/* Whether a store's location is object storage, not a directory of this host. */
bool paths_store_remote(const char *location);
/* <run>/stasisd.sock */
int paths_socket(char *ret_path, size_t size, struct err *err);

/*
 * A program or script of the project: STASIS_LIBEXEC_DIR/<name> when that is set, else beside
 * the running program, else ../libexec/stasis/<name> from it. -ENOENT names the places.
 */
int paths_program(const char *name, char *ret_path, size_t size, struct err *err);

#endif
