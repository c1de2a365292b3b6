/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside of the directory backend: its structure, and its writer. */
#ifndef STASIS_STORE_BACKEND_DIRECTORY_PRIV_H
#define STASIS_STORE_BACKEND_DIRECTORY_PRIV_H

#include <pthread.h>
#include <sys/types.h>

#include "base/io.h"
#include "store/backend/backend_priv.h"
#include "store/backend/directory_fds.h"

/* Temporary files begin so: no object's name does. Behind it stand machine (hashed), pid and
 * start time of the process that writes it, and a random number. */
#define DIRECTORY_TMP ".tmp-"

struct directory {
	struct backend base;
	dev_t device; /* of the directory when it was opened */
	ino_t inode;
	uint64_t machine, start_time; /* of the process that opened it */
	pid_t pid;
	struct directory_fds fds;
	pthread_mutex_t kinds_lock;
	struct directory_kind *kinds; /* subdirectories that are known to be durable */
};

/* -EIO when the directory is gone or another one is in its place. */
int directory_check_root(const struct directory *directory, struct err *err);

int directory_path(const struct directory *directory, const char *name,
		   char ret_path[IO_PATH_MAX], struct err *err);
/* A new temporary name in a kind's subdirectory. */
int directory_temporary(const struct directory *directory, const char *kind,
			char ret_path[IO_PATH_MAX], struct err *err);

int directory_begin(struct backend *backend, const char *name,
		    struct backend_writer **ret_writer, struct err *err);
int directory_append(struct backend_writer *writer, const void *data, size_t len,
		     struct err *err);
int directory_commit(struct backend_writer *writer, struct err *err);
void directory_abort(struct backend_writer *writer);

void directory_kinds_free(struct directory *directory);

#endif
