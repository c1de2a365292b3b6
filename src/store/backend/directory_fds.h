/* SPDX-License-Identifier: BSD-3-Clause */
/* Open descriptors of objects in a directory, kept for the next read of a range. */
#ifndef STASIS_STORE_BACKEND_DIRECTORY_FDS_H
#define STASIS_STORE_BACKEND_DIRECTORY_FDS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/backend/backend_priv.h"

enum { DIRECTORY_FDS = 64 };

/*
 * A descriptor in use is never closed: dropping it only makes it unknown, and the last user
 * closes it.
 */
struct directory_fds {
	pthread_mutex_t lock;
	uint64_t ticks;
	struct directory_fd {
		char name[BACKEND_OBJECT_MAX]; /* empty: unknown, though perhaps still in use */
		int fd;                        /* -1: the slot is free */
		unsigned int users;
		uint64_t used_tick;
	} slots[DIRECTORY_FDS];
};

void directory_fds_init(struct directory_fds *fds);
void directory_fds_destroy(struct directory_fds *fds);

/* The slot that holds `name`, in use until directory_fds_put(); NULL: none does. */
struct directory_fd *directory_fds_get(struct directory_fds *fds, const char *name);

/* Keep `fd` for `name` in place of what was kept for it. The slot is in use; NULL when all are,
 * and the descriptor is still the caller's. */
struct directory_fd *directory_fds_add(struct directory_fds *fds, const char *name, int fd);
void directory_fds_put(struct directory_fds *fds, struct directory_fd *slot);

/* Nobody gets the descriptor of `name` any more. */
void directory_fds_drop(struct directory_fds *fds, const char *name);
/* Let go of objects that another process has deleted: what is open takes room. */
void directory_fds_sweep(struct directory_fds *fds);

#endif
