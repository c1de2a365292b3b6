/* SPDX-License-Identifier: BSD-3-Clause */
/* Scope-bound cleanup for locals: the value is released when the variable goes out of scope. */
#ifndef STASIS_BASE_CLEANUP_H
#define STASIS_BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_ptr(void *ptr)
{
	free(*(void **)ptr);
}

static inline void cleanup_close_fd(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclose_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

static inline void cleanup_closedir_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define CLEANUP_FREE     __attribute__((cleanup(cleanup_free_ptr)))
#define CLEANUP_CLOSE    __attribute__((cleanup(cleanup_close_fd))) /* int, -1 when not open */
#define CLEANUP_FCLOSE   __attribute__((cleanup(cleanup_fclose_file)))  /* FILE *, or NULL */
#define CLEANUP_CLOSEDIR __attribute__((cleanup(cleanup_closedir_dir))) /* DIR *, or NULL */

/* Hand the value of a CLEANUP_* local to a new owner. */
#define TAKE_PTR(ptr)                       \
	({                                  \
		__auto_type taken_ = (ptr); \
		(ptr) = NULL;               \
		taken_;                     \
	})
#define TAKE_FD(fd)                \
	({                         \
		int taken_ = (fd); \
		(fd) = -1;         \
		taken_;            \
	})

#endif
