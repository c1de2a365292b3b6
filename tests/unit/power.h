/* SPDX-License-Identifier: BSD-3-Clause */
/* Loss of power, simulated: what a program does to files below a directory is recorded, and any
 * state in which a cut could leave them is made again. */
#ifndef STASIS_TESTS_POWER_H
#define STASIS_TESTS_POWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum power_kind {
	POWER_CREATE,   /* path, inode */
	POWER_WRITE,    /* inode, data behind what was written before */
	POWER_FSYNC,    /* inode */
	POWER_SYNC_DIR, /* path */
	POWER_RENAME,   /* path, to */
	POWER_UNLINK,   /* path */
	POWER_MKDIR,    /* path */
	POWER_NOTE,     /* to: what the workload says of itself, path: about what */
};

enum { POWER_PATH_MAX = 200 };

struct power_op {
	enum power_kind kind;
	char path[POWER_PATH_MAX], to[POWER_PATH_MAX]; /* below the directory */
	uint32_t inode, len;
	uint8_t *data;
};

/* Record from now on what open, write, fsync, rename, unlink and mkdir, which the linker hands
 * to this layer (--wrap), do below `dir`. */
void power_record(const char *dir);
void power_note(const char *what, const char *about);
/* End the recording and write it to a file, for another process to read. */
void power_save(const char *path);

struct power_log {
	struct power_op *ops;
	size_t count;
};
void power_load(const char *path, struct power_log *ret_log);
void power_free(struct power_log *log);

/* What becomes of bytes that were not fsynced, and of names whose directory was not. */
enum power_data { DATA_ABSENT, DATA_ZEROS, DATA_PARTLY, DATA_WHOLE, DATA_MIXED };
enum power_names { NAMES_LOST, NAMES_KEPT, NAMES_MIXED };

/* Make in `dir`, which is emptied, what is left if the power fails behind the first `count`
 * operations. */
void power_cut(const struct power_log *log, size_t count, enum power_data data,
	       enum power_names names, unsigned int *seed, const char *dir);

#endif
